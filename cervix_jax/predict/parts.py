"""The files that hold what became of the units until the table is made of them.

A part is lines of JSON. The first, its head, says what decides the rows. Then each line is a list
of entries, one for each unit. The part of a shard ends with a line that says that it is whole. What
a killed process wrote of a line is cut off again when another goes on.
"""

import dataclasses
import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from cervix_jax.errors import InputError

# In place of all columns but the path where a unit was left out.
REASON = "reason"
# Of an entry that is no row itself: the rows of its unit, none or many.
ROWS = "rows"
PART = "part"
# In the head of a shard: how many units make a batch, see `shard.Shard`.
TOGETHER = "together"
_END = "whole"
_LONGEST_END = 4096  # bytes, far more than it has
Entry = Mapping[str, Any]
# What reading a file that is no part, or a damaged one, raises.
UNREADABLE = (OSError, ValueError, KeyError, TypeError, AttributeError)


class Unit(NamedTuple):
    """What is done at a time, and never divided.

    Attributes:
      path: the image, field or slide.
      part: which part of it, e.g. "row 3 of 40"; "" is all of it.
    """

    path: str
    part: str = ""


class End(NamedTuple):
    """The last line of a part that is whole.

    Attributes:
      units: how many it holds.
      of: how many units all shards hold together.
      listed: digest of the list of all units, which all shards must have had.
      digest: of the lines before this one.
    """

    units: int
    of: int
    listed: str
    digest: str


@dataclasses.dataclass
class Part:
    """What a part holds.

    Attributes:
      path: the file.
      head: its first line: `facts`, `columns` and, of a shard, `shard` and `together`.
      units: how many units it has.
      rows: how many rows they make.
      skipped: how many units were left out.
      length: bytes of its whole lines, without the end.
      digest: SHA-256 of these.
      end: its last line, where it is whole.
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
        """Note a line that is in the file now."""
        self.length += len(line)
        self.digest.update(line)

    def count(self, entries: Sequence[Entry]) -> None:
        """Note what became of some units."""
        self.units += len(entries)
        self.skipped += sum(REASON in entry for entry in entries)
        self.rows += sum(1 for _ in rows_of(entries))


def read_head(path: Path) -> dict[str, Any]:
    """The first line of a part.

    Raises:
      UNREADABLE: it cannot be read, or is no part.
    """
    with path.open("rb") as file:
        return json.loads(file.readline())


def read_part(path: Path) -> Part:
    """Go through a part; a last line without its end is left aside.

    Raises:
      UNREADABLE: it cannot be read, is no part, or is damaged.
    """
    with path.open("rb") as file:
        if not (first := file.readline()).endswith(b"\n"):
            raise ValueError("its first line is cut")
        part = Part(path, json.loads(first))
        part.add_line(first)
        for line in iter(file.readline, b""):
            if not line.endswith(b"\n"):
                break
            value = json.loads(line)
            if part.end is not None:
                raise ValueError("it goes on after its end")
            if isinstance(value, dict):
                part.end = End(**value[_END])
                if (part.end.units, part.end.digest) != (part.units, part.digest.hexdigest()):
                    raise ValueError("it is not what its last line says: it was changed or cut")
                continue
            part.count(value)
            part.add_line(line)
    return part


def has_end(path: Path) -> bool:
    """Whether the last line of a part is its end, without reading the others.

    Raises:
      OSError: it cannot be read.
    """
    with path.open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - _LONGEST_END))
        last = file.read().splitlines(keepends=True)[-1:]
    return bool(last) and last[0].startswith(f'{{"{_END}"'.encode()) and last[0].endswith(b"\n")


def end_line(end: End) -> dict[str, Any]:
    """The line that ends a part, as JSON."""
    return {_END: end._asdict()}


def entries_of(parts: Sequence[Part]) -> Iterator[dict[str, Any]]:
    """The entries of the units in their order, which were dealt to so many parts.

    A file is open only while a line is read, since systems limit how many are open at a time.

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
    """The rows that entries make."""
    for entry in entries:
        if REASON not in entry:
            yield from entry.get(ROWS, (entry,))


def unit_of(entry: Entry) -> tuple[str, str]:
    """Path and part of the unit that an entry is of."""
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
    """The first thing that is not the same in two heads, for a message; "" where all is."""
    if begun["columns"] != now["columns"]:
        return f"the columns {', '.join(begun['columns'])}"
    names = [name for name in now["facts"] if begun["facts"].get(name) != now["facts"][name]]
    names += [name for name in begun["facts"] if name not in now["facts"]]
    if "weights" in names:
        return "other weights"
    return f"{names[0]}={begun['facts'].get(names[0])}" if names else ""
