"""Evaluation of a trained detector on the fields of a split: recall, precision and their curve."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import ml_collections
import numpy as np

from cervix_jax import distributed, figures
from cervix_jax.data.cric_nuclei import MICRONS_PER_PIXEL, PUBLISHED_WIDTH
from cervix_jax.data.experiment import ExperimentData
from cervix_jax.detect.blobs import find_blobs
from cervix_jax.detect.peaks import Found, found_in, peak_scores
from cervix_jax.errors import InputError
from cervix_jax.files.atomic import write_json
from cervix_jax.runs.inference import Forward, Variables, predict_split
from cervix_jax.statistics.detection import (
    BUDGETS,
    FieldDetections,
    detection_curve,
    recall_at,
    threshold_for,
    threshold_of_best_f,
)

# Micrometres: 12 pixels of a CRIC field 1280 pixels wide, the accuracy of its marks.
TOLERANCE = 12 * MICRONS_PER_PIXEL * PUBLISHED_WIDTH / 1280
TASK = "nuclei"  # only reports of detectors have this value
# Real fields come first if there are any, as the phantom is no evidence on real cells.
_REAL = ("cric", "sipakmed")


def evaluate_detector(
    folder: Path,
    split: str,
    forward: Forward,
    variables: Variables,
    data: ExperimentData,
    config: ml_collections.ConfigDict,
    step: int,
    *,
    progress: bool = False,
) -> dict[str, Any]:
    """Detect the nuclei of a split and write `<split>.json` and `<split>_detection.png`.

    The threshold is chosen on validation fields, see `statistics.detection.threshold_of_best_f`.

    Args:
      folder: `<workdir>/evaluate`.
      split: "train", "val" or "test".
      forward: from `runs.inference.make_forward`.
      variables: the weights.
      data: tiles of fields, see `tfds_builders.nuclei`.
      config: the run's config.
      step: training step of the weights.
      progress: show progress bars.

    Returns:
      The contents of `<split>.json`: `threshold`; under `sources`, for each source and for `all`,
      the number of `fields`, `at_threshold` and `at_budget` (see `statistics.detection.recall_at`;
      the threshold of a budget is chosen on this split) and `curve`; under `blobs` the same by
      budget for the Laplacian of a Gaussian on the same fields.
    """
    microns = data.dataset.microns_per_pixel
    if microns is None:
        raise InputError(
            f"{data.dataset.name}: the pixel size in micrometres is unknown, and matching "
            "detections with nuclei needs it; use a data set that states it, e.g. nuclei/fields."
        )
    tolerance = TOLERANCE / microns

    def detections(name: str) -> dict[str, list[FieldDetections]]:
        indices = data.indices(name)
        found = predict_split(
            forward, variables, data.pipeline, indices, config.eval_batch_size,
            progress=name if progress else "",
        )  # fmt: skip
        nuclei = [
            found_in(np.asarray(peak_scores(logits[None]))[0], 0.0) for logits in found.logits
        ]
        return fields_of_tiles(_tiles(data, indices), nuclei, tolerance)

    def blobs() -> dict[str, list[FieldDetections]]:
        indices = data.indices(split)
        nuclei = [find_blobs(data.pipeline.images([index])[0], microns) for index in indices]
        return fields_of_tiles(_tiles(data, indices), nuclei, tolerance)

    by_source = detections(split)
    settled = by_source if split == "val" else _validation(data, detections)
    threshold = threshold_of_best_f(_main(settled)) if settled else 0.5
    report: dict[str, Any] = {
        "task": TASK,
        "dataset": data.dataset.name,
        "split": split,
        "protocol": config.split.protocol,
        "fold": config.split.fold,
        "folds": config.split.folds,
        "step": step,
        "tolerance_microns": TOLERANCE,
        "microns_per_pixel": microns,
        "threshold": threshold,
        "threshold_of": "validation fields" if settled else "default (no validation field)",
        "blobs": {source: _at_budgets(fields) for source, fields in blobs().items()},
        "sources": {
            source: describe(fields, threshold)
            for source, fields in [*by_source.items(), ("all", _joined(by_source))]
        },
    }
    with distributed.all_or_none():
        if distributed.is_main_process():
            curves = {name: found["curve"] for name, found in report["sources"].items()}
            curves.pop("all")
            title = f"{data.dataset.name}, {split}"
            figures.detection_curves(curves, title, folder / f"{split}_detection.png")
            write_json(folder / f"{split}.json", report)
    return report


def describe(fields: Sequence[FieldDetections], threshold: float) -> dict[str, Any]:
    """Report entries for the fields of one source."""
    return {
        "fields": len(fields),
        "at_threshold": recall_at(fields, threshold),
        "at_budget": _at_budgets(fields),
        "curve": detection_curve(fields),
    }


def fields_of_tiles(
    tiles: Sequence[Mapping[str, Any]], nuclei: Sequence[Found], tolerance: float
) -> dict[str, list[FieldDetections]]:
    """Reassemble fields from their tiles; only the core of each tile counts.

    Args:
      tiles: examples with `field_id, source, offset, core, nuclei`.
      nuclei: nuclei found in each tile.
      tolerance: greatest distance of a match in pixels of the tiles.

    Returns:
      The fields of each source, sorted by name.
    """
    parts: dict[tuple[str, str], list[tuple[Found, np.ndarray]]] = {}
    for tile, found in zip(tiles, nuclei, strict=True):
        left, top, right, bottom = (int(edge) for edge in tile["core"])
        x, y = found.positions.T
        inside = (x >= left) & (x < right) & (y >= top) & (y < bottom)
        here = Found(found.positions[inside] + tile["offset"], found.scores[inside])
        key = (_text(tile["source"]), _text(tile["field_id"]))
        parts.setdefault(key, []).append((here, np.asarray(tile["nuclei"]) + tile["offset"]))
    by_source: dict[str, list[FieldDetections]] = {}
    for (source, field), pieces in sorted(parts.items()):
        values = np.concatenate([found.scores for found, _ in pieces])
        order = np.argsort(-values, kind="stable")
        positions = np.concatenate([found.positions for found, _ in pieces])[order]
        marked = np.concatenate([marks for _, marks in pieces]).reshape(-1, 2)
        by_source.setdefault(source, []).append(
            FieldDetections.of(field, positions, values[order], marked, tolerance)
        )
    return by_source


def _at_budgets(fields: Sequence[FieldDetections]) -> dict[str, Any]:
    return {str(n): recall_at(fields, threshold_for(fields, n)) for n in BUDGETS}


def _tiles(data: ExperimentData, indices: np.ndarray) -> list[Mapping[str, Any]]:
    return [data.dataset.source[int(index)] for index in indices]


def _main(by_source: Mapping[str, list[FieldDetections]]) -> list[FieldDetections]:
    real = [field for name in _REAL for field in by_source.get(name, [])]
    return real or _joined(by_source)


def _joined(by_source: Mapping[str, list[FieldDetections]]) -> list[FieldDetections]:
    return [field for fields in by_source.values() for field in fields]


def _validation(data: ExperimentData, detections: Any) -> dict[str, list[FieldDetections]]:
    return detections("val") if (data.splits == "val").any() else {}


def summary(report: Mapping[str, Any]) -> str:
    """The report as lines of text."""
    lines = []
    for source, found in report["sources"].items():
        at = found["at_threshold"]
        low, high = at["by_field"]
        lines.append(
            f"{source}: {at['found']} of {at['marked']} marked nuclei found ({at['recall']:.1%}, "
            f"95 % interval by field {low:.1%} to {high:.1%}) with "
            f"{at['detections_per_field']:.1f} detections per field in {found['fields']} fields"
        )
    lines.append(
        f"threshold {report['threshold']:.3f}, from {report['threshold_of']}; maximum distance of "
        f"a match {report['tolerance_microns']:.1f} micrometres"
    )
    return "\n".join(lines)


def _text(value: Any) -> str:
    return value.decode("utf-8") if isinstance(value, bytes) else str(value)
