"""Explain fields and slides from a table of cells that predict wrote: sheets, maps, one report."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging
from scipy.special import softmax

from cervix_jax.errors import InputError, check_count, check_number
from cervix_jax.explain.field_map import SMOOTHING, FieldMap
from cervix_jax.explain.registry import METHODS
from cervix_jax.explanations import field_pictures
from cervix_jax.explanations.cells import (
    DEFAULT_METHOD,
    FIELD_CELLS,
    CellMaps,
    check_method,
    explain_cells,
    side_of_square,
)
from cervix_jax.explanations.explainer import Explainer, MapSettings
from cervix_jax.explanations.workflow import output_folder
from cervix_jax.files.atomic import replacing, write_bytes, write_json
from cervix_jax.predict.cell_summary import suspicious
from cervix_jax.predict.cells_table import FieldCells, read_cells
from cervix_jax.predict.picture_names import picture_name
from cervix_jax.predict.severity import Severity, severity_of
from cervix_jax.runs.run import Run, as_classifier
from cervix_jax.slides import Slide, open_slide

_LEAST = 0.5  # minimum probability for a class to count as a field's worst finding
# Probabilities of the same crops differ by rounding, and slightly more by a temperature.
_SAME = 0.05
DEFAULT_SETTINGS = MapSettings()


@dataclasses.dataclass(frozen=True, kw_only=True)
class FieldOptions:
    """Options for explaining fields.

    Attributes:
      methods: names of `explain.registry.EXPLANATIONS` that need no training images.
      numbers: numbers of the cells on the sheet; () takes the 16 most suspicious cells of each
        field.
      class_name: class to explain, for the cells on the sheet and for the field; "" explains the
        predicted class of each cell, and `class_of_field` for the field.
      crop: side of the square around each cell, in pixels of the field; 0 takes the run's field of
        view.
      mpp: scale of the field in micrometres a pixel; None takes the value in the file, or for
        plain images the value of the run's data set.
      field_cells: maximum number of cells in a field's map, the most suspicious first; 0 means all.
      settings: settings of the maps.
    """

    methods: Sequence[str] = (DEFAULT_METHOD,)
    numbers: Sequence[int] = ()
    class_name: str = ""
    crop: float = 0
    mpp: float | None = None
    field_cells: int = FIELD_CELLS
    settings: MapSettings = DEFAULT_SETTINGS

    def __post_init__(self):
        for method in self.methods:
            check_method(method)
        check_number("--crop", self.crop, 0)
        check_count("--field_cells", self.field_cells, 0)

    def target(self, run: Run) -> int | None:
        """The index of `class_name`; None if it is empty.

        Raises:
          InputError: the run has no such class.
        """
        if not self.class_name:
            return None
        if self.class_name not in run.class_names:
            raise InputError(
                f"--class={self.class_name} is not a class of the run; choose from "
                f"{', '.join(run.class_names)}."
            )
        return run.class_names.index(self.class_name)


DEFAULT_OPTIONS = FieldOptions()


def explain_fields(
    run: Run | str | Path,
    cells: str | Path,
    *,
    options: FieldOptions = DEFAULT_OPTIONS,
    slide: str = "",
    max_fields: int = 0,
    out: str | Path | None = None,
) -> dict[str, Any]:
    """Explain selected cells of fields and slides, and each field as a whole.

        python -m cervix_jax.predict field.png --workdir=RUN --field=cells --out=cells.csv
        explain_fields("RUN", "cells.csv", options=FieldOptions(numbers=[12, 57]))

    For each field and method the function writes a sheet of the selected cells, their raw maps
    (`.npz`: `maps`, `boxes` in level-0 pixels, `cells`, `targets`), the field in grey with its map
    as an overlay, and the map alone as a transparent layer. `explain.field_map` defines the map of
    a field.

    Args:
      run: a run that classifies cells, or its folder.
      cells: the table of `predict --field=cells`.
      options: options of the explanation.
      slide: path or file name of one field of the table; "" takes all fields.
      max_fields: maximum number of fields, the first of the table; 0 means all.
      out: folder to write to; default `explain/cells` in the run's folder.

    Returns:
      The contents of `field_explanations.json`, and `folder`.

    Raises:
      InputError: the table, an image, a cell's number or an option cannot be used.
    """
    run = as_classifier(run)
    check_count("--max_fields", max_fields, 0)
    options.target(run)
    fields = read_cells(cells, run.class_names, slide)
    if options.numbers and len(fields) > 1:
        raise InputError(
            f"--cell: {cells} has cells of {len(fields)} fields, each numbered from 1; choose one "
            f"field with --slide, e.g. --slide={fields[0].path}."
        )
    for field in fields:  # raises before any map is computed
        field.rows(options.numbers)
    folder = Path(out) if out else output_folder(run) / "cells"
    explainer = Explainer(run, options.settings, None)
    report = {
        "model": run.config.model.name,
        "step": run.step,
        "weights": run.weights_digest()[:8],
        "class_names": list(run.class_names),
        "methods": {
            name: {"description": METHODS[name].description} | explainer.options(name)
            for name in options.methods
        },
        "fields": [
            _explain_field(run, field, options, folder / picture_name(field.path, ""))
            for field in fields[: max_fields or None]
        ],
    }
    write_json(folder / "field_explanations.json", report)
    return report | {"folder": str(folder)}


def class_of_field(probabilities: np.ndarray, severity: Severity) -> int:
    """The class that a field's map explains if no class is given.

    This is the most severe class with a probability of at least 0.5 in some cell. If there is none,
    or if no order of severity is known, it is the abnormal class with the highest probability in
    any cell. If no abnormal classes are known, it is the class with the highest mean probability.

    Args:
      probabilities: float [n, C], of the field's cells; n is 1 or more.
      severity: severity of the classes.
    """
    if worst := severity.worst(probabilities, _LEAST):
        return severity.class_names.index(worst[0])
    if severity.abnormal is not None and severity.abnormal.any():
        greatest = np.where(severity.abnormal, probabilities.max(0), -1)
        return int(greatest.argmax())
    return int(probabilities.mean(0).argmax())


def _explain_field(
    run: Run, cells: FieldCells, options: FieldOptions, folder: Path
) -> dict[str, Any]:
    severity = severity_of(run.class_names)
    named = options.target(run)
    target = class_of_field(cells.probabilities, severity) if named is None else named
    order = _suspicious_first(cells, severity, target)
    chosen = cells.rows(options.numbers) if options.numbers else order[:16]
    summed = order[: options.field_cells or None]
    with open_slide(cells.path, options.mpp) as opened:
        slide = opened
        if slide.mpp is None and slide.kind == "image":  # as predict takes it
            slide = dataclasses.replace(slide, mpp=run.dataset.get("microns_per_pixel"))
        positions = cells.positions(slide)
        side = side_of_square(run, slide, options.crop)
        facts: dict[str, Any] = {
            "path": cells.path, "size": list(slide.size), "mpp": slide.mpp, "side": side,
            "cells": len(positions), "cells_in_map": len(summed),
            "class": run.class_names[target], "methods": {},
        }  # fmt: skip
        thumbnail, scale = slide.thumbnail()
        for method in options.methods:
            shown = _joined(_maps(run, slide, positions[chosen], method, named, options))
            _check_probabilities(cells, chosen, shown)
            numbers = cells.numbers[chosen]
            _write_maps(folder / f"{method}.npz", shown, numbers)
            field_pictures.draw_cells(
                run.class_names, shown, numbers, folder / f"{method}_cells.png"
            )
            whole, score = FieldMap(slide.size), 0.0
            for part in _maps(run, slide, positions[summed], method, target, options):
                for values, box in zip(part.reduced, part.boxes.tolist(), strict=True):
                    whole.add(values, tuple(box))
                score += float(part.logits[:, target].sum(dtype=np.float64))
            field_pictures.draw_field(
                thumbnail,
                whole,
                {int(n): box / scale for n, box in zip(numbers, shown.boxes, strict=True)},
                what(method, options.settings, run.class_names[target], len(summed)),
                folder / f"{method}_field.png",
                sigma=side / SMOOTHING,
                signed=METHODS[method].reduction != "sum_absolute",
            )
            write_bytes(folder / f"{method}_layer.png", whole.layer_png(side / SMOOTHING))
            facts["methods"][method] = {
                "explains": what(method, options.settings, run.class_names[target], len(summed)),
                "sum_of_logits": score,
                "sum_of_map": float(whole.values.sum()),
                "chosen": _described(run, shown, numbers),
            }
    return facts


def what(method: str, settings: MapSettings, class_name: str, count: int) -> str:
    """A sentence part that names the method, the score and the class of a field's map."""
    score = (METHODS[method].output or settings.output).replace("_", " ")
    cells = "its one cell" if count == 1 else f"{count} cells"
    return f"{METHODS[method].label}; sum over {cells} of the {score} of {class_name}"


def _suspicious_first(cells: FieldCells, severity: Severity, target: int) -> np.ndarray:
    """Rows of all cells, the most suspicious first."""
    found = suspicious(cells.probabilities, severity, _LEAST, len(cells.numbers))
    return found if len(found) else np.argsort(-cells.probabilities[:, target], kind="stable")


def _maps(
    run: Run,
    slide: Slide,
    positions: np.ndarray,
    method: str,
    target: int | None,
    options: FieldOptions,
):
    return explain_cells(
        run, slide, positions, method=method, target=target, crop=options.crop,
        settings=options.settings,
    )  # fmt: skip


def _joined(parts) -> CellMaps:
    """All batches joined; used for the few cells on a sheet."""
    found = list(parts)
    arrays = {
        field.name: np.concatenate([getattr(part, field.name) for part in found])
        for field in dataclasses.fields(CellMaps)
        if field.name != "method"
    }
    return CellMaps(**arrays, method=found[0].method)


def _check_probabilities(cells: FieldCells, rows: np.ndarray, shown: CellMaps) -> None:
    away = np.abs(softmax(shown.logits.astype(np.float64), axis=1) - cells.probabilities[rows])
    if away.max() > _SAME:
        logging.warning(
            "%s: the probabilities of cell %d differ by up to %.2f from those in the table; give "
            "the same --crop, --mpp and --step as for predict (predict --calibrated also changes "
            "them).",
            cells.path, cells.numbers[rows][away.max(1).argmax()], away.max(),
        )  # fmt: skip


def _write_maps(path: Path, shown: CellMaps, numbers: np.ndarray) -> None:
    with replacing(path) as temporary:
        np.savez_compressed(
            temporary, maps=shown.maps, boxes=shown.boxes, cells=numbers, targets=shown.targets
        )


def _described(run: Run, shown: CellMaps, numbers: np.ndarray) -> list[dict[str, Any]]:
    probabilities = softmax(shown.logits.astype(np.float64), axis=1)
    return [
        {
            "cell": int(number),
            "box": [round(edge, 2) for edge in box],
            "predicted": run.class_names[int(p.argmax())],
            "explained": run.class_names[target],
            "probability": float(p[target]),
            "logit": float(logits[target]),
            "sum_of_map": float(total),
        }
        for number, box, p, target, logits, total in zip(
            numbers, shown.boxes.tolist(), probabilities, shown.targets.tolist(), shown.logits,
            shown.reduced.sum((1, 2)), strict=True,
        )
    ]  # fmt: skip
