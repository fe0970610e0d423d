"""Files with optional gzip compression, detected by content in reading and by `.gz` in writing.

The name is not reliable for reading, because a browser may unpack a download without renaming it.
"""

import contextlib
import gzip
import io
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, cast

from cervix_jax.errors import InputError
from cervix_jax.files.atomic import replacing

_MAGIC = b"\x1f\x8b"
_CSV = (".csv.gz", ".csv")


@contextlib.contextmanager
def opened(path: Path, most: int) -> Iterator[IO[bytes]]:
    """Yield the content of a file, unpacked if it is compressed.

    Args:
      path: the file.
      most: maximum number of unpacked bytes.

    Raises:
      InputError: it is compressed and damaged or truncated, or exceeds `most`.
      OSError: it cannot be read.
    """
    with path.open("rb") as stream:
        packed = stream.read(len(_MAGIC)) == _MAGIC
        stream.seek(0)
        if not packed:
            yield stream
            return
        try:
            with _Bounded(path, stream, most) as unpacked:
                yield cast(IO[bytes], unpacked)
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise InputError(
                f"{path}: is damaged or cut off ({error}); copy it again, or compress it again "
                "with gzip."
            ) from error


class _Bounded(gzip.GzipFile):
    """A compressed file with a limit on its unpacked size: a few bytes can unpack to any number."""

    def __init__(self, path: Path, stream: IO[bytes], most: int):
        super().__init__(fileobj=stream, mode="rb")
        self._path, self._most, self._given = path, most, 0

    def read1(self, size: int = -1) -> bytes:
        data = super().read1(size)
        self._given += len(data)
        if self._given > self._most:
            raise InputError(
                f"{self._path}: larger than {self._most:,} bytes unpacked, so it is not the "
                "expected file."
            )
        return data


@contextlib.contextmanager
def written(path: Path) -> Iterator[IO[str]]:
    """Yield a UTF-8 text stream whose file replaces `path` when the block ends without error.

    A file that ends in `.gz` is compressed; the same text gives the same bytes.

    Raises:
      InputError: see `atomic.replacing`.
    """
    with replacing(path) as temporary, temporary.open("wb") as raw, contextlib.ExitStack() as stack:
        stream: IO[bytes] = raw
        if path.suffix == ".gz":
            packed = gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0)
            stream = cast(IO[bytes], stack.enter_context(packed))
        yield stack.enter_context(io.TextIOWrapper(stream, encoding="utf-8", newline=""))


def stem(path: Path) -> str:
    """Return the name of a table without `.csv` or `.csv.gz`."""
    name = path.name
    return next((name.removesuffix(end) for end in _CSV if name.endswith(end)), name)
