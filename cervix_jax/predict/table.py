"""The final table, made from the results of units, and the list of those left out."""

import csv
import io
import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from cervix_jax.errors import InputError
from cervix_jax.files import atomic
from cervix_jax.predict.parts import (
    REASON,
    Entry,
    Part,
    entries_of,
    json_line,
    rows_of,
    unit_of,
)

EMPTY_SET = "{}"


NUMBER = "cell"  # a column that counts the rows of each path


class Table:
    """The table of finished parts, of one part or those of all shards.

    Args:
      path: the table.
      parts: parts in the order of their shards.
      at_end: facts that the parts lack.

    Attributes:
      columns: names of its columns.
      facts: facts that decided the rows, and that decide what is made from them at the end.
      units: number of units.
      rows: number of rows.
      skipped: number of units left out.
      skipped_path: the list of these.
    """

    def __init__(self, path: Path, parts: Sequence[Part], at_end: Mapping[str, Any] | None = None):
        self.path, self._parts = path, parts
        self.columns: tuple[str, ...] = tuple(parts[0].head["columns"])
        self.facts: dict[str, Any] = parts[0].head["facts"] | dict(at_end or {})
        self.units = sum(part.units for part in parts)
        self.rows = sum(part.rows for part in parts)
        self.skipped = sum(part.skipped for part in parts)
        self.skipped_path = beside(path, "skipped")

    def entries(self) -> Iterator[Entry]:
        """The result of each unit, in order, numbers with six digits."""
        return entries_of(self._parts)

    def read(self) -> Iterator[Entry]:
        """The rows in order, numbers with six digits."""
        return rows_of(self.entries())

    def write(self) -> None:
        """Write the table and remove the parts.

        Raises:
          InputError: no unit could be predicted; the list of units left out is kept.
        """
        if self.skipped:
            with atomic.replacing(self.skipped_path) as temporary, temporary.open("wb") as file:
                file.write(csv_text([("path", REASON)]))
                for entry in self.entries():
                    if REASON in entry:
                        path, part = unit_of(entry)
                        reason = f"{part}: {entry[REASON]}" if part else entry[REASON]
                        file.write(csv_text([(path, reason)]))
        else:
            self.skipped_path.unlink(missing_ok=True)  # of an earlier table
        if self.skipped == self.units:
            self._remove_parts()
            more = f"{self.skipped_path} has the reasons" if self.skipped else "there is none"
            raise InputError(f"none of {self.units} images could be predicted; {more}.")
        with atomic.replacing(self.path) as temporary, temporary.open("wb") as file:
            is_csv = self.path.suffix == ".csv"
            if is_csv:
                file.write(csv_text([self.columns]))
            for row in numbered(self.read()) if NUMBER in self.columns else self.read():
                cells = {name: row.get(name) for name in self.columns}
                file.write(
                    csv_text([map(text_cell, cells.values())]) if is_csv else json_line(cells)
                )
        self._remove_parts()

    def _remove_parts(self) -> None:
        for part in self._parts:
            part.path.unlink(missing_ok=True)


def numbered(rows: Iterator[Entry]) -> Iterator[Entry]:
    """Rows numbered from 1 for each path; the rows of a path must be next to each other."""
    for _, same in itertools.groupby(rows, lambda row: row["path"]):
        for number, row in enumerate(same, 1):
            yield {**row, NUMBER: number}


def beside(path: Path, what: str) -> Path:
    """The CSV file that goes with a table: `<name>_<what>.csv`."""
    return path.with_name(f"{path.stem}_{what}.csv")


def csv_text(rows: Iterator[Any] | Sequence[Any]) -> bytes:
    """Lines of a CSV file in UTF-8."""
    text = io.StringIO(newline="")
    csv.writer(text).writerows(rows)
    return text.getvalue().encode("utf-8", "backslashreplace")


def text_cell(value: Any) -> Any:
    """A value as written to a cell of a CSV file."""
    if isinstance(value, float):
        return f"{value:.6g}"
    # An empty set: an empty cell would be read as NaN.
    return ("|".join(value) or EMPTY_SET) if isinstance(value, list) else value
