"""Location of the maps of cells and of whole fields: their share on nuclei marked by experts."""

import csv
import dataclasses
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cervix_jax.command.columns import aligned
from cervix_jax.data.catalog import Dataset
from cervix_jax.detect.detector import Detector
from cervix_jax.errors import InputError, check_count, check_number
from cervix_jax.explain import measures
from cervix_jax.explain.field_map import FieldMap, labels_in
from cervix_jax.explain.registry import METHODS
from cervix_jax.explanations import summary
from cervix_jax.explanations.cells import CellMaps, explain_cells, side_of_square
from cervix_jax.explanations.expert_nuclei import (
    MarkedField,
    detected,
    kind_of_truth,
    nucleus_under,
    read_field,
)
from cervix_jax.explanations.explainer import Explainer
from cervix_jax.explanations.field_workflow import (
    DEFAULT_OPTIONS,
    FieldOptions,
    class_of_field,
)
from cervix_jax.explanations.workflow import output_folder
from cervix_jax.files.atomic import write_json, write_text
from cervix_jax.predict.severity import severity_of
from cervix_jax.progress import Bar
from cervix_jax.runs.inference import probabilities_of
from cervix_jax.runs.run import Run, as_classifier

# One value for each cell: for its own nucleus, and for all nuclei inside its crop.
OF_CELLS = ("mass_nucleus", "rank_nucleus", "pointing_nucleus", "mass_nuclei", "rank_nuclei")
OF_FIELDS = ("field_mass_nuclei", "field_rank_nuclei")
CHANCE = {name: "area_" + name.rpartition("_")[2] for name in OF_CELLS} | {
    name: name.replace("field_", "field_chance_") for name in OF_FIELDS
}
DESCRIPTIONS: Mapping[str, str] = {
    "mass_nucleus": "share of the positive relevance in the cell's own nucleus; chance is the "
    "nucleus's share of the area",
    "rank_nucleus": "share of the most relevant pixels, as many as the nucleus has, in the cell's "
    "own nucleus; chance is the nucleus's share of the area",
    "pointing_nucleus": "share of cells whose most relevant pixel lies in their own nucleus; "
    "chance is the nucleus's share of the area",
    "mass_nuclei": "share of the positive relevance in all nuclei inside the crop; chance is their "
    "share of the area",
    "rank_nuclei": "share of the most relevant pixels, as many as the nuclei have, in all nuclei "
    "inside the crop; chance is their share of the area",
    "field_mass_nuclei": "share of the positive relevance of the field's map in all nuclei; chance "
    "is the share of uniform maps in the same crops",
    "field_rank_nuclei": "share of the most relevant pixels of the field's map, as many as the "
    "nuclei have, in all nuclei; chance is the nuclei's share of the area of the crops",
}
Values = dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class FieldShares:
    """Measures of one field with one method.

    Attributes:
      name: file name of the field.
      group: group of the field in the data set, such as the slide.
      class_name: class that the field's map explains.
      of_cells: measure and area to float64 [n], NaN for a cell without a marked nucleus.
      of_field: measure and chance to a number; NaN if undefined.
    """

    name: str
    group: str
    class_name: str
    of_cells: Values
    of_field: dict[str, float]


def explain_dataset_fields(
    run: Run | str | Path,
    dataset: Dataset,
    *,
    detector: Detector | None = None,
    options: FieldOptions = DEFAULT_OPTIONS,
    nucleus_radius: float = 12.0,
    max_fields: int = 0,
    out: str | Path | None = None,
) -> dict[str, Any]:
    """Measure the share of relevance on nuclei that experts marked, for cells and whole fields.

    The map of a cell explains the predicted class, and the map of a field explains
    `field_workflow.class_of_field`, unless `options.class_name` gives one class for all. A cell's
    own nucleus is the nucleus at its position; a detection outside every nucleus has none and is
    counted as undefined. The measures are those of single images (`explain.measures`). Intervals of
    cells resample whole fields, and intervals of fields resample the data set's groups.

    Args:
      run: a run that classifies cells, or its folder.
      dataset: fields with marked nuclei, see `expert_nuclei.kind_of_truth`.
      detector: detector of the cells; None takes the centres of the marked nuclei.
      options: options of the explanation; `numbers` must be empty.
      nucleus_radius: radius of the disc around a marked position, in pixels of the field.
      max_fields: maximum number of fields, evenly spread over the data set; 0 means all.
      out: folder to write to; default a subfolder of `explain` in the run's folder.

    Returns:
      The contents of `field_shares.json`: `methods` to `measures` to the result of
      `measures.summarise`, and `fields`; and `folder`.

    Raises:
      InputError: the data set has no nuclei, the run's field of view is unknown, or an option
        cannot be used.
    """
    run = as_classifier(run)
    check_count("--max_fields", max_fields, 0)
    check_number("--nucleus_radius", nucleus_radius, 0)
    truth = kind_of_truth(dataset, nucleus_radius)
    if options.numbers:
        raise InputError(
            "--cell requires --cells; with --fields whole fields are explained, so remove --cell."
        )
    options.target(run)
    found: dict[str, list[FieldShares]] = {name: [] for name in options.methods}
    unmarked = empty = 0
    indices = _spread(len(dataset), max_fields)
    for index in Bar(indices, desc="fields", unit="field", leave=False):
        field = read_field(dataset, index, mpp=options.mpp, nucleus_radius=nucleus_radius)
        if field is None:
            unmarked += 1
            continue
        side_of_square(run, field.slide, options.crop)  # raises before any detection
        places = field.centres if detector is None else detected(field.slide, detector)
        if not len(places):
            empty += 1
            continue
        for name in options.methods:
            group = str(dataset.groups[index])
            found[name].append(measure_field(run, field, places, name, options, group))
    if not any(found.values()):
        raise InputError(
            f"--fields={dataset.name}: none of the {len(indices)} fields has both marked nuclei "
            "and cells. Copies of a data set may lack the contour files: use the published files, "
            "or give a larger --max_fields."
        )
    folder = Path(out) if out else output_folder(run, dataset=dataset)
    report = {
        "model": run.config.model.name,
        "step": run.step,
        "weights": run.weights_digest()[:8],
        "dataset": dataset.name,
        "truth": truth,
        "cells_by": "known" if detector is None else detector.name,
        "unmarked_fields": unmarked,
        "fields_without_cells": empty,
        "measures": DESCRIPTIONS,
        "methods": {
            name: {
                "description": METHODS[name].description,
                "settings": Explainer(run, options.settings, None).options(name),
                "measures": summarise(fields),
            }
            for name, fields in found.items()
        },
        "fields": [_described(name, each) for name, fields in found.items() for each in fields],
    }
    write_json(folder / "field_shares.json", report)
    _write_csv(folder / "field_shares.csv", report)
    return report | {"folder": str(folder)}


def measure_field(
    run: Run,
    field: MarkedField,
    places: np.ndarray,
    method: str,
    options: FieldOptions = DEFAULT_OPTIONS,
    group: str = "",
) -> FieldShares:
    """Measure one field with one method; one batch of its cells is in memory at a time.

    Args:
      run: a run that classifies cells.
      field: the field with its nuclei.
      places: float64 [n, 2], x and y of the cells in pixels of the field; n is 1 or more.
      method: one of `explain.registry.EXPLANATIONS`.
      options: see `explain_dataset_fields`.
      group: see `FieldShares`.
    """
    named = options.target(run)
    under = nucleus_under(field.labels, places)
    found: list[Values] = []
    logits: list[np.ndarray] = []

    def maps(target: int | None):
        return explain_cells(
            run, field.slide, places, method=method, target=target, crop=options.crop,
            settings=options.settings,
        )  # fmt: skip

    for part in maps(named):
        own = under[sum(map(len, logits)) :][: len(part.maps)]
        found.append(_of_cells(part, field.labels, own))
        logits.append(part.logits)
    probabilities = probabilities_of(np.concatenate(logits)).astype(np.float64)
    target = class_of_field(probabilities, severity_of(run.class_names))
    target = target if named is None else named
    whole, flat = FieldMap(field.slide.size), FieldMap(field.slide.size)
    for part in maps(target):
        for values, box in zip(part.reduced, part.boxes.tolist(), strict=True):
            whole.add(values, tuple(box))
            flat.add(np.full(values.shape, 1 / values.size), tuple(box))
    return FieldShares(
        field.slide.path.as_posix(),
        group,
        run.class_names[target],
        {key: np.concatenate([each[key] for each in found]) for key in found[0]},
        of_field(whole, flat, field.labels),
    )


def _of_cells(cells: CellMaps, labels: np.ndarray, own: np.ndarray) -> Values:
    """Measures and areas float64 [n] of cells; `own` int [n] is the nucleus of each cell."""
    size = cells.maps.shape[2], cells.maps.shape[1]
    shown = np.stack([labels_in(labels, tuple(box), size) for box in cells.boxes.tolist()])
    # 0 means no nucleus: the mask of such a cell is empty, so its measures are undefined.
    nucleus = (shown == own[:, None, None]) & (shown > 0)
    masks = np.stack([nucleus, shown > 0], axis=1)
    reduced = cells.reduced
    found = {
        "mass": measures.relevance_mass(reduced, masks),
        "rank": measures.relevance_rank(reduced, masks),
        "area": measures.area_share(masks),
    }
    values = {
        f"{kind}_{region}": each[:, column]
        for kind, each in found.items()
        for column, region in enumerate(("nucleus", "nuclei"))
    }
    return values | {"pointing_nucleus": measures.pointing_game(reduced, nucleus)}


def of_field(whole: FieldMap, flat: FieldMap, labels: np.ndarray) -> dict[str, float]:
    """Share of the map of a field on its nuclei.

    Args:
      whole: the map of the field.
      flat: the sum of uniform maps in the same crops, each with sum 1.
      labels: int [H, W], the nuclei in pixels of the field.
    """
    height, width = whole.values.shape
    box = (0.0, 0.0, width * whole.scale, height * whole.scale)
    nuclei = labels_in(labels, box, (width, height))[None] > 0
    covered = flat.values > 0
    inside = float(nuclei[0][covered].mean()) if covered.any() else np.nan
    return {
        "field_mass_nuclei": float(measures.relevance_mass(whole.values[None], nuclei)[0]),
        "field_rank_nuclei": float(measures.relevance_rank(whole.values[None], nuclei)[0]),
        "field_chance_mass_nuclei": float(measures.relevance_mass(flat.values[None], nuclei)[0]),
        "field_chance_rank_nuclei": inside,
        "field_area_nuclei": float(measures.area_share(nuclei)[0]),
    }


def summarise(fields: Sequence[FieldShares]) -> dict[str, dict]:
    """Every measure over all fields, with its interval and its chance; see `measures.summarise`."""
    counts = [len(each.of_cells["area_nucleus"]) for each in fields]
    by_field = np.repeat([each.name for each in fields], counts)
    groups = [each.group or each.name for each in fields]
    found = {}
    for name in (*OF_CELLS, *OF_FIELDS):
        cells = name in OF_CELLS
        values, chance = (
            np.concatenate([each.of_cells[key] for each in fields])
            if cells
            else np.asarray([each.of_field[key] for each in fields])
            for key in (name, CHANCE[name])
        )
        found[name] = measures.summarise(values, by_field if cells else groups, chance=chance)
    return found


def text(report: Mapping[str, Any]) -> str:
    """The tables for the terminal."""
    fields = len({each["field"] for each in report["fields"]})
    lines = [
        f"{report['dataset']}: {fields} fields, cells from detector {report['cells_by']}; each "
        f"nucleus is {report['truth']}. Values are means with a 95 % bootstrap interval, over "
        "fields for cells and over groups for fields."
    ]
    for title, names in (("Cells", OF_CELLS), ("Fields", OF_FIELDS)):
        rows = [["", *(name.replace("_", " ") for name in names)]]
        for method, each in report["methods"].items():
            cells = [summary.cell(each["measures"][name]) for name in names]
            rows.append([METHODS[method].label, *cells])
        lines += ["", title, aligned(rows)]
    return "\n".join(lines)


def _spread(total: int, most: int) -> list[int]:
    """Up to `most` positions, evenly spread over all; 0 means all."""
    count = min(most or total, total)
    return np.unique(np.linspace(0, total - 1, count).round().astype(int)).tolist()


def _described(method: str, shares: FieldShares) -> dict[str, Any]:
    def plain(value: float) -> float | None:
        return None if np.isnan(value) else float(value)

    cells = shares.of_cells
    defined = ~np.isnan(cells["mass_nucleus"])
    means = {
        name: plain(cells[name][defined].mean()) if defined.any() else None
        for name in (*OF_CELLS, "area_nucleus", "area_nuclei")
    }
    return {
        "field": shares.name, "group": shares.group, "method": method,
        "class": shares.class_name, "cells": len(defined),
        "cells_on_nucleus": int((~np.isnan(cells["area_nucleus"])).sum()),
    } | means | {name: plain(value) for name, value in shares.of_field.items()}  # fmt: skip


def _write_csv(path: Path, report: Mapping[str, Any]) -> None:
    buffer = io.StringIO()
    rows = csv.DictWriter(buffer, list(report["fields"][0]), lineterminator="\n")
    rows.writeheader()
    rows.writerows(report["fields"])
    write_text(path, buffer.getvalue())
