"""All metrics of one table of predictions with their intervals, as `evaluate/<split>.json` holds.

An estimate is {"estimate", "interval", "method"}; what is undefined is None, with `why`.
"""

import numpy as np

from cervix_jax.data import classes
from cervix_jax.statistics import confusion, scores
from cervix_jax.statistics.aggregation import aggregation_report
from cervix_jax.statistics.comparison import confusions
from cervix_jax.statistics.intervals import (
    BY_GROUP,
    CONFIDENCE,
    MIN_DEFINED,
    by_group,
    proportion,
)
from cervix_jax.statistics.ranking import (
    OperatingPoint,
    auroc_and_average_precision,
    choose_threshold,
)
from cervix_jax.statistics.resampling import Resamples
from cervix_jax.statistics.table import PredictionTable

FEW_GROUPS = 20
ONE_CLASS = "all examples are of one class, or are predicted to be"
# Which quotient of the counts each rate is, and what it needs.
RATES = {
    "sensitivity": ("tp", "fn", "no example of this class"),
    "specificity": ("tn", "fp", "no example of another class"),
    "ppv": ("tp", "fp", "no example is called this class"),
    "npv": ("tn", "fn", "every example is called this class"),
}
HELD = tuple((name, target) for name in ("specificity", "sensitivity") for target in (0.9, 0.95))


def statistics_report(table: PredictionTable, resamples: Resamples) -> dict:
    """Everything that the predictions alone say.

    Args:
      table: labelled predictions.
      resamples: of their groups.

    Returns:
      `intervals` (how they were made), `accuracy_interval_by_group`, `overall`,
      `probabilities`, `one_v_rest` (by class), `hierarchy` (by number of joined classes),
      `operating_points` and `aggregation` (None where there is nothing to aggregate).
    """
    areas = one_v_rest_areas(table, resamples)
    overall = overall_report(table, resamples) | {
        "macro_auroc": by_group(confusion.mean_defined(areas[0]), "no class and its opposite"),
        "macro_average_precision": by_group(confusion.mean_defined(areas[1]), "no example"),
    }
    return {
        "accuracy_interval_by_group": overall["accuracy"]["interval_by_group"],
        "intervals": _about(resamples),
        "overall": overall,
        "probabilities": probability_report(table, resamples),
        "one_v_rest": one_v_rest_report(table, resamples, areas),
        "hierarchy": {
            str(level): _coarse_report(table.coarsen(level), resamples)
            for level in classes.levels(table.class_names)
        },
        "operating_points": operating_points_report(table, resamples),
        "aggregation": aggregation_report(table),
    }


def _about(resamples: Resamples) -> dict:
    about = {
        "confidence": CONFIDENCE,
        "resamples": len(resamples.weights) - 1,
        "groups": resamples.num_groups,
        "null": f"no interval where fewer than {MIN_DEFINED:.0%} of the resamples define the value "
        "or all of them agree",
    }
    if resamples.num_groups < FEW_GROUPS:
        about["warning"] = (
            f"only {resamples.num_groups} groups: intervals by {BY_GROUP} are too narrow"
        )
    return about


def overall_report(table: PredictionTable, resamples: Resamples) -> dict:
    """Metrics of the predicted classes: accuracy, its balanced form, F1, MCC and kappas."""
    matrices = confusions(resamples, table)
    right, total = np.trace(matrices[0]), matrices[0].sum()
    names = table.class_names
    report = {
        "accuracy": proportion(right, total, confusion.accuracy(matrices), "no example"),
        "balanced_accuracy": by_group(confusion.balanced_accuracy(matrices), "no example"),
        "macro_f1": by_group(confusion.macro_f1(matrices)),
        "weighted_f1": by_group(confusion.weighted_f1(matrices), "no example"),
        "matthews": by_group(confusion.matthews(matrices), ONE_CLASS),
        "cohen_kappa": by_group(confusion.kappa(matrices), ONE_CLASS),
    }
    if order := classes.order_of(names):
        steps = confusion.squared_distances(names, order)
        kappa = by_group(confusion.kappa(matrices, steps), ONE_CLASS)
        report["quadratic_kappa"] = kappa | {"order": list(order)}
    return report


def probability_report(table: PredictionTable, resamples: Resamples) -> dict:
    """Proper scores and calibration errors; all are better when lower.

    A calibration error within `by_chance_below` is what 95 % of samples from a calibrated model
    show. Its interval takes part of the bias off and still covers too seldom near 0.
    """
    losses = {"nll": scores.negative_log_likelihood, "brier": scores.brier}
    report = {
        name: by_group(resamples.means(loss(table.labels, table.probabilities)))
        for name, loss in losses.items()
    }
    for name, equal_mass in (("ece_equal_width", False), ("ece_equal_mass", True)):
        binned = scores.bin_confidences(table.labels, table.probabilities, equal_mass=equal_mass)
        error = by_group(scores.expected_calibration_error(resamples, binned), basic=True)
        report[name] = error | {"by_chance_below": scores.calibration_error_by_chance(binned)}
    return report


def one_v_rest_areas(table: PredictionTable, resamples: Resamples) -> tuple[np.ndarray, np.ndarray]:
    """AUROC and average precision of each class, two float64 [1 + R, C]; NaN where undefined."""
    areas = [
        auroc_and_average_precision(
            resamples, table.probabilities[:, number], table.labels == number
        )
        for number in range(len(table.class_names))
    ]
    auroc, precision = zip(*areas, strict=True)
    return np.stack(auroc, -1), np.stack(precision, -1)


def one_v_rest_report(
    table: PredictionTable, resamples: Resamples, areas: tuple[np.ndarray, np.ndarray]
) -> dict:
    """Each class against the others: rates of its calls, and the areas of its probability."""
    counts = confusion.one_v_rest(confusions(resamples, table))
    return {
        name: _rates({key: value[:, number] for key, value in counts.items()})
        | {
            "auroc": by_group(areas[0][:, number], "no example of this class, or of no other"),
            "average_precision": by_group(areas[1][:, number], "no example of this class"),
        }
        for number, name in enumerate(table.class_names)
    }


def _rates(counts: dict[str, np.ndarray], names: tuple[str, ...] = tuple(RATES)) -> dict:
    """Rates from counts [1 + R]."""
    report = {}
    for name in names:
        hit, miss, nothing = RATES[name]
        total = counts[hit] + counts[miss]
        statistic = confusion.quotient(counts[hit], total)
        report[name] = proportion(counts[hit][0], total[0], statistic, nothing)
    return report


def _coarse_report(table: PredictionTable, resamples: Resamples) -> dict:
    """Joined classes; of two, the second is what is looked for."""
    overall = overall_report(table, resamples)
    kept = ("accuracy", "balanced_accuracy", "macro_f1", "matthews", "quadratic_kappa")
    report = {
        "class_names": list(table.class_names),
        "confusion_matrix": confusions(resamples, table)[0].astype(int).tolist(),
    } | {name: overall[name] for name in kept if name in overall}
    if len(table.class_names) == 2:
        positive = table.class_names[1]
        areas = one_v_rest_areas(table, resamples)
        report[positive] = one_v_rest_report(table, resamples, areas)[positive]
    return report


def operating_points_report(
    table: PredictionTable, resamples: Resamples, validation: PredictionTable | None = None
) -> dict:
    """Sensitivity at a fixed specificity of 0.9 and 0.95, and the reverse.

    For "abnormal" where the classes join to normal and abnormal, else for each class. A threshold
    chosen on the data that it is then judged by looks better than it is; the report says which.

    Args:
      table: predictions that the points are measured on.
      resamples: of their groups.
      validation: predictions that thresholds are chosen on; None chooses them on `table`.
    """
    if 2 in classes.levels(table.class_names):
        table = table.coarsen(2)
        validation = validation and validation.coarsen(2)
        numbers = [1]
    else:
        numbers = list(range(len(table.class_names)))
    source = table if validation is None else validation
    report: dict = {"chosen_on": "the same data" if validation is None else "val"}
    for number in numbers:
        points = [
            choose_threshold(source.probabilities[:, number], source.labels == number, *held)
            for held in HELD
        ]
        report[table.class_names[number]] = [
            _measured(point, table, resamples, number)
            if point
            else {"held": held, "target": target, "why": "only one side has examples to choose by"}
            for point, (held, target) in zip(points, HELD, strict=True)
        ]
    return report


def _measured(
    point: OperatingPoint, table: PredictionTable, resamples: Resamples, number: int
) -> dict:
    positive = table.labels == number
    called = table.probabilities[:, number] >= point.threshold
    cells = resamples.counts(2 * positive + called, 4).T
    counts = dict(zip(("tn", "fp", "fn", "tp"), cells, strict=True))
    finite = bool(np.isfinite(point.threshold))
    return {
        "held": point.held,
        "target": point.target,
        "threshold": point.threshold if finite else None,
        **_rates(counts, ("sensitivity", "specificity")),
    } | ({} if finite else {"why": "no threshold but infinity holds it"})
