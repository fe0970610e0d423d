"""CRIC's nuclei, read from its classifications.csv or classifications.json.

The CRIC builder makes a data set of them; `predict` also accepts their positions.
"""

import dataclasses
import json
import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from cervix_jax.data.classes import CRIC
from cervix_jax.errors import InputError
from cervix_jax.files import encoding, tables

# Width in pixels of the published fields, and the side in pixels of the square around a nucleus.
PUBLISHED_WIDTH = 1376
DEFAULT_SIDE = 100
MICRONS_PER_PIXEL = 0.228
"""Of the published fields; copies of another width show the same part of the slide.

Taken for what Rezende et al. 2021 (doi:10.1038/s41597-021-00933-8) say, but not compared with the
text of the paper. The other candidate is 0.255: a sensor of 6.45 micrometres behind a 40x objective
and a 0.63x adapter gives 0.256. tfds_builders/cric/README.md has what nuclei say."""
_SPELLINGS = {
    "negativeforintraepitheliallesion": "NILM",
    "negativeforintraepitheliallesionormalignancy": "NILM",
    "negative": "NILM",
    **{re.sub("[^a-z]", "", name.lower()): name for name in CRIC.names},
}
_COLUMNS = ("image_filename", "cell_id", "bethesda_system", "nucleus_x", "nucleus_y")


@dataclasses.dataclass(frozen=True)
class Nucleus:
    """One annotated nucleus.

    Attributes:
      image: name of the image file, as written.
      cell_id: number of the cell.
      label: index into `CRIC.names`.
      x: position from the left, in pixels of the frame that the file uses.
      y: position from the top.
      where: file and line or entry, for error messages.
    """

    image: str
    cell_id: str
    label: int
    x: float
    y: float
    where: str


def read_nuclei(path: Path) -> list[Nucleus]:
    """Read all nuclei of a classifications file, in file order.

    Raises:
      InputError: the file or one of its rows cannot be used; the message names the row.
    """
    is_json = path.suffix.lower() == ".json"
    rows = _json_rows(path) if is_json else _table_rows(path)
    nuclei = [_nucleus(row, where) for where, row in rows]
    seen: dict[tuple[str, str], str] = {}
    for nucleus in nuclei:
        key = (nucleus.image, nucleus.cell_id)
        if key in seen:
            raise InputError(
                f"{nucleus.where}: cell {nucleus.cell_id} of {nucleus.image} is listed twice, "
                f"also in {seen[key].rpartition(', ')[2]}; remove one."
            )
        seen[key] = nucleus.where
    if not nuclei:
        raise InputError(f"{path}: contains no cells; download it again.")
    return nuclei


def _table_rows(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    table = tables.Table(path, _COLUMNS)
    table.require(*_COLUMNS)
    for row in table:
        texts = {name: row[name] for name in _COLUMNS}
        yield row.where, texts | {name: row.number(name, least=0) for name in _COLUMNS[3:]}


def _json_rows(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    try:
        fields = json.loads(encoding.read_text(path))
    except InputError:
        raise
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: is not valid JSON ({error}); download it again.") from error
    if not isinstance(fields, list):
        raise InputError(f"{path}: must be a list of images; download it again.")
    for number, field in enumerate(fields, 1):
        where = f"{path}, image {number}"
        cells = field.get("classifications") if isinstance(field, dict) else None
        name = field.get("image_name") if isinstance(field, dict) else None
        if not isinstance(cells, list) or not isinstance(name, str):
            raise InputError(f"{where}: must have image_name and a list of classifications.")
        for position, cell in enumerate(cells, 1):
            if not isinstance(cell, dict):
                raise InputError(f"{where} ({name}), cell {position}: must be an object.")
            missing = [key for key in _COLUMNS[1:] if key not in cell]
            if missing:
                raise InputError(f"{where} ({name}), cell {position}: has no {', '.join(missing)}.")
            yield f"{where} ({name}), cell {position}", {**cell, "image_filename": name}


def _nucleus(row: Mapping[str, Any], where: str) -> Nucleus:
    given = str(row["bethesda_system"])
    name = _SPELLINGS.get(re.sub("[^a-z]", "", given.lower()))
    if name is None:
        raise InputError(
            f"{where}: bethesda_system={given[:60]!r} is unknown; it must be one of "
            f"{', '.join(CRIC.names)} or 'Negative for intraepithelial lesion'."
        )
    cell_id = str(row["cell_id"]).strip()
    if not re.fullmatch(r"[\w.-]{1,64}", cell_id, re.ASCII):
        raise InputError(f"{where}: cell_id={cell_id[:60]!r} must be a number or a simple name.")
    image = str(row["image_filename"]).strip()
    if not image or re.search(r"[/\\\0]", image):
        raise InputError(f"{where}: image_filename={image[:60]!r} must be the name of a file.")
    x, y = (_coordinate(row[key], key, where) for key in ("nucleus_x", "nucleus_y"))
    return Nucleus(image, cell_id, CRIC.names.index(name), x, y, where)


def _coordinate(value: Any, name: str, where: str) -> float:
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number) or number < 0:
        raise InputError(f"{where}: {name}={str(value)[:40]!r} must be a number of at least 0.")
    return number
