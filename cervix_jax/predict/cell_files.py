"""Final output of cell predictions: row, GeoJSON file and HTML page of each field or slide."""

import dataclasses
import itertools
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cervix_jax.errors import InputError
from cervix_jax.evaluate.predictions_file import PREFIX
from cervix_jax.files import atomic
from cervix_jax.predict import geojson
from cervix_jax.predict.cell_summary import columns, summarise, suspicious
from cervix_jax.predict.output import make_folder
from cervix_jax.predict.parts import REASON, ROWS, Entry
from cervix_jax.predict.picture_names import picture_name
from cervix_jax.predict.severity import Severity, severity_of
from cervix_jax.predict.slide_page import write_page
from cervix_jax.predict.table import csv_text, text_cell
from cervix_jax.slides import open_slide

# Side of the pictures of the most suspicious cells, in pixels.
_PICTURE = 128
FILES = ("left_out", "geojson", "page")
_MEASURED = ("nucleus", "confidence", "energy")
Facts = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class _Cells:
    """The cells of a field or slide as arrays, since rows would take a kilobyte per cell.

    Attributes:
      of: entries of the field or slide itself.
      positions: float64 [n, 2], in the frame of the file.
      probabilities: float64 [n, C], rows sum to 1.
      measured: float64 [n] by name.
      sets: conformal set of each cell; () if there are none.
      left_out: number of units that could not be read.
    """

    of: Entry
    positions: np.ndarray
    probabilities: np.ndarray
    measured: Mapping[str, np.ndarray]
    sets: Sequence[tuple[str, ...]]
    left_out: int


def write_fields(path: Path, entries: Iterable[Entry], facts: Facts) -> int:
    """Write the table of fields and slides, and the GeoJSON file and HTML page of each.

    Args:
      path: the table, a CSV file.
      entries: entries of `cell_rows.CellRows`, with those of a field next to each other.
      facts: facts of the prediction: `class_names`, `--severity`, `--abnormal`,
        `--min_probability`, `--aggregate`, `--maps`, and the provenance shown on the pages.

    Returns:
      Number of fields and slides with a row.

    Raises:
      InputError: a file cannot be written.
    """
    severity = severity_of(facts["class_names"], facts["--severity"], facts["--abnormal"])
    folder = Path(facts["--maps"])
    make_folder("maps", folder)
    rows: list[dict[str, Any]] = []
    for _, found in itertools.groupby(entries, lambda entry: entry["path"]):
        cells = _gathered(found, severity.class_names)
        if cells is not None:
            rows.append(_field(cells, severity, folder, facts))
    header = [*columns(severity), *FILES]
    with atomic.replacing(path) as temporary, temporary.open("wb") as file:
        file.write(csv_text([header]))
        file.write(csv_text([[text_cell(row.get(name)) for name in header] for row in rows]))
    return len(rows)


def _gathered(entries: Iterable[Entry], classes: Sequence[str]) -> _Cells | None:
    """The cells of one field or slide from its entries; None if all entries were left out."""
    columns = ("x", "y", *_MEASURED, *(f"{PREFIX}{name}" for name in classes))
    of, left_out, tables = None, 0, [np.zeros((0, len(columns)))]
    sets: list[tuple[str, ...]] = []
    distinct: dict[tuple[str, ...], tuple[str, ...]] = {}
    for entry in entries:
        if REASON in entry:
            left_out += 1
            continue
        of = of or {name: value for name, value in entry.items() if name != ROWS}
        cells = entry[ROWS]
        if cells:
            tables.append(np.asarray([[cell[name] for name in columns] for cell in cells], float))
        found = (tuple(cell["conformal_set"]) for cell in cells if "conformal_set" in cell)
        sets += [distinct.setdefault(each, each) for each in found]
    if of is None:
        return None
    table = np.concatenate(tables)
    first = 2 + len(_MEASURED)
    probabilities = table[:, first:]
    # Probabilities with six digits do not sum exactly to 1.
    probabilities = probabilities / np.maximum(probabilities.sum(1, keepdims=True), 1e-9)
    measured = {name: table[:, 2 + number] for number, name in enumerate(_MEASURED)}
    return _Cells(of, table[:, :2], probabilities, measured, sets, left_out)


def _field(cells: _Cells, severity: Severity, folder: Path, facts: Facts) -> dict[str, Any]:
    first, name, stored = cells.of, cells.of["path"], cells.positions
    probabilities, classes = cells.probabilities, severity.class_names
    size, mpp, orientation = tuple(first["size"]), first["mpp"], first["orientation"]
    least, rule = facts["--min_probability"], facts["--aggregate"]
    row = summarise(
        name, size=size, mpp=mpp, probabilities=probabilities, severity=severity,
        min_probability=least, rule=rule,
    )  # fmt: skip
    row |= {"left_out": cells.left_out, "geojson": picture_name(first["file"], ".geojson")}
    row |= {"page": picture_name(first["file"], ".html")}
    geojson.write_geojson(
        folder / row["geojson"],
        geojson.circles(stored, geojson.nucleus_radius(mpp)),
        probabilities,
        classes,
        "cell",
        source=name,
        measurements=cells.measured,
    )
    chosen = suspicious(probabilities, severity, least)
    upright = geojson.as_upright(stored, size, orientation)
    pictures = _pictures(first, upright[chosen], facts)
    if pictures is None:
        row["page"] = ""
        return row
    thumbnail, scale, gallery = pictures
    write_page(
        folder / row["page"],
        title=Path(name).name,
        thumbnail=thumbnail,
        scale=scale,
        positions=upright,
        probabilities=probabilities,
        severity=severity,
        summary=row,
        provenance=_provenance(first, facts),
        columns={**cells.measured, **({"conformal_set": cells.sets} if cells.sets else {})},
        chosen=chosen,
        gallery=gallery,
        side=first["view"],
    )
    return row


def _pictures(
    entry: Entry, positions: np.ndarray, facts: Facts
) -> tuple[np.ndarray, float, list[np.ndarray]] | None:
    """The overview, its scale, and crops around positions; None if the file no longer exists."""
    half = entry["view"] / 2
    try:
        with open_slide(entry["file"], entry["mpp"], facts["--max_pixels"]) as slide:
            thumbnail, scale = slide.thumbnail()
            gallery = [
                slide.read((x - half, y - half, x + half, y + half), (_PICTURE, _PICTURE))
                for x, y in positions.tolist()
            ]
    except InputError as error:
        print(
            f"no page for {entry['path']}, as the file cannot be read here: {error}",
            file=sys.stderr,
        )
        return None
    return thumbnail, scale, gallery


def _provenance(of: Entry, facts: Facts) -> dict[str, Any]:
    microns = of["view"] * of["mpp"] / facts["image_size"]
    return {
        "run": facts["run"],
        "step": facts["step"],
        "digest of the weights": facts["weights"],
        "detector": facts["--detector"],
        "minimum score of a nucleus": facts["--min_nucleus"],
        "resolution of the network, micrometres per pixel": f"{microns:.4g}",
    }
