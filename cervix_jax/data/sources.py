"""A record of the files that a data set was prepared from, and detection of changes."""

import contextlib
import dataclasses
import hashlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from cervix_jax.files.folders import is_leftover
from cervix_jax.files.images import SUFFIXES

# Files that builders read besides images: tables, contours and annotations.
_TABLES = (".csv", ".dat", ".json", ".tsv")
# For tables with these suffixes the text is recorded too: a label can change at constant size.
_TEXTS = (".csv", ".tsv")
_MAX_TEXT = 1 << 24  # bytes


@dataclasses.dataclass(frozen=True)
class SourceFiles:
    """A record of the files of a folder.

    Attributes:
      folder: absolute path of the folder.
      count: number of files.
      size: total size of the files in bytes.
      digest: SHA-256 of their relative names and sizes, and of the text of tables.
      newest: latest modification time, in seconds since 1970.
    """

    folder: str
    count: int
    size: int
    digest: str
    newest: float

    @classmethod
    def of(cls, folder: Path, without: str | Path = "") -> "SourceFiles":
        """Record the current images and tables of a folder, at any depth.

        Args:
          folder: the folder; files left by operating systems do not count.
          without: a folder below it to exclude; "" excludes none.
        """
        root, total = folder.resolve(), hashlib.sha256()
        count, size, newest = 0, 0, 0.0
        for name, status in _files(root, Path(without).resolve() if without else None):
            total.update(f"{name}\0{status.st_size}\n".encode("utf-8", "surrogateescape"))
            if name.lower().endswith(_TEXTS) and status.st_size <= _MAX_TEXT:
                with contextlib.suppress(OSError):  # reading the file reports the error
                    total.update((root / name).read_bytes())
            count, size = count + 1, size + status.st_size
            newest = max(newest, status.st_mtime)
        return cls(str(root), count, size, total.hexdigest(), newest)

    @classmethod
    def from_json(cls, value: Any) -> "SourceFiles | None":
        """Read a value of `to_json`; None for anything else, such as values of earlier versions."""
        try:
            return cls(**value)
        except TypeError:
            return None

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-ready dict."""
        return dataclasses.asdict(self)

    def change(self, now: "SourceFiles") -> str:
        """Describe how the files differ now; "" if there is no sign of a change.

        Args:
          now: record of the same folder, or of the folder given now. Modification times are
            compared for the same folder only, since copies are newer.
        """
        if (self.count, self.size) != (now.count, now.size):
            return (
                f"now {now.count} files of {now.size:,} bytes, before {self.count} of {self.size:,}"
            )
        if self.digest != now.digest:
            return f"still {now.count} files, but names, sizes or tables have changed"
        if self.folder == now.folder and now.newest > self.newest:
            return "files of the same names, written later"
        return ""


def _files(root: Path, without: Path | None) -> Iterable[tuple[str, os.stat_result]]:
    seen = {without} if without else set()
    for folder, inner, names in os.walk(root, followlinks=True):
        place = Path(folder).resolve()
        if place in seen:  # also a folder that is linked into itself
            inner.clear()
            continue
        seen.add(place)
        inner[:] = sorted(name for name in inner if not is_leftover(name))
        for name in sorted(names):
            if is_leftover(name) or not name.lower().endswith((*SUFFIXES, *_TABLES)):
                continue
            path = Path(folder, name)
            try:
                yield path.relative_to(root).as_posix(), path.stat()
            except OSError:  # a broken link
                continue
