"""The table that a prediction writes: whole or not at all, and able to go on where it stopped.

While the work lasts, rows go to `FILE.part` and the images that were left out to
`FILE.part_skipped`; after every batch a line of `FILE.progress` says how long both are and how many
images that was. What a killed process wrote after its last such line is cut off again. The table
gets its name last of all, so that a stop at any moment leaves it to be taken up, or whole.
"""

import contextlib
import csv
import hashlib
import io
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from cervix_jax.errors import InputError
from cervix_jax.files import atomic
from cervix_jax.predict.names import shown

SUFFIXES = (".csv", ".jsonl")
SKIPPED_COLUMNS = ("path", "reason")
Row = Mapping[str, Any]


class Output:
    """The rows of one command; a context that keeps what is there when it is left early.

    Args:
      path: the table, `.csv` or `.jsonl`.
      columns: names of its columns.
      facts: what decides the rows, as JSON; another command may go on only if it has the same.
      resume: go on with what an earlier command left.
      overwrite: begin again whatever is there.

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
        self.skipped_path = beside(self.path, "skipped")
        self.part, self._part_skipped, self._progress = parts(self.path)
        self.images = self.rows = 0
        self._digest = ""
        check_path(self.path, resume=resume, overwrite=overwrite)
        head = json.loads(json.dumps({"facts": dict(facts), "columns": self.columns}))
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            going_on = resume and self._progress.exists()
            if going_on:
                self._take_up(head)
            mode = "r+b" if going_on else "wb"
            self._files = [each.open(mode) for each in (self.part, self._part_skipped)]
            self._log = self._progress.open("r+b" if going_on else "wb")
        except OSError as error:
            raise InputError(
                f"{self.path}: cannot be written ({error.strerror or error}); choose a file in a "
                "folder that can."
            ) from error
        if going_on:
            for file, length in zip(self._files, self._lengths, strict=True):
                file.truncate(length)
                file.seek(length)
            self._log.truncate(self._log_length)
            self._log.seek(self._log_length)
        else:
            try:
                self._begin(head)
            except OSError as error:
                with contextlib.suppress(OSError):  # what did not fit is written once more
                    self._close()
                self._discard()
                raise InputError(
                    f"{self.path}: cannot be written ({error.strerror or error}); make space, or "
                    "choose another place."
                ) from error

    def _begin(self, head: dict) -> None:
        self._log.write(_line(head))
        if self.path.suffix == ".csv":
            self._files[0].write(csv_text([self.columns]))
        self._files[1].write(csv_text([SKIPPED_COLUMNS]))
        self._note()

    def __enter__(self) -> "Output":
        return self

    def __exit__(self, *unused) -> None:
        self._close()
        if not self.images:
            self._discard()

    @property
    def skipped(self) -> int:
        """Images that were left out so far."""
        return self._skipped

    def remaining(self, paths: Iterator[str]) -> Iterator[str]:
        """What of the images is still to do; must be those of the earlier command, in its order.

        Raises:
          InputError: they are not.
        """
        wanted, count, digest = self.images, 0, ""
        while count < wanted and (path := next(paths, None)) is not None:
            digest, count = _chained(digest, path), count + 1
        if digest != self._digest:
            raise InputError(
                f"{self.part}: the images are not those of the command that began it (its first "
                f"{wanted} differ); give the same ones, or begin again with --overwrite."
            )
        return paths

    def add(
        self, paths: Sequence[str], rows: Sequence[Row], skipped: Sequence[tuple[str, str]]
    ) -> None:
        """Write what became of some images.

        Args:
          paths: all of them, in their order.
          rows: of those that were predicted; a missing column is empty.
          skipped: path and reason of the others.
        """
        self._files[0].write(self._text(rows))
        self._files[1].write(csv_text([(shown(path), reason) for path, reason in skipped]))
        for path in paths:
            self._digest = _chained(self._digest, path)
        self.images += len(paths)
        self.rows += len(rows)
        self._skipped += len(skipped)
        self._note()

    def finish(self) -> None:
        """Give the table its name.

        Raises:
          InputError: no image could be predicted; the list of those left out is kept.
        """
        self._close()
        if self._skipped:  # a copy: until the table has its name, --resume needs the part itself
            with atomic.replacing(self.skipped_path) as temporary:
                shutil.copyfile(self._part_skipped, temporary)
        else:
            self.skipped_path.unlink(missing_ok=True)  # of an earlier table
        if not self.rows:
            self._discard()
            more = f"{self.skipped_path} says why" if self._skipped else "there is none"
            raise InputError(f"none of {self.images} images could be predicted; {more}.")
        os.replace(self.part, self.path)
        self._discard()

    def read(self) -> Iterator[dict[str, Any]]:
        """The rows so far, as they were written; texts only if the table is a CSV file."""
        self._files[0].flush()
        with self.part.open(newline="", encoding="utf-8") as file:
            if self.path.suffix == ".csv":
                yield from csv.DictReader(file)
            else:
                yield from map(json.loads, file)

    def _text(self, rows: Sequence[Row]) -> bytes:
        if self.path.suffix == ".csv":
            return csv_text([[_cell(row.get(name)) for name in self.columns] for row in rows])
        return b"".join(_line({name: row.get(name) for name in self.columns}) for row in rows)

    _skipped = 0

    def _note(self) -> None:
        # The rows first: a line here promises that they are there.
        for file in self._files:
            file.flush()
        lengths = [file.tell() for file in self._files]
        counts = [self.images, self.rows, self._skipped]
        self._log.write(_line({"lengths": lengths, "counts": counts, "digest": self._digest}))
        self._log.flush()

    def _take_up(self, head: dict) -> None:
        with self._progress.open("rb") as file:
            whole, _, _ = file.read().rpartition(b"\n")  # what follows is a torn line
        self._log_length = len(whole) + 1
        try:
            lines = whole.split(b"\n")
            begun, last = json.loads(lines[0]), json.loads(lines[-1])
            differing = _differing(begun, head)
            self._lengths = last["lengths"]
            self.images, self.rows, self._skipped = last["counts"]
            self._digest = last["digest"]
            sizes = [each.stat().st_size for each in (self.part, self._part_skipped)]
            if any(size < wanted for size, wanted in zip(sizes, self._lengths, strict=True)):
                raise ValueError("a file is shorter than it was")
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"{self.part}: cannot be taken up ({error}); begin again with --overwrite."
            ) from error
        if differing:
            raise InputError(
                f"{self.part}: was begun with {differing}; give the same, or begin again with "
                "--overwrite."
            )

    def _close(self) -> None:
        with contextlib.ExitStack() as closing:  # all of them, whatever the first one raises
            for file in (*self._files, self._log):
                closing.callback(file.close)

    def _discard(self) -> None:
        for path in (self.part, self._part_skipped, self._progress):
            path.unlink(missing_ok=True)


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
    part, _, progress = parts(path)
    if progress.exists() and not _has_its_name(path):
        if not (resume or overwrite):
            raise InputError(
                f"{part}: an earlier command was stopped; go on with --resume, or begin again with "
                "--overwrite."
            )
    elif path.exists() and not overwrite:
        raise InputError(f"--out={path}: exists already; --overwrite replaces it.")


def _has_its_name(path: Path) -> bool:
    """Whether a command was stopped between giving its table the name and clearing up."""
    part, _, progress = parts(path)
    if part.exists() or not path.exists():
        return False
    try:
        last = json.loads(progress.read_bytes().split(b"\n")[-2])
        return path.stat().st_size == last["lengths"][0]
    except (OSError, ValueError, KeyError, IndexError, TypeError):
        return False


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


def parts(path: Path) -> tuple[Path, Path, Path]:
    """Where rows, left-out images and progress lie while the work lasts."""
    names = (f"{path.name}.part", f"{path.name}.part_skipped", f"{path.name}.progress")
    part, skipped, progress = (path.with_name(name) for name in names)
    return part, skipped, progress


def csv_text(rows: Sequence[Sequence[Any]]) -> bytes:
    """Lines of a CSV file in UTF-8."""
    text = io.StringIO(newline="")
    csv.writer(text).writerows(rows)
    return text.getvalue().encode("utf-8", "backslashreplace")


def _cell(value: Any) -> Any:
    if isinstance(value, float):
        return f"{value:.6g}"
    return "|".join(value) if isinstance(value, list) else value


def _line(value: Any) -> bytes:
    if isinstance(value, dict):
        value = {k: float(f"{v:.6g}") if isinstance(v, float) else v for k, v in value.items()}
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n"


def _chained(digest: str, path: str) -> str:
    return hashlib.blake2b(digest.encode() + os.fsencode(path), digest_size=16).hexdigest()


def _differing(begun: dict, now: dict) -> str:
    """The first fact that is not the same, for a message; "" where all are."""
    if begun["columns"] != now["columns"]:
        return f"the columns {', '.join(begun['columns'])}"
    names = [name for name in now["facts"] if begun["facts"].get(name) != now["facts"][name]]
    names += [name for name in begun["facts"] if name not in now["facts"]]
    if "weights" in names:
        return "other weights"
    return f"{names[0]}={begun['facts'].get(names[0])}" if names else ""
