"""The reader of tables: text files written by spreadsheets, analysis programs and scripts.

Cells are separated by commas, semicolons or tabs, whichever gives the expected column names; a
first line `sep=;` overrides this. The encoding is UTF-8, or UTF-16 with a byte order mark, with any
line endings. Initial comment lines (`#`), blanks and invisible characters around cells, and empty
rows are ignored. Texts are normalised to Unicode NFC, as are names of images. Files of any size are
read row by row, and unpacked while reading if they are compressed with gzip.
"""

import collections
import contextlib
import csv
import functools
import itertools
import math
import re
from collections.abc import Generator, Iterable, Iterator, Sequence
from pathlib import Path

from absl import logging

from cervix_jax.errors import InputError
from cervix_jax.files.encoding import encoding_of, not_text, text_lines
from cervix_jax.files.paths import nfc

_SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs"}
# Excel's line; programs that rewrite it quote it or pad its row with separators.
_SEPARATOR_LINE = re.compile(r'("?)sep=([,;\t])\1\2*[ \r\n]*', re.IGNORECASE)
_MAX_SHOWN = 12  # names in a message
_MAX_COMMENTS = 1000  # lines before the header
# Zero-width characters that web pages, chats and editors leave around a text.
_INVISIBLE = "\u00ad\u180e\u200b\u200c\u200d\u200e\u200f\u2060\ufeff" + "".join(
    map(chr, (*range(0x202A, 0x202F), *range(0x2066, 0x206A)))
)


class Table:
    """The rows of a table whose first line is the header.

        table = Table("images.csv", ("path", "label", "group"))
        table.require("path", "label")
        for row in table:
            print(row.where, row["path"], row.get("group"))

    Attributes:
      path: the file.
      columns: the names of its columns; "" for a column without a name.
      separator: the separator of its cells.

    Args:
      path: the file.
      known: names of the expected columns, in any case; an exact match takes precedence. Other
        names stay unchanged.

    Raises:
      InputError: the file cannot be read, is too large, is no text, or names a column twice.
    """

    def __init__(self, path: str | Path, known: Sequence[str]):
        self.path = Path(path)
        self._encoding = encoding_of(self.path)
        self._decimal = ""  # "," or ".", once a number has one
        folded = {name.casefold() for name in known}
        self._skipped, given = self._before_names(folded)
        self.separator, (self._head, cells) = self._divided(given, folded)
        if cells and cells[0].startswith("#"):  # the header itself, as a comment
            bare = clean(cells[0].lstrip("#"))
            cells = [bare if bare.casefold() in folded else cells[0], *cells[1:]]
        self.columns = _names(cells, known)
        self._place = {name: place for place, name in enumerate(self.columns)}
        counts = collections.Counter(name for name in self.columns if name)
        if twice := [name for name, count in counts.items() if count > 1]:
            raise InputError(
                f"{self.path}, line {self._head}: the column {twice[0][:40]!r} occurs twice; "
                "rename one."
            )

    def require(self, *names: str) -> None:
        """Raises InputError unless the table has columns of these names."""
        if missing := [name for name in names if name not in self._place]:
            raise self.without(missing, f"the first line must name {', '.join(names)}.")

    def without(self, missing: Sequence[str], mend: str) -> InputError:
        """Return the error of a table that lacks columns; names the columns found."""
        found = [name for name in self.columns if name]
        shown = ", ".join(_shown(name) for name in found[:_MAX_SHOWN]) or "none"
        if "label" in missing and (classes := self._one_hot()):
            mend = (
                f"{', '.join(map(_shown, classes[:_MAX_SHOWN]))} hold 0 and 1, one column per "
                "class; write one column label with the class of each image instead."
            )
        more = f" and {len(found) - _MAX_SHOWN} more" if len(found) > _MAX_SHOWN else ""
        return InputError(
            f"{self.path}, line {self._head}: no column {', '.join(missing)} (found: "
            f"{shown}{more}, separated by {_SEPARATORS[self.separator]}); {mend}"
        )

    def __iter__(self) -> Iterator["Row"]:
        """Yield the rows, each checked to have a cell for every named column.

        Raises:
          InputError: a row cannot be used; the message names the line.
        """
        named = len(self.columns)
        while named and not self.columns[named - 1]:  # spreadsheets leave empty columns
            named -= 1
        with contextlib.closing(self._records(self.separator)) as records:
            next(records, None)  # the header
            for line, cells in records:
                row = Row(self, line, cells)
                if len(cells) < named or any(cells[len(self.columns) :]):
                    comma = self.separator == "," and len(cells) > named
                    raise InputError(
                        f"{row.where}: has {len(cells)} cells, and the first line has {named} "
                        f"columns, separated by {_SEPARATORS[self.separator]}; repair it"
                        + ("; put cells with a comma in double quotes." if comma else ".")
                    )
                yield row

    def _one_hot(self) -> list[str]:
        """Return columns of 0 and 1 with exactly one 1 per row, judged by the first rows."""
        truth = {"0": 0, "0.0": 0, "false": 0, "1": 1, "1.0": 1, "true": 1}
        try:
            rows = list(itertools.islice(self, 50))
        except InputError:
            return []
        found = [
            name
            for name in self.columns
            if name and rows and all(row[name].casefold() in truth for row in rows)
        ]
        hot = [sum(truth[row[name].casefold()] for name in found) for row in rows]
        return found if len(found) > 1 and set(hot) == {1} else []

    def _before_names(self, known: set[str]) -> tuple[int, str]:
        """Return the number of lines before the header, and the separator given in one of them."""
        skipped, comments, given, last = 0, 0, "", ""
        with contextlib.closing(self._lines()) as lines:
            for line in itertools.islice(lines, _MAX_COMMENTS):
                if "\0" in line:
                    raise InputError(
                        f"{self.path}, line {skipped + 1}: is not text; save it as UTF-8."
                    )
                if not given and (mark := _SEPARATOR_LINE.fullmatch(line)):
                    given = mark[2]
                elif line.lstrip(f'" \t{_INVISIBLE}').startswith("#"):
                    comments, last = comments + 1, line
                else:
                    # `#path,label`, as some programs write it, is no comment but the header.
                    if _knows(last, known) and not _knows(line, known):
                        skipped, comments = skipped - 1, comments - 1
                    break
                skipped += 1
            else:
                if _knows(last, known):  # a header without rows
                    skipped, comments = skipped - 1, comments - 1
        if comments:
            lines_are = "1 line of comment is" if comments == 1 else f"{comments} lines are"
            say_once(f"{self.path}: {lines_are} left out before the names of the columns.")
        return skipped, given

    def _lines(self) -> Generator[str, None, None]:
        """Yield lines with their endings; any reading error becomes a one-line error."""
        try:
            yield from text_lines(self.path, self._encoding)
        except OSError as error:
            raise InputError(f"{self.path}: cannot be read ({error.strerror}).") from error
        except UnicodeError as error:
            raise not_text(self.path, self._encoding, error) from error

    def _records(self, separator: str) -> Generator[tuple[int, list[str]], None, None]:
        """Yield non-empty rows as stripped cells, each with the number of its last line."""
        with contextlib.closing(self._lines()) as lines:
            for _ in range(self._skipped):
                next(lines, None)
            reader = csv.reader(lines, delimiter=separator, strict=True, skipinitialspace=True)
            try:
                for cells in reader:
                    cells = [clean(cell) for cell in cells]
                    if any(cells):
                        yield reader.line_num + self._skipped, cells
            except csv.Error as error:
                line = reader.line_num + self._skipped
                raise InputError(
                    f"{self.path}, line {line}: not a CSV row ({error}); repair it."
                ) from error

    def _divided(self, given: str, folded: set[str]) -> tuple[str, tuple[int, list[str]]]:
        """Return the separator, and the number and cells of the header that it gives."""
        found: dict[str, tuple[int, list[str]]] = {}
        failure: InputError | None = None
        for separator in given or _SEPARATORS:
            try:
                with contextlib.closing(self._records(separator)) as records:
                    found[separator] = next(records, (1, []))
            except InputError as error:  # the quotes may be valid with another separator
                failure = failure or error
        if failure and not found:
            raise failure

        def fit(separator: str) -> tuple[int, int]:
            cells = found[separator][1]
            return sum(cell.casefold().lstrip("# ") in folded for cell in cells), len(cells)

        best = max(found, key=fit)  # the first if tied: commas take precedence
        return best, found[best]


class Row:
    """One row of a table; `row["label"]` is the text of a cell."""

    __slots__ = ("_cells", "_table", "line")

    def __init__(self, table: Table, line: int, cells: list[str]):
        self._table, self.line, self._cells = table, line, cells

    @property
    def where(self) -> str:
        """File and line, for a message."""
        return f"{self._table.path}, line {self.line}"

    def __getitem__(self, name: str) -> str:
        return self._cells[self._table._place[name]]

    def get(self, name: str) -> str:
        """Return the text of a cell, "" if there is no such column."""
        return self[name] if name in self._table._place else ""

    def number(self, name: str, *, least: float | None = None, percent: bool = False) -> float:
        """Return the number in a cell; a decimal comma is allowed if it is not the separator.

        Args:
          name: name of the column.
          least: lower bound; with a bound the number must also be finite.
          percent: whether a % sign may follow, which is dropped: `30 %` gives 30.

        Raises:
          InputError: the cell has no such number.
        """
        text = self[name]
        try:
            bare = clean(text.removesuffix("%")) if percent else text
            value = number(bare, decimal_comma=self._table.separator != ",")
        except ValueError:
            value = None
        if least is not None and (value is None or not math.isfinite(value) or value < least):
            raise InputError(
                f"{self.where}: {name}={text[:40]!r} must be a number of at least {least:g}."
            )
        if value is None:
            raise InputError(
                f"{self.where}: {name}={text[:40]!r} is not a number; write it like 1234.5."
            )
        self._check_decimal(name, text)
        return value

    def _check_decimal(self, name: str, text: str) -> None:
        # 1,234 is one number in German notation and another in American: a table uses one of them.
        mark = "," if "," in text else "." if "." in text else ""
        known = self._table._decimal
        if mark and known and mark != known:
            kinds = {",": "comma", ".": "point"}
            raise InputError(
                f"{self.where}: {name}={text[:40]!r} has a decimal {kinds[mark]}, but earlier "
                f"numbers have a decimal {kinds[known]}; use one decimal mark in the whole table, "
                "and no thousands separator."
            )
        self._table._decimal = known or mark


def number(text: str, *, decimal_comma: bool = False) -> float:
    """Parse a number such as 3, -0.5, 1e-05, inf or nan.

    Args:
      text: the text.
      decimal_comma: whether 0,5 is accepted, too.

    Raises:
      ValueError: the text is not a number.
    """
    if decimal_comma and "," in text:
        if "." in text:
            raise ValueError(f"{text!r} has a comma and a point")
        text = text.replace(",", ".")
    if "_" in text:  # Python's thousands separator
        raise ValueError(f"{text!r} is not a number")
    return float(text)


def clean(text: str) -> str:
    """Return a text in form NFC, without surrounding blanks and invisible characters."""
    if text.isascii():
        return text.strip()
    while (less := text.strip().strip(_INVISIBLE)) != text:
        text = less
    return nfc(text)


def same_number(names: Iterable[str]) -> tuple[str, str] | None:
    """Return two names of the same number, like 1 and 1.0, which spreadsheets interchange."""
    seen: dict[float, str] = {}
    for name in dict.fromkeys(names):
        try:
            value = number(name, decimal_comma=True)
        except ValueError:
            continue
        if seen.setdefault(value, name) != name:
            return seen[value], name
    return None


def refuse_same_number(names: Iterable[str], where: str | Path) -> None:
    """Raises InputError if two classes of `where` have the same number as their name."""
    if pair := same_number(names):
        raise InputError(
            f"{where}: the classes {pair[0]!r} and {pair[1]!r} are the same number; write "
            "it the same way everywhere."
        )


@functools.cache
def say_once(line: str) -> None:
    """Warn once per line of text, about values read differently from how they are written."""
    logging.warning("%s", line)


def _knows(line: str, known: set[str]) -> bool:
    """Whether a line contains the name of an expected column."""
    cells = re.split(r"[,;\t]", line)
    return any(clean(cell.strip('"# \n\r')).casefold() in known for cell in cells)


def _names(cells: Sequence[str], known: Sequence[str]) -> tuple[str, ...]:
    """Return the names of the columns, expected ones in their expected spelling."""
    spelling = {name.casefold(): name for name in known if name not in cells}
    return tuple(spelling.get(cell.casefold(), cell) for cell in cells)


def _shown(text: str) -> str:
    """Return a text for a message of one line."""
    short = text if len(text) <= 40 else f"{text[:40]}..."
    return short if short.isprintable() else repr(short)[1:-1]
