"""The table that a prediction writes: whole or not at all, and able to go on where it stopped.

While the work lasts, `FILE.part` gets a line of JSON after every batch: what became of each of its
images. What a killed process wrote of a line is cut off again. The table is made of these lines at
the end, and `FILE.part` goes last of all, so that a stop at any moment leaves it to be taken up.
"""

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from cervix_jax.errors import InputError
from cervix_jax.files import atomic
from cervix_jax.predict.picture_names import shown

SUFFIXES = (".csv", ".jsonl")
# In place of all columns but the path where an image was left out.
REASON = "reason"
EMPTY_SET = "{}"
Entry = Mapping[str, Any]


class Output:
    """The rows of one prediction; a context that keeps what is there when it is left early.

    Args:
      path: the table, `.csv` or `.jsonl`.
      columns: names of its columns; the first is "path".
      facts: what decides the rows, as JSON; another prediction may go on only if it has the same.
      resume: go on with what an earlier one left.
      overwrite: begin again whatever is there.

    Attributes:
      images: how many were looked at so far.
      rows: how many of them have a row.

    Raises:
      InputError: the table or a part of it is there, cannot be written, or is of another command.
    """

    def __init__(
        self,
        path: str | Path,
        columns: Sequence[str],
        facts: Mapping[str, Any],
        *,
        resume: bool = False,
        overwrite: bool = False,
    ):
        self.path, self.columns = Path(path), tuple(columns)
        self.part, self.skipped_path = part_of(self.path), beside(self.path, "skipped")
        self.images = self.rows = 0
        check_path(self.path, resume=resume, overwrite=overwrite)
        head = json.loads(json.dumps({"facts": dict(facts), "columns": self.columns}))
        going_on = resume and self.part.exists()
        length = self._take_up(head) if going_on else 0
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self.part.open("r+b" if going_on else "wb", buffering=0)
        except OSError as error:
            raise _cannot_be_written(self.path, error) from error
        try:
            self._file.truncate(length)
            self._file.seek(length)
            if not going_on:
                self._write(head)
        except OSError as error:
            self._file.close()
            self.part.unlink()
            raise _cannot_be_written(self.path, error) from error

    def __enter__(self) -> "Output":
        return self

    def __exit__(self, *unused: object) -> None:
        self._file.close()
        if not self.images:
            self.part.unlink(missing_ok=True)

    @property
    def skipped(self) -> int:
        """Images that were left out so far."""
        return self.images - self.rows

    def remaining(self, paths: Iterator[str]) -> Iterator[str]:
        """What of the images is still to do; must be those of the earlier command, in its order.

        Raises:
          InputError: they are not.
        """
        for entry in self._entries():
            path = next(paths, None)
            if path is None or shown(path) != entry["path"]:
                raise InputError(
                    f"{self.part}: the images are not those of the command that began it (it had "
                    f"{entry['path']} where {path or 'none'} is now); give the same ones, or begin "
                    "again with --overwrite."
                )
        return paths

    def add(self, entries: Sequence[Entry]) -> None:
        """Write what became of some images.

        Args:
          entries: of each image in order its `path`, as `shown` gives it, and its other columns;
            `path` and `REASON` where it was left out. A missing column is empty.
        """
        self._write([_rounded(entry) for entry in entries])
        self._count(entries)

    def read(self) -> Iterator[Entry]:
        """The rows so far, numbers with six digits."""
        return (entry for entry in self._entries() if REASON not in entry)

    def finish(self) -> None:
        """Make the table of the part.

        Raises:
          InputError: no image could be predicted; the list of those left out is kept.
        """
        if self.skipped:
            with atomic.replacing(self.skipped_path) as temporary, temporary.open("wb") as file:
                file.write(csv_text([("path", REASON)]))
                for entry in self._entries():
                    if REASON in entry:
                        file.write(csv_text([(entry["path"], entry[REASON])]))
        else:
            self.skipped_path.unlink(missing_ok=True)  # of an earlier table
        if not self.rows:
            self._file.close()
            self.part.unlink()
            more = f"{self.skipped_path} says why" if self.skipped else "there is none"
            raise InputError(f"none of {self.images} images could be predicted; {more}.")
        with atomic.replacing(self.path) as temporary, temporary.open("wb") as file:
            is_csv = self.path.suffix == ".csv"
            if is_csv:
                file.write(csv_text([self.columns]))
            for row in self.read():
                cells = {name: row.get(name) for name in self.columns}
                file.write(csv_text([map(_cell, cells.values())]) if is_csv else _line(cells))
        self._file.close()
        self.part.unlink()

    def _entries(self) -> Iterator[dict[str, Any]]:
        """What became of each image so far, in order."""
        with self.part.open("rb") as file:
            next(file)
            for line in file:
                yield from json.loads(line)

    def _write(self, value: object) -> None:
        line = memoryview(_line(value))
        while line:  # of a file without a buffer, a call may write less
            line = line[self._file.write(line) :]

    def _count(self, entries: Sequence[Entry]) -> None:
        self.images += len(entries)
        self.rows += sum(REASON not in entry for entry in entries)

    def _take_up(self, head: dict[str, Any]) -> int:
        """Count what an earlier command did; gives the length of its whole lines in bytes."""
        length = 0
        try:
            with self.part.open("rb") as file:
                if not (first := file.readline()).endswith(b"\n"):
                    raise ValueError("its first line is cut")
                begun = json.loads(first)
                differing = _differing(begun, head)
                length = len(first)
                for line in iter(file.readline, b""):
                    if not line.endswith(b"\n"):
                        break
                    self._count(json.loads(line))
                    length += len(line)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(
                f"{self.part}: cannot be taken up ({error}); begin again with --overwrite."
            ) from error
        if differing:
            raise InputError(
                f"{self.part}: was begun with {differing}; give the same, or begin again with "
                "--overwrite."
            )
        return length


def check_path(path: Path, *, resume: bool, overwrite: bool) -> None:
    """Refuse a table that cannot be begun, before any work.

    Raises:
      InputError: it has another suffix, is a folder, or it or a part of it is there already.
    """
    if path.suffix not in SUFFIXES:
        raise InputError(f"--out={path}: give a file that ends in {' or '.join(SUFFIXES)}.")
    if resume and overwrite:
        raise InputError("--resume and --overwrite: one goes on, the other begins again; give one.")
    if path.exists() and not path.is_file():
        raise InputError(f"--out={path}: is a folder, a pipe or a device; give another name.")
    if overwrite:
        return
    if part_of(path).exists():
        if not resume:
            raise InputError(
                f"{part_of(path)}: an earlier command was stopped; go on with --resume, or begin "
                "again with --overwrite."
            )
    elif path.exists():
        raise InputError(f"--out={path}: exists already; --overwrite replaces it.")


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


def beside(path: Path, what: str) -> Path:
    """The CSV file that goes with a table: `<name>_<what>.csv`."""
    return path.with_name(f"{path.stem}_{what}.csv")


def part_of(path: Path) -> Path:
    """Where the rows of a table lie while the work lasts."""
    return path.with_name(f"{path.name}.part")


def csv_text(rows: Iterator[Any] | Sequence[Any]) -> bytes:
    """Lines of a CSV file in UTF-8."""
    text = io.StringIO(newline="")
    csv.writer(text).writerows(rows)
    return text.getvalue().encode("utf-8", "backslashreplace")


def _cell(value: Any) -> Any:
    if isinstance(value, float):
        return f"{value:.6g}"
    # A set without classes: an empty cell would be NaN to those who read it.
    return ("|".join(value) or EMPTY_SET) if isinstance(value, list) else value


def _rounded(row: Entry) -> Entry:
    return {k: float(f"{v:.6g}") if isinstance(v, float) else v for k, v in row.items()}


def _line(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n"


def _cannot_be_written(path: Path, error: OSError) -> InputError:
    return InputError(
        f"{path}: cannot be written ({error.strerror or error}); make space, or choose a file in "
        "a folder that can."
    )


def _differing(begun: dict[str, Any], now: dict[str, Any]) -> str:
    """The first fact that is not the same, for a message; "" where all are."""
    if begun["columns"] != now["columns"]:
        return f"the columns {', '.join(begun['columns'])}"
    names = [name for name in now["facts"] if begun["facts"].get(name) != now["facts"][name]]
    names += [name for name in begun["facts"] if name not in now["facts"]]
    if "weights" in names:
        return "other weights"
    return f"{names[0]}={begun['facts'].get(names[0])}" if names else ""
