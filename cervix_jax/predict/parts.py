"""Part files, which hold the results of units until the table is made from them.

A part is lines of JSON. The first line, its head, holds the facts that decide the rows. Each
further line is a list of entries, one per unit. The part of a shard ends with a line that marks it
as complete. An incomplete line of a killed process is removed when another process continues.
"""

import dataclasses
import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from cervix_jax.errors import InputError

# Replaces all columns but the path if a unit was left out.
REASON = "reason"
# Key of the rows of a unit, for an entry that is not a row itself.
ROWS = "rows"
PART = "part"
# In the head of a shard: number of units in a batch, see `shard.Shard`.
TOGETHER = "together"
_END = "whole"
_LONGEST_END = 4096  # bytes, far more than the last line needs
Entry = Mapping[str, Any]
# Exceptions from reading a file that is not a part, or is damaged.
UNREADABLE = (OSError, ValueError, KeyError, TypeError, AttributeError)


class Unit(NamedTuple):
    """The smallest unit of work, which is never divided.

    Attributes:
      path: the image, field or slide.
      part: name of a part of it, e.g. "row 3 of 40"; "" for all of it.
    """

    path: str
    part: str = ""


class End(NamedTuple):
    """The last line of a complete part.

    Attributes:
      units: number of units in the part.
      of: number of units in all shards together.
      listed: digest of the list of all units, which must be equal for all shards.
      digest: digest of the lines before this one.
    """

    units: int
    of: int
    listed: str
    digest: str


@dataclasses.dataclass
class Part:
    """Summary of a part file.

    Attributes:
      path: the file.
      head: its first line: `facts`, `columns` and, for a shard, `shard` and `together`.
      units: number of units.
      rows: number of rows.
      skipped: number of units left out.
      length: number of bytes of complete lines, without the last line of a complete part.
      digest: SHA-256 of these bytes.
      end: its last line, if it is complete.
    """

    path: Path
    head: dict[str, Any]
    units: int = 0
    rows: int = 0
    skipped: int = 0
    length: int = 0
    digest: Any = dataclasses.field(default_factory=hashlib.sha256)
    end: End | None = None

    def add_line(self, line: bytes) -> None:
        """Count a line that was added to the file."""
        self.length += len(line)
        self.digest.update(line)

    def count(self, entries: Sequence[Entry]) -> None:
        """Count the results of some units."""
        self.units += len(entries)
        self.skipped += sum(REASON in entry for entry in entries)
        self.rows += sum(1 for _ in rows_of(entries))


def read_head(path: Path) -> dict[str, Any]:
    """The first line of a part.

    Raises:
      UNREADABLE: it cannot be read, or is not a part.
    """
    with path.open("rb") as file:
        return json.loads(file.readline())


def read_part(path: Path) -> Part:
    """Read through a part; an incomplete last line is ignored.

    Raises:
      UNREADABLE: it cannot be read, is not a part, or is damaged.
    """
    with path.open("rb") as file:
        if not (first := file.readline()).endswith(b"\n"):
            raise ValueError("its first line is incomplete")
        part = Part(path, json.loads(first))
        part.add_line(first)
        for line in iter(file.readline, b""):
            if not line.endswith(b"\n"):
                break
            value = json.loads(line)
            if part.end is not None:
                raise ValueError("it has lines after its end record")
            if isinstance(value, dict):
                part.end = End(**value[_END])
                if (part.end.units, part.end.digest) != (part.units, part.digest.hexdigest()):
                    raise ValueError("it does not match its last line: it was changed or cut")
                continue
            part.count(value)
            part.add_line(line)
    return part


def has_end(path: Path) -> bool:
    """Whether a part is complete; reads only its last line.

    Raises:
      OSError: it cannot be read.
    """
    with path.open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - _LONGEST_END))
        last = file.read().splitlines(keepends=True)[-1:]
    return bool(last) and last[0].startswith(f'{{"{_END}"'.encode()) and last[0].endswith(b"\n")


def end_line(end: End) -> dict[str, Any]:
    """The last line of a part, as JSON."""
    return {_END: end._asdict()}


def entries_of(parts: Sequence[Part]) -> Iterator[dict[str, Any]]:
    """The entries of all units in their original order, from the parts they were dealt to.

    A file is open only while a line is read, since systems limit the number of open files.

    Raises:
      InputError: a part has become shorter.
    """
    queues = [_lines(part.path) for part in parts]
    together = parts[0].head.get(TOGETHER, 1)
    for index in range(sum(part.units for part in parts)):
        number = index // together % len(parts)
        entry = next(queues[number], None)
        if entry is None:
            raise InputError(
                f"{parts[number].path}: was changed while it was read; start the command again."
            )
        yield entry


def rows_of(entries: Sequence[Entry] | Iterator[Entry]) -> Iterator[Entry]:
    """The rows of entries."""
    for entry in entries:
        if REASON not in entry:
            yield from entry.get(ROWS, (entry,))


def unit_of(entry: Entry) -> tuple[str, str]:
    """Path and part of the unit of an entry."""
    return entry["path"], entry.get(PART, "")


def json_line(value: Any) -> bytes:
    """A value as a line of JSON in UTF-8."""
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n"


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    place = 0
    while True:
        with path.open("rb") as file:
            file.seek(place)
            line = file.readline()
            first, place = not place, file.tell()
        if not line.endswith(b"\n"):
            return
        value = None if first else json.loads(line)
        if isinstance(value, list):
            yield from value
        elif value is not None:
            return


def differing(begun: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """The first difference between two heads, for a message; "" if there is none."""
    if begun["columns"] != now["columns"]:
        return f"the columns {', '.join(begun['columns'])}"
    names = [name for name in now["facts"] if begun["facts"].get(name) != now["facts"][name]]
    names += [name for name in begun["facts"] if name not in now["facts"]]
    if "weights" in names:
        return "other weights"
    return f"{names[0]}={begun['facts'].get(names[0])}" if names else ""
