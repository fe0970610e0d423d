"""What is remembered of the files that a data set was prepared from, and whether they changed."""

import contextlib
import dataclasses
import hashlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from cervix_jax.files.folders import is_leftover
from cervix_jax.files.images import SUFFIXES

# What builders read besides images: tables, contours and annotations.
_TABLES = (".csv", ".dat", ".json", ".tsv")
# Of a table whose name ends so the text is remembered too, as a label can change without the size.
_TEXTS = (".csv", ".tsv")
_MAX_TEXT = 1 << 24  # bytes


@dataclasses.dataclass(frozen=True)
class SourceFiles:
    """What is remembered of the files of a folder.

    Attributes:
      folder: the folder, absolute.
      count: number of files.
      size: bytes of all of them.
      digest: SHA-256 of their names below the folder and their sizes, and of the text of tables.
      newest: when the last of them was written, in seconds since 1970.
    """

    folder: str
    count: int
    size: int
    digest: str
    newest: float

    @classmethod
    def of(cls, folder: Path, without: str | Path = "") -> "SourceFiles":
        """What there is now: images and tables, in any depth.

        Args:
          folder: where to look; what operating systems leave there does not count.
          without: a folder that does not count, where it lies below; "" is none.
        """
        root, total = folder.resolve(), hashlib.sha256()
        count, size, newest = 0, 0, 0.0
        for name, status in _files(root, Path(without).resolve() if without else None):
            total.update(f"{name}\0{status.st_size}\n".encode("utf-8", "surrogateescape"))
            if name.lower().endswith(_TEXTS) and status.st_size <= _MAX_TEXT:
                with contextlib.suppress(OSError):  # whoever needs to read it says so
                    total.update((root / name).read_bytes())
            count, size = count + 1, size + status.st_size
            newest = max(newest, status.st_mtime)
        return cls(str(root), count, size, total.hexdigest(), newest)

    @classmethod
    def from_json(cls, value: Any) -> "SourceFiles | None":
        """What `to_json` gave; None of anything else, such as what earlier versions wrote."""
        try:
            return cls(**value)
        except TypeError:
            return None

    def to_json(self) -> dict[str, Any]:
        """A JSON-ready dict."""
        return dataclasses.asdict(self)

    def change(self, now: "SourceFiles") -> str:
        """How the files differ now, in words; "" where nothing shows that they do.

        Args:
          now: of the same folder, or of what is given for it today. When files were written says
            something of the same folder only, since copies are newer.
        """
        if (self.count, self.size) != (now.count, now.size):
            return f"{now.count} files of {now.size:,} bytes, then {self.count} of {self.size:,}"
        if self.digest != now.digest:
            return f"{now.count} files as then, but with other names, sizes or tables"
        if self.folder == now.folder and now.newest > self.newest:
            return "files written since under the same names"
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
            except OSError:  # a link that leads nowhere
                continue
