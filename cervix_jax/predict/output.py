"""The table that a prediction writes: whole or not at all, and able to go on where it stopped.

While the work lasts, a part beside the table gets a line of JSON after every batch: what became of
each of its units. The table is made of the part at the end, or of the parts of all shards, and the
parts go last of all, so that a stop at any moment leaves them to be taken up.
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
    """What becomes of the units of one prediction; a context that keeps it when it is left early.

    Args:
      path: the table, `.csv` or `.jsonl`.
      columns: names of its columns; the first is "path".
      facts: what decides the rows, as JSON; another prediction may go on only if it has the same.
      at_end: what decides only what is made of all rows at the end, as JSON; all shards must have
        the same.
      shard: the share of the units that is done here.
      together: units that make a batch of the network, see `Shard`.
      resume: go on with what an earlier one left.
      overwrite: begin again whatever is there.

    Attributes:
      part: where it is written.
      overwrite: as it was given.

    Raises:
      InputError: the table or a part of it is there, cannot be written, or is of another command.
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
        """Units that were looked at so far."""
        return self._state.units

    @property
    def rows(self) -> int:
        """Rows so far."""
        return self._state.rows

    @property
    def skipped(self) -> int:
        """Units that were left out so far."""
        return self._state.skipped

    def remaining(self, units: Iterator[Unit]) -> Iterator[Unit]:
        """What is still to do of this shard; must be taken to its end before `end`.

        Args:
          units: of all shards; must be those of the earlier command, in its order.

        Raises:
          InputError: they are not.
        """
        own = self._own(units)
        for entry in entries_of([self._state]):
            unit = next(own, None)
            if unit is None or (shown(unit.path), unit.part) != unit_of(entry):
                raise self._strange(" ".join(unit_of(entry)), unit)
        if self._state.end is not None:
            unit = next(own, None)  # goes through all others, too
            if unit is not None or self._listed != (self._state.end.of, self._state.end.listed):
                raise self._strange("others in all", unit)
        return own

    def add(self, entries: Sequence[Entry]) -> None:
        """Write what became of some units.

        Args:
          entries: of each unit in order its `path`, as `shown` gives it, its `part` where it has
            one, and its other columns, or `rows` with all columns of none or many rows; `REASON`
            instead where it was left out. A missing column is empty.
        """
        entries = [_rounded(entry) for entry in entries]
        self._write(entries)
        self._state.count(entries)

    def end(self) -> None:
        """End a part whose units are all done; that of a shard says so in its last line."""
        assert self._listed is not None  # else units are left that nobody took
        if self.shard != WHOLE and not self.whole:
            end = End(self.units, *self._listed, self._state.digest.hexdigest())
            self._write(end_line(end))
            os.fsync(self._file.fileno())  # another machine may look at it next
            self._state.end = end
        self._file.close()

    def table(self) -> Table:
        """The table of this part alone; of no shard."""
        assert self.shard == WHOLE
        return Table(self.path, [self._state], self._at_end)

    def when_full(self, problem: str) -> str:
        """What to say when the part cannot be written any more; see `atomic.storage_named`."""
        return (
            f"{self.part}: cannot be written ({problem}); what was done is kept. Make space, and "
            "go on with --resume."
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
            f"{self.part}: the images are not those of the command that began it (it had {had} "
            f"where {now} is now); give the same ones, or begin again with --overwrite."
        )

    def _write(self, value: object) -> None:
        line = json_line(value)
        left = memoryview(line)
        while left:  # of a file without a buffer, a call may write less
            left = left[self._file.write(left) :]
        self._state.add_line(line)

    def _check_like_others(self, head: dict[str, Any]) -> None:
        """Refuse a shard that is of another command than the first of the others."""
        others = (path for shard, path in parts_beside(self.path).items() if shard != self.shard)
        if (path := next(others, None)) is None:
            return
        strange = ""
        with contextlib.suppress(*UNREADABLE):  # when the table is made, its end is missing
            strange = differing(read_head(path), head)
        if strange:
            raise InputError(
                f"{path}: was begun with {strange}; give all shards the same, or begin again with "
                "--overwrite."
            )

    def _take_up(self, head: dict[str, Any]) -> Part:
        """What an earlier command did."""
        try:
            part = read_part(self.part)
            strange = differing(part.head, head)
        except UNREADABLE as error:
            raise InputError(
                f"{self.part}: cannot be taken up ({error}); begin again with --overwrite."
            ) from error
        if strange:
            raise InputError(
                f"{self.part}: was begun with {strange}; give the same, or begin again with "
                "--overwrite."
            )
        return part


def check_path(path: Path, shard: Shard = WHOLE, *, resume: bool, overwrite: bool) -> None:
    """Refuse a table that cannot be begun, before any work.

    Raises:
      InputError: it has another suffix, is a folder, or it or a part of it is there already.
    """
    check_suffix(path)
    if resume and overwrite:
        raise InputError("--resume and --overwrite: one goes on, the other begins again; give one.")
    if path.exists() and not path.is_file():
        raise InputError(f"--out={path}: is a folder, a pipe or a device; give another name.")
    _check_others(path, shard)
    if overwrite:
        return
    if (part := shard.part_of(path)).exists():
        if not resume:
            raise InputError(
                f"{part}: an earlier command was stopped; go on with --resume, or begin again with "
                "--overwrite."
            )
    elif path.exists():
        raise InputError(f"--out={path}: exists already; --overwrite replaces it.")


def check_suffix(path: Path) -> None:
    """See that a table is of a kind that is written."""
    if path.suffix not in SUFFIXES:
        raise InputError(f"--out={path}: give a file that ends in {' or '.join(SUFFIXES)}.")


def _check_others(path: Path, shard: Shard) -> None:
    """Refuse parts that can become no table with this one; they may be another's work."""
    if shard != WHOLE and (single := WHOLE.part_of(path)).exists():
        raise InputError(
            f"{single}: a command without shards was stopped; go on with --shard=1/1 --resume, or "
            "remove it."
        )
    for other, part in parts_beside(path).items():
        if other.count != shard.count:
            raise InputError(
                f"{part}: is of {other.count} shards and this command of {shard.count}; go on with "
                f"--shard={other} --resume and its like, make the table with --merge, or remove "
                "these parts."
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
        f"{path}: cannot be written ({error.strerror or error}); make space, or choose a file in "
        "a folder that can."
    )
