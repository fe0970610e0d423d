"""Pictures of an evaluation: confusion matrix, reliability diagram, ROC and decision curves."""

from pathlib import Path

import numpy as np
from sklearn.metrics import roc_curve

from cervix_jax import figures
from cervix_jax.evaluate.report_file import EvaluationReport
from cervix_jax.evaluate.screening import Screening
from cervix_jax.evaluate.summary_text import headline
from cervix_jax.statistics.intervals import wilson_interval
from cervix_jax.statistics.scores import BINS, bin_confidences
from cervix_jax.statistics.table import PredictionTable


def draw_charts(
    folder: Path,
    name: str,
    table: PredictionTable,
    report: EvaluationReport,
    screening: Screening | None = None,
) -> None:
    """Write `<name>_confusion_matrix.png`, `<name>_reliability.png` and `<name>_roc.png`.

    If the report has a screening view, also `<name>_decision_curve.png`.

    Args:
      folder: output folder; made if needed.
      name: stem of the file names.
      table: the predictions.
      report: the report on these predictions.
      screening: its screening view, or None.
    """
    title = f"{report.title}, {report.split}"
    figures.confusion_matrix(
        np.asarray(report.confusion_matrix),
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
    error = report.metric("ece_equal_width").estimate
    figures.reliability(
        bins, f"{title}: calibration error {error:.3f}", folder / f"{name}_reliability.png"
    )
    curves = {}
    shown = figures.drawable(table.class_names)
    for number, class_name in enumerate(table.class_names):
        area = report.metric("auroc", class_name)
        if area.estimate is not None:
            curve = roc_curve(table.labels == number, table.probabilities[:, number])
            curves[f"{shown[number]} {area}"] = curve[:2]
    figures.roc_curves(curves, f"{title}: AUROC, 95 % by group", folder / f"{name}_roc.png")
    path = folder / f"{name}_decision_curve.png"
    path.unlink(missing_ok=True)  # of an earlier evaluation
    if screening and screening.curve:
        _draw_decision_curve(screening, f"{title}: abnormal against normal", path)


def _draw_decision_curve(screening: Screening, title: str, path: Path) -> None:
    curves = {
        "uncalibrated probabilities": screening.curve,
        "after temperature scaling": screening.calibrated,
    }
    drawn = {text: curve for text, curve in curves.items() if curve}
    figures.decision_curves(drawn, title, path)
