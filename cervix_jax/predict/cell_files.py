"""What is made of all cells at the end: the row of every field or slide, its GeoJSON, its page."""

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
FILES = ("geojson", "page")
Facts = Mapping[str, Any]


def write_fields(path: Path, entries: Iterable[Entry], facts: Facts) -> int:
    """Write the table of fields and slides, and of each its GeoJSON and its page.

    Args:
      path: the table, a CSV file.
      entries: of `cell_rows.CellRows`, those of a field together.
      facts: of the prediction: `class_names`, `--severity`, `--abnormal`, `--min_probability`,
        `--aggregate`, `--maps`, and what the pages give as their origin.

    Returns:
      How many fields and slides have a row.

    Raises:
      InputError: a file cannot be written.
    """
    severity = severity_of(facts["class_names"], facts["--severity"], facts["--abnormal"])
    folder = Path(facts["--maps"])
    make_folder("maps", folder)
    rows: list[dict[str, Any]] = []
    for name, found in itertools.groupby(entries, lambda entry: entry["path"]):
        whole = [entry for entry in found if REASON not in entry]
        if whole:
            rows.append(_field(name, whole, severity, folder, facts))
    header = [*columns(severity), *FILES]
    with atomic.replacing(path) as temporary, temporary.open("wb") as file:
        file.write(csv_text([header]))
        file.write(csv_text([[text_cell(row.get(name)) for name in header] for row in rows]))
    return len(rows)


def _field(
    name: str, entries: Sequence[Entry], severity: Severity, folder: Path, facts: Facts
) -> dict[str, Any]:
    cells = [cell for entry in entries for cell in entry[ROWS]]
    first = entries[0]
    size, mpp, orientation = tuple(first["size"]), first["mpp"], first["orientation"]
    stored = np.asarray([[cell["x"], cell["y"]] for cell in cells], np.float64).reshape(-1, 2)
    classes = severity.class_names
    probabilities = np.asarray(
        [[cell[f"{PREFIX}{each}"] for each in classes] for cell in cells], np.float64
    ).reshape(-1, len(classes))
    # Six digits do not sum to 1 by the last one.
    probabilities /= np.maximum(probabilities.sum(1, keepdims=True), 1e-9)
    least, rule = facts["--min_probability"], facts["--aggregate"]
    row = summarise(
        name, size=size, mpp=mpp, probabilities=probabilities, severity=severity,
        min_probability=least, rule=rule,
    )  # fmt: skip
    row |= {"geojson": picture_name(first["file"], ".geojson")}
    row |= {"page": picture_name(first["file"], ".html")}
    further = {
        each: np.asarray([cell[each] for cell in cells], np.float64)
        for each in ("nucleus", "confidence", "energy")
    }
    geojson.write_geojson(
        folder / row["geojson"],
        geojson.circles(stored, geojson.nucleus_radius(mpp)),
        probabilities,
        classes,
        "cell",
        source=name,
        measurements=further,
    )
    chosen = suspicious(probabilities, severity, least)
    upright = geojson.as_upright(stored, size, orientation)
    pictures = _pictures(first, upright[chosen], facts)
    if pictures is None:
        row["page"] = ""
        return row
    thumbnail, scale, gallery = pictures
    sets = [cell["conformal_set"] for cell in cells if "conformal_set" in cell]
    write_page(
        folder / row["page"],
        title=Path(name).name,
        thumbnail=thumbnail,
        scale=scale,
        positions=upright,
        probabilities=probabilities,
        severity=severity,
        summary=row,
        provenance=_provenance(facts),
        columns=further | ({"conformal_set": sets} if len(sets) == len(cells) and sets else {}),
        chosen=chosen,
        gallery=gallery,
        side=first["view"],
    )
    return row


def _pictures(
    entry: Entry, positions: np.ndarray, facts: Facts
) -> tuple[np.ndarray, float, list[np.ndarray]] | None:
    """The overview with its scale, and the squares about positions; None where the file is gone."""
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
            f"no page for {entry['path']}, since it is not readable here: {error}", file=sys.stderr
        )
        return None
    return thumbnail, scale, gallery


def _provenance(facts: Facts) -> dict[str, Any]:
    return {
        "run": facts["run"],
        "step": facts["step"],
        "digest of the weights": facts["weights"],
        "detector": facts["--detector"],
        "score that a nucleus needs": facts["--min_nucleus"],
        "resolution of the network, micrometres a pixel": facts["resolution"],
    }
