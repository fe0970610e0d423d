"""Writes the files of an evaluation: report, predictions, pictures, decisions."""

from pathlib import Path
from typing import Any

import ml_collections
import numpy as np
from flax import nnx

from cervix_jax import distributed
from cervix_jax.data.experiment import ExperimentData
from cervix_jax.detect.evaluation import evaluate_detector
from cervix_jax.errors import InputError
from cervix_jax.evaluate.charts import draw_charts
from cervix_jax.evaluate.predictions_file import SUFFIX, read_table, write_table
from cervix_jax.evaluate.report_file import EvaluationReport, make_report
from cervix_jax.evaluate.screening import Screening
from cervix_jax.evaluate.stems import stem_of
from cervix_jax.files.atomic import read_json, write_json
from cervix_jax.runs.adaptation import predict_adapted
from cervix_jax.runs.inference import Forward, Predictions, Variables, predict_split
from cervix_jax.statistics.decisions import decisions_report
from cervix_jax.statistics.resampling import Resamples
from cervix_jax.statistics.table import PredictionTable


def evaluate_split(
    folder: Path,
    split: str,
    forward: Forward,
    variables: Variables,
    data: ExperimentData,
    config: ml_collections.ConfigDict,
    step: int,
    *,
    tta: bool = False,
    adapt: str = "",
    graphdef: nnx.GraphDef | None = None,
    progress: bool = False,
) -> dict[str, Any]:
    """Predict and evaluate a split; every process of a run must call it, and one writes.

    Args:
      folder: `<workdir>/evaluate`.
      split: "train", "val" or "test".
      forward: from `runs.inference.make_forward`.
      variables: the weights.
      data: the examples.
      config: the run's config.
      step: training step of the weights.
      tta: whether `forward` averages over 8 symmetries, see `write_evaluation`.
      adapt: "", or one of `runs.adaptation.WAYS`, which needs `graphdef`.
      graphdef: static part of the model.
      progress: show a progress bar.

    Returns:
      The contents of `<split>.json`, see `report_file` (for nuclei `detect.evaluation`); {} on all
      processes but the first.
    """
    if data.dataset.pixel_labels:
        return evaluate_detector(
            folder, split, forward, variables, data, config, step, progress=progress
        )
    indices = data.indices(split)
    if adapt and graphdef is not None:
        predictions = predict_adapted(
            adapt, forward, graphdef, config.model.normalization, variables, data.pipeline, indices,
            np.asarray(data.dataset.groups)[indices], np.asarray(data.dataset.labels)[indices],
        )  # fmt: skip
    else:
        predictions = predict_split(
            forward,
            variables,
            data.pipeline,
            indices,
            config.eval_batch_size,
            progress=split if progress else "",
        )
    with distributed.all_or_none():
        if distributed.is_main_process():
            return write_evaluation(
                folder, split, predictions, data, config, step, tta=tta, adapt=adapt
            )
    return {}


def write_evaluation(
    folder: Path,
    split: str,
    predictions: Predictions,
    data: ExperimentData,
    config: ml_collections.ConfigDict,
    step: int,
    *,
    tta: bool = False,
    adapt: str = "",
) -> dict[str, Any]:
    """Write the report, the predictions and the pictures of one split.

    Args:
      folder: `<workdir>/evaluate`.
      split: "train", "val" or "test".
      predictions: on the examples of that split.
      data: the examples.
      config: the run's config.
      step: training step of the weights.
      tta: whether predictions are means over 8 symmetries; the files are then `<split>_tta...`.
      adapt: one of `runs.adaptation.WAYS` if batch statistics come from the examples, else ""; the
        files are then `<split>_adapted...` or `<split>_group_adapted...`.

    Returns:
      The contents of `<split>.json`, see `cervix_jax.evaluate.report_file`.
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
        "data_title": dataset.title,
        "split": split,
        "protocol": config.split.protocol,
        "fold": config.split.fold,
        "folds": config.split.folds,
        "refit": config.split.refit,
        "leakage": seen.share,
        "leakage_train": seen.share_in_train,
        "step": step,
        "tta": tta,
        "adapt": adapt or None,
    }
    validation = None
    if split == "test":
        validation = stored(folder, "val", step, tta=tta, adapt=adapt)
    return write_report(folder, stem_of(split, tta=tta, adapt=adapt), table, facts, validation)


def write_report(
    folder: Path,
    name: str,
    table: PredictionTable,
    facts: dict[str, Any],
    validation: PredictionTable | None = None,
) -> dict[str, Any]:
    """Write `<name>.json`, `<name>_predictions.csv` and pictures of any labelled predictions.

    Args:
      folder: output folder; made if needed.
      name: stem of the file names.
      table: the predictions.
      facts: further entries of the report; titles show `dataset` and `split`.
      validation: predictions to fit a temperature, conformal sets and thresholds on; without them
        there is no `<name>_decisions.json`.

    Returns:
      The contents of `<name>.json`.
    """
    resamples = Resamples(table.groups)
    report = make_report(table, facts, resamples)
    write_table(folder / f"{name}{SUFFIX}", table)
    decisions, settled = folder / f"{name}_decisions.json", None
    if validation is None:
        decisions.unlink(missing_ok=True)  # of an earlier evaluation
    else:
        settled = decisions_report(table, validation, resamples, report["metrics"])
        write_json(decisions, settled)
    read = EvaluationReport.of(report, folder / f"{name}.json")
    draw_charts(folder, name, table, read, Screening.of(report, settled))
    write_json(folder / f"{name}.json", report)
    return report


def stored(
    folder: Path, split: str, step: int, *, tta: bool = False, adapt: str = ""
) -> PredictionTable | None:
    """Predictions of the same weights on another split; None unless they exist and can be read."""
    name = stem_of(split, tta=tta, adapt=adapt)
    try:
        report = read_json(folder / f"{name}.json") or {}
        return read_table(folder / f"{name}{SUFFIX}") if report.get("step") == step else None
    except InputError:
        return None
