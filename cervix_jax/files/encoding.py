"""The encoding of text files: UTF-8, or UTF-16 with a byte order mark; others are refused.

Files that are compressed with gzip are unpacked while reading.
"""

import codecs
import contextlib
import io
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

from cervix_jax.errors import InputError
from cervix_jax.files import compressed
from cervix_jax.files.paths import require_file

# Far more than any list of images; larger files, packed or unpacked, are something else.
_MAX_BYTES = 200_000_000


def read_text(path: Path) -> str:
    """Read a text file in UTF-8 or, with a byte order mark, UTF-16.

    Raises:
      InputError: it cannot be read, is too large or is no text.
    """
    encoding = encoding_of(path)
    try:
        return "".join(text_lines(path, encoding)).replace("\r\n", "\n").replace("\r", "\n")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}).") from error
    except UnicodeError as error:
        raise not_text(path, encoding, error) from error


def encoding_of(path: Path) -> str:
    """Return a text file's encoding by its byte order mark; raises InputError if unreadable."""
    require_file(path)
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise InputError(
                f"{path}: larger than {_MAX_BYTES:,} bytes, so it is not the expected file."
            )
        with compressed.opened(path, _MAX_BYTES) as stream:
            mark = stream.read(2)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}).") from error
    return "utf-16" if mark in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) else "utf-8-sig"


def text_lines(path: Path, encoding: str) -> Iterator[str]:
    """Yield the lines of a text file with their original line endings.

    Raises:
      InputError: it is compressed and damaged, or its unpacked size exceeds the limit.
      OSError, UnicodeError: it cannot be read, or is no text of that encoding.
    """
    with (
        compressed.opened(path, _MAX_BYTES) as stream,
        io.TextIOWrapper(stream, encoding=encoding, newline="") as text,
    ):
        yield from text


def not_text(path: Path, encoding: str, error: UnicodeError) -> InputError:
    """Return the error for a file that is not text in its encoding; names the line."""
    if encoding == "utf-16":
        return InputError(f"{path}: is not UTF-16 text ({error}); save it as UTF-8.")
    with contextlib.suppress(OSError), compressed.opened(path, _MAX_BYTES) as stream:
        for line, text in enumerate(stream, 1):
            try:
                text.decode()
            except UnicodeDecodeError as here:
                return _of_other_encoding(path, line, text, here)
    return InputError(f"{path}: is not UTF-8 text ({error}); save it as UTF-8.")


def _of_other_encoding(path: Path, line: int, text: bytes, error: UnicodeError) -> InputError:
    """Return an error that names the likely encoding, which is not applied: it may be wrong."""
    place = getattr(error, "start", 0)
    word = text.decode("cp1252", "replace")
    here = re.search(r"\w*$", word[:place])
    after = re.match(r"\w*", word[place:])
    found = (here[0] if here else "") + (after[0] if after else "")
    if not word[place].isalpha():
        return InputError(f"{path}, line {line}: is not UTF-8 text ({error}); save it as UTF-8.")
    return InputError(
        f"{path}, line {line}: is not UTF-8 text, but probably Windows-1252 (Latin 1): "
        f"{found[:40]!r} there; save it as UTF-8: in a spreadsheet as 'CSV UTF-8', else "
        f"{shlex.join(['iconv', '-f', 'WINDOWS-1252', '-t', 'UTF-8', str(path)])} > new.csv"
    )
