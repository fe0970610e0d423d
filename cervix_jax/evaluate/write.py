"""The files of an evaluation: report, predictions, pictures, decisions."""

import json
from pathlib import Path

import ml_collections
import numpy as np
from sklearn.metrics import roc_curve

from cervix_jax import figures
from cervix_jax.data.experiment import ExperimentData
from cervix_jax.evaluate.predictions_file import SUFFIX, read_table, write_table
from cervix_jax.files.atomic import write_json
from cervix_jax.runs.inference import (
    Predictions,
)
from cervix_jax.statistics.classification import classification_report
from cervix_jax.statistics.decisions import decisions_report
from cervix_jax.statistics.intervals import wilson_interval
from cervix_jax.statistics.report import statistics_report
from cervix_jax.statistics.resampling import Resamples
from cervix_jax.statistics.scores import BINS, bin_confidences
from cervix_jax.statistics.summary import (
    headline,
    shown,
)
from cervix_jax.statistics.table import PredictionTable

TTA = "_tta"  # how the names of files end whose predictions are means over symmetries


def write_evaluation(
    folder: Path,
    split: str,
    predictions: Predictions,
    data: ExperimentData,
    config: ml_collections.ConfigDict,
    step: int,
    *,
    tta: bool = False,
) -> dict:
    """Write the report, the predictions and the pictures of one split.

    Args:
      folder: `<workdir>/evaluate`.
      split: "train", "val" or "test".
      predictions: on the examples of that split.
      data: where they came from.
      config: the run's config.
      step: training step of the weights.
      tta: the predictions are means over 8 symmetries; the files are then `<split>_tta...`.

    Returns:
      What `<split>.json` holds: the metrics of `classification_report`, `dataset, split, protocol,
      fold, folds, refit` (whether it was trained on train and val), `groups` (number of groups),
      `leakage` (share of the examples whose group is also in the data the model was made with,
      train or val), `leakage_train` (the same for train alone), `step`, and the groups of
      `statistics_report`.
    """
    dataset = data.dataset
    table = PredictionTable(
        tuple(dataset.filenames[index] for index in predictions.indices),
        np.asarray(dataset.groups, str)[predictions.indices],
        np.asarray(predictions.labels),
        predictions.probabilities,
        tuple(dataset.class_names),
        np.asarray(predictions.logits),
    )
    seen = data.leakage(split)
    facts = {
        "dataset": dataset.name,
        "split": split,
        "protocol": config.split.protocol,
        "fold": config.split.fold,
        "folds": config.split.folds,
        "refit": config.split.get("refit", False),
        "groups": len(set(table.groups.tolist())),
        "leakage": seen.share,
        "leakage_train": seen.num_seen_in_train / seen.num_test,
        "step": step,
        "tta": tta,
    }
    ending = TTA if tta else ""
    validation = stored(folder, f"val{ending}", step) if split == "test" else None
    return write_report(folder, f"{split}{ending}", table, facts, validation)


def write_report(
    folder: Path,
    name: str,
    table: PredictionTable,
    facts: dict,
    validation: PredictionTable | None = None,
) -> dict:
    """Write `<name>.json`, `<name>_predictions.csv` and pictures of any labelled predictions.

    Args:
      folder: made if needed.
      name: what the files are called.
      table: the predictions.
      facts: what else the report says; `dataset` and `split` are in the titles.
      validation: predictions that a temperature, conformal sets and thresholds are settled on;
        without them there is no `<name>_decisions.json`.

    Returns:
      What `<name>.json` holds.
    """
    resamples = Resamples(table.groups)
    report = classification_report(table.labels, table.probabilities, table.class_names)
    report |= facts | statistics_report(table, resamples)
    write_table(folder / f"{name}{SUFFIX}", table)
    _draw(folder, name, table, report)
    decisions = folder / f"{name}_decisions.json"
    if validation is None:
        decisions.unlink(missing_ok=True)  # of other predictions
    else:
        write_json(decisions, decisions_report(table, validation, resamples))
    write_json(folder / f"{name}.json", report)
    return report


def _draw(folder: Path, name: str, table: PredictionTable, report: dict) -> None:
    title = f"{report['dataset']}, {report['split']}"
    figures.confusion_matrix(
        np.asarray(report["confusion_matrix"]),
        table.class_names,
        f"{title}: {headline(report)}",
        folder / f"{name}_confusion_matrix.png",
    )
    binned = bin_confidences(table.labels, table.probabilities)
    bins = []
    for number in range(BINS):
        inside = binned.bin == number
        if count := int(inside.sum()):
            right = int(binned.correct[inside].sum())
            interval = wilson_interval(right, count)
            mean = float(binned.confidence[inside].mean())
            bins.append((mean, right / count, interval, count))
    error = report["probabilities"]["ece_equal_width"]["estimate"]
    figures.reliability(
        bins, f"{title}: calibration error {error:.3f}", folder / f"{name}_reliability.png"
    )
    curves = {}
    for number, class_name in enumerate(table.class_names):
        area = report["one_v_rest"][class_name]["auroc"]
        if area["estimate"] is not None:
            positive = table.labels == number
            curve = roc_curve(positive, table.probabilities[:, number])
            curves[f"{class_name} {shown(area)}"] = curve[:2]
    figures.roc_curves(curves, f"{title}: AUROC, 95 % by group", folder / f"{name}_roc.png")


def stored(folder: Path, name: str, step: int) -> PredictionTable | None:
    """Predictions of the same weights on another split, if they lie there."""
    try:
        report = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
        return read_table(folder / f"{name}{SUFFIX}") if report["step"] == step else None
    except (OSError, ValueError, KeyError, TypeError):
        return None
