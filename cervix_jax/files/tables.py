"""Reads CSV files row by row, each with the place to name in a message."""

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path

from cervix_jax.errors import InputError
from cervix_jax.files.paths import require_file

# Far more than any list of images; what is larger is another file.
_MAX_BYTES = 200_000_000


def read_text(path: Path) -> str:
    """A UTF-8 text file, with or without byte order mark.

    Raises:
      InputError: it cannot be read, is too large or is no text.
    """
    require_file(path)
    try:
        with path.open("rb") as stream:
            data = stream.read(_MAX_BYTES + 1)
        if len(data) > _MAX_BYTES:
            raise InputError(f"{path}: larger than {_MAX_BYTES:,} bytes; it is another file.")
        return data.decode("utf-8-sig")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}).") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: is no UTF-8 text ({error}); save it as UTF-8.") from error


def csv_rows(path: Path, columns: Sequence[str]) -> Iterator[tuple[str, dict[str, str]]]:
    """The rows of a CSV file with a first line of names; separated by commas or semicolons.

    Args:
      path: the file.
      columns: names that the first line must hold; others may.

    Yields:
      "<path>, line <n>" and the row, name -> text.

    Raises:
      InputError: the file or a row cannot be used; names the line.
    """
    text = read_text(path)
    head = text.partition("\n")[0]
    delimiter = ";" if ";" in head and "," not in head else ","
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        names = reader.fieldnames or ()
        missing = [name for name in columns if name not in names]
        if missing:
            raise InputError(
                f"{path}, line 1: no column {', '.join(missing)}; the first line must name "
                f"{', '.join(columns)}."
            )
        twice = next((name for name in names if list(names).count(name) > 1), None)
        if twice is not None:
            raise InputError(f"{path}, line 1: the column {twice!r} occurs twice; rename one.")
        for row in reader:
            where = f"{path}, line {reader.line_num}"
            if None in row or None in row.values():
                raise InputError(
                    f"{where}: does not have the {len(names)} columns of the first line; repair it."
                )
            yield where, row
    except csv.Error as error:
        line = reader.reader.line_num
        raise InputError(f"{path}, line {line}: not a CSV row ({error}).") from error
