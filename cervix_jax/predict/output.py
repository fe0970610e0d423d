"""The output table of a prediction: written as a whole or not at all, and resumable.

During the work, a part file beside the table gets a line of JSON after every batch, with the result
of each unit. At the end the table is made from the part, or from the parts of all shards. The parts
are removed last, so the work can be continued after a stop at any moment.
"""

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from cervix_jax.errors import InputError
from cervix_jax.predict.parts import (
    ROWS,
    TOGETHER,
    UNREADABLE,
    End,
    Entry,
    Part,
    Unit,
    differing,
    end_line,
    entries_of,
    json_line,
    read_head,
    read_part,
    unit_of,
)
from cervix_jax.predict.picture_names import shown
from cervix_jax.predict.shard import WHOLE, Shard, parts_beside
from cervix_jax.predict.table import Table

SUFFIXES = (".csv", ".jsonl")


class Output:
    """Collects the results of the units of one prediction; a context that keeps them on early exit.

    Args:
      path: the table, `.csv` or `.jsonl`.
      columns: names of its columns; the first is "path".
      facts: facts that decide the rows, as JSON; a resumed prediction must have the same.
      at_end: facts that only decide what is made from all rows at the end, as JSON; all shards must
        have the same.
      shard: the share of the units in this process.
      together: number of units in a batch of the network, see `Shard`.
      resume: continue an earlier prediction.
      overwrite: start again, and replace existing results.

    Attributes:
      part: the part file.
      overwrite: the argument.

    Raises:
      InputError: the table or a part exists, cannot be written, or is from another command.
    """

    def __init__(
        self,
        path: str | Path,
        columns: Sequence[str],
        facts: Mapping[str, Any],
        *,
        at_end: Mapping[str, Any] | None = None,
        shard: Shard = WHOLE,
        together: int = 1,
        resume: bool = False,
        overwrite: bool = False,
    ):
        self.path, self.shard, self.overwrite = Path(path), shard, overwrite
        self._together = together
        self.part = shard.part_of(self.path)
        check_path(self.path, shard, resume=resume, overwrite=overwrite)
        head: dict[str, Any] = {"facts": dict(facts), "columns": tuple(columns)}
        self._at_end = dict(at_end or {})
        if shard != WHOLE:
            head["facts"] |= self._at_end
            head["shard"] = str(shard)
            head[TOGETHER] = together
        head = json.loads(json.dumps(head))
        if not overwrite:
            self._check_like_others(head)
        going_on = resume and self.part.exists()
        self._state = self._take_up(head) if going_on else Part(self.part, head)
        self._listed: tuple[int, str] | None = None
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self.part.open("r+b" if going_on else "wb", buffering=0)
        except OSError as error:
            raise _cannot_be_written(self.path, error) from error
        try:
            if not self.whole:
                self._file.truncate(self._state.length)
                self._file.seek(self._state.length)
            if not going_on:
                self._write(head)
        except OSError as error:
            self._file.close()
            if not going_on:
                self.part.unlink()
            raise _cannot_be_written(self.path, error) from error

    def __enter__(self) -> "Output":
        return self

    def __exit__(self, *unused: object) -> None:
        self._file.close()
        if not self.units and not self.whole:
            self.part.unlink(missing_ok=True)

    @property
    def whole(self) -> bool:
        """Whether all units of the shard are done."""
        return self._state.end is not None

    @property
    def units(self) -> int:
        """Number of units processed so far."""
        return self._state.units

    @property
    def rows(self) -> int:
        """Number of rows so far."""
        return self._state.rows

    @property
    def skipped(self) -> int:
        """Number of units left out so far."""
        return self._state.skipped

    def remaining(self, units: Iterator[Unit]) -> Iterator[Unit]:
        """The remaining units of this shard; must be exhausted before `end`.

        Args:
          units: units of all shards; must be those of the earlier command, in its order.

        Raises:
          InputError: the units differ from those of the earlier command.
        """
        own = self._own(units)
        for entry in entries_of([self._state]):
            unit = next(own, None)
            if unit is None or (shown(unit.path), unit.part) != unit_of(entry):
                raise self._strange(" ".join(unit_of(entry)), unit)
        if self._state.end is not None:
            unit = next(own, None)  # also goes through the units of other shards
            if unit is not None or self._listed != (self._state.end.of, self._state.end.listed):
                raise self._strange("others in all", unit)
        return own

    def add(self, entries: Sequence[Entry]) -> None:
        """Write the results of some units.

        Args:
          entries: for each unit in order its `path` (from `shown`), its `part` if it has one, and
            its other columns, or `rows` with all columns of any number of rows; if it was left out,
            `REASON` instead. A missing column is empty.
        """
        entries = [_rounded(entry) for entry in entries]
        self._write(entries)
        self._state.count(entries)

    def end(self) -> None:
        """Finish a part when all units are done; the part of a shard gets a final line."""
        assert self._listed is not None  # else some units were not taken
        if self.shard != WHOLE and not self.whole:
            end = End(self.units, *self._listed, self._state.digest.hexdigest())
            self._write(end_line(end))
            os.fsync(self._file.fileno())  # another machine may read it next
            self._state.end = end
        self._file.close()

    def table(self) -> Table:
        """The table of this part alone, for a prediction without shards."""
        assert self.shard == WHOLE
        return Table(self.path, [self._state], self._at_end)

    def when_full(self, problem: str) -> str:
        """The message if the part can no longer be written; see `atomic.storage_named`."""
        return (
            f"{self.part}: cannot be written ({problem}); finished results are kept. Make space "
            "and continue with --resume."
        )

    def _own(self, units: Iterator[Unit]) -> Iterator[Unit]:
        count, digest = 0, hashlib.sha256()
        for unit in units:
            digest.update(json_line([shown(unit.path), unit.part]))
            if self.shard.takes(count, self._together):
                yield unit
            count += 1
        self._listed = (count, digest.hexdigest())

    def _strange(self, had: str, unit: Unit | None) -> InputError:
        now = " ".join(filter(None, unit)) if unit else "none"
        return InputError(
            f"{self.part}: the images differ from those of the stopped command ({had} before, "
            f"{now} now); give the same images, or start again with --overwrite."
        )

    def _write(self, value: object) -> None:
        line = json_line(value)
        left = memoryview(line)
        while left:  # an unbuffered file may write less per call
            left = left[self._file.write(left) :]
        self._state.add_line(line)

    def _check_like_others(self, head: dict[str, Any]) -> None:
        """Refuse a shard of another command than that of the first other shard."""
        others = (path for shard, path in parts_beside(self.path).items() if shard != self.shard)
        if (path := next(others, None)) is None:
            return
        strange = ""
        with contextlib.suppress(*UNREADABLE):  # reported when the table is made
            strange = differing(read_head(path), head)
        if strange:
            raise InputError(
                f"{path}: was started with {strange}, unlike this shard; use the same flags and "
                "weights for all shards, or start again with --overwrite."
            )

    def _take_up(self, head: dict[str, Any]) -> Part:
        """The state that an earlier command left."""
        try:
            part = read_part(self.part)
            strange = differing(part.head, head)
        except UNREADABLE as error:
            raise InputError(
                f"{self.part}: cannot be resumed ({error}); start again with --overwrite."
            ) from error
        if strange:
            raise InputError(
                f"{self.part}: was started with {strange}; give the same, or start again with "
                "--overwrite."
            )
        return part


def check_path(path: Path, shard: Shard = WHOLE, *, resume: bool, overwrite: bool) -> None:
    """Refuse a table that cannot be started, before any work.

    Raises:
      InputError: it has another suffix, is a folder, or the table or a part of it exists.
    """
    check_suffix(path)
    if resume and overwrite:
        raise InputError("--resume and --overwrite exclude each other; give only one.")
    if path.exists() and not path.is_file():
        raise InputError(f"--out={path}: is a folder, a pipe or a device; give another name.")
    _check_others(path, shard)
    if overwrite:
        return
    if (part := shard.part_of(path)).exists():
        if not resume:
            raise InputError(
                f"{part}: an earlier command was stopped; continue with --resume, or start again "
                "with --overwrite."
            )
    elif path.exists():
        raise InputError(f"--out={path}: exists already; --overwrite replaces it.")


def check_suffix(path: Path) -> None:
    """Check that a table has a supported suffix."""
    if path.suffix not in SUFFIXES:
        raise InputError(f"--out={path}: give a file that ends in {' or '.join(SUFFIXES)}.")


def _check_others(path: Path, shard: Shard) -> None:
    """Refuse parts that do not belong to a table with this one; they may be another's work."""
    if shard != WHOLE and (single := WHOLE.part_of(path)).exists():
        raise InputError(
            f"{single}: a command without shards was stopped; continue with --shard=1/1 --resume, "
            "or remove it."
        )
    for other, part in parts_beside(path).items():
        if other.count != shard.count:
            raise InputError(
                f"{part}: is one of {other.count} shards, but this command has {shard.count}; "
                f"continue those with --shard={other} --resume and the like, write their table "
                "with --merge, or remove these parts."
            )


def make_folder(flag: str, folder: Path) -> None:
    """Make the folder that a flag names.

    Raises:
      InputError: it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"--{flag}={folder}: cannot be made ({error.strerror}); choose another folder."
        ) from error


def _rounded(entry: Entry) -> Entry:
    found = {k: float(f"{v:.6g}") if isinstance(v, float) else v for k, v in entry.items()}
    if ROWS in entry:
        found[ROWS] = [_rounded(row) for row in entry[ROWS]]
    return found


def _cannot_be_written(path: Path, error: OSError) -> InputError:
    return InputError(
        f"{path}: cannot be written ({error.strerror or error}); free some space, or choose "
        "a writable folder."
    )
