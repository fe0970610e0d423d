"""Reader of the table of cells that `predict --field=cells` writes, grouped by field."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path, PurePath

import numpy as np

from cervix_jax.errors import InputError
from cervix_jax.evaluate.predictions_file import PREFIX
from cervix_jax.files import tables
from cervix_jax.files.paths import nfc
from cervix_jax.predict.geojson import as_upright, stored_size
from cervix_jax.slides import Slide

_COLUMNS = ("path", "cell", "x", "y")
_SHOWN = 3  # number of names in a message


@dataclasses.dataclass(frozen=True)
class FieldCells:
    """Cells of one field or slide, in the order of the table.

    Attributes:
      path: path of the image in the table.
      numbers: int64 [n], unique cell numbers.
      stored: float64 [n, 2], x and y in level-0 pixels as stored in the file.
      probabilities: float64 [n, C].
      table: the table file, for messages.
    """

    path: str
    numbers: np.ndarray
    stored: np.ndarray
    probabilities: np.ndarray
    table: Path

    def positions(self, slide: Slide) -> np.ndarray:
        """Positions float64 [n, 2] in the upright slide.

        Raises:
          InputError: a position lies outside the slide, so the table belongs to another image.
        """
        width, height = stored_size(slide.size, slide.orientation)
        outside = (self.stored > (width, height)).any(1)
        if outside.any():
            row = int(outside.argmax())
            x, y = self.stored[row]
            raise InputError(
                f"{self.table}: cell {self.numbers[row]} at ({x:g}, {y:g}) lies outside of "
                f"{self.path}, {width} x {height} px; the table belongs to another image, or the "
                "image was made smaller: predict it again."
            )
        return as_upright(self.stored, slide.size, slide.orientation)

    def rows(self, numbers: Sequence[int]) -> np.ndarray:
        """Indices int64 [m] of the cells with these numbers, in the order given.

        Raises:
          InputError: there is no such cell.
        """
        place = {number: row for row, number in enumerate(self.numbers.tolist())}
        if missing := [number for number in numbers if number not in place]:
            low, high = self.numbers.min(), self.numbers.max()
            raise InputError(
                f"--cell={missing[0]}: {self.table} has no such cell of {self.path}; it has "
                f"{len(place)}, from {low} to {high}."
            )
        return np.asarray([place[number] for number in numbers], np.int64)


def read_cells(path: str | Path, class_names: Sequence[str], field: str = "") -> list[FieldCells]:
    """The cells of a table, by field.

    Args:
      path: the table.
      class_names: C names of the run's classes.
      field: path or file name of the wanted field; "" takes all.

    Raises:
      InputError: the table cannot be used, is from a run with other classes, or lacks the field.
    """
    columns = [f"{PREFIX}{name}" for name in class_names]
    table = tables.Table(path, (*_COLUMNS, *columns))
    table.require(*_COLUMNS)
    if missing := [name for name in columns if name not in table.columns]:
        raise table.without(
            missing, "give the table that predict --field=cells wrote with this run."
        )
    found: dict[str, tuple[list[int], list[list[float]]]] = {}
    for row in table:
        number = row.number("cell", least=1)
        if number != int(number):
            raise InputError(f"{row.where}: cell={row['cell'][:40]!r} must be a whole number.")
        numbers, values = found.setdefault(row["path"], ([], []))
        numbers.append(int(number))
        values.append([row.number(name, least=0) for name in ("x", "y", *columns)])
    wanted = [name for name in found if not field or _is(name, field)]
    if not found:
        raise InputError(f"{path}: holds no cells; predict the images again.")
    if not wanted:
        some = ", ".join([*found][:_SHOWN]) + (" and others" if len(found) > _SHOWN else "")
        raise InputError(f"--slide={field}: {path} has no cells of it, only of {some}.")
    if field and len(wanted) > 1:
        raise InputError(
            f"--slide={field}: may be {wanted[0]} or {wanted[1]}; give the whole path."
        )
    return [_field(name, *found[name], Path(path)) for name in wanted]


def _is(path: str, wanted: str) -> bool:
    return nfc(wanted) in (path, PurePath(path).name)


def _field(path: str, numbers: list[int], values: list[list[float]], table: Path) -> FieldCells:
    if len(set(numbers)) < len(numbers):
        twice = next(number for number in numbers if numbers.count(number) > 1)
        raise InputError(
            f"{table}: cell {twice} of {path} occurs twice; give the table of one run."
        )
    rows = np.asarray(values, np.float64)
    return FieldCells(path, np.asarray(numbers, np.int64), rows[:, :2], rows[:, 2:], table)
