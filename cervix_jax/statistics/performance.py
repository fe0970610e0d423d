"""All metrics of one table of predictions, each with its intervals.

Every metric is an entry of `cervix_jax.statistics.intervals`.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from cervix_jax.data import classes
from cervix_jax.statistics import confusion, scores
from cervix_jax.statistics.aggregation import aggregation_report
from cervix_jax.statistics.comparison import confusions
from cervix_jax.statistics.decision_curve import decision_curve
from cervix_jax.statistics.intervals import (
    BY_GROUP,
    CONFIDENCE,
    MIN_DEFINED,
    UNIT,
    WILSON,
    proportion,
    resampled,
)
from cervix_jax.statistics.ranking import (
    OperatingPoint,
    auroc_and_average_precision,
    choose_threshold,
)
from cervix_jax.statistics.resampling import Resamples
from cervix_jax.statistics.table import PredictionTable

Entry = dict[str, Any]
FEW_GROUPS = 50
NO_EXAMPLE = "no example of this class"
NO_THRESHOLD = "the data to choose the threshold on lack this class or all other classes"
CORRELATION = (-1.0, 1.0)
ONE_CLASS = "all examples, or all predictions, are of one class"
# Each rate as a quotient of counts, and the reason if it is undefined.
RATES = {
    "sensitivity": ("tp", "fn", NO_EXAMPLE),
    "specificity": ("tn", "fp", "no example of another class"),
    "ppv": ("tp", "fp", "no example is predicted as this class"),
    "npv": ("tn", "fn", "every example is predicted as this class"),
}
HELD = tuple((name, target) for name in ("specificity", "sensitivity") for target in (0.9, 0.95))


def quick_metrics(labels: np.ndarray, probabilities: np.ndarray) -> dict[str, float]:
    """`accuracy, balanced_accuracy, nll` of int [N] and float [N, C]; no intervals, no groups."""
    size = probabilities.shape[1]
    cells = np.bincount(labels * size + probabilities.argmax(-1), minlength=size * size)
    matrix = cells.reshape(size, size)
    return {
        "accuracy": float(confusion.accuracy(matrix)),
        "balanced_accuracy": float(confusion.balanced_accuracy(matrix)),
        "nll": float(scores.negative_log_likelihood(labels, probabilities).mean()),
    }


def performance(table: PredictionTable, resamples: Resamples) -> dict[str, Any]:
    """All metrics of a table of predictions, JSON-ready.

    Args:
      table: labelled predictions.
      resamples: resamples of their groups.

    Returns:
      `class_names, confusion_matrix` (rows true, columns predicted), `intervals` (how they were
      computed), `metrics` (name to entry), `per_class` (class to name to entry), `hierarchy`
      (number of joined classes to the same for these), `operating_points`, `decision_curve` (None
      if no class is known to be negative) and `aggregation` (None if every image is its own group).
    """
    areas = one_v_rest_areas(table, resamples)
    n, groups = len(table.labels), resamples.num_groups
    return {
        **_confusions(table, resamples),
        "intervals": _about(resamples),
        "metrics": class_metrics(table, resamples)
        | {
            "macro_auroc": resampled(
                confusion.mean_defined(areas[0]),
                n,
                groups,
                "no class with both positives and negatives",
            ),
            "macro_average_precision": resampled(
                confusion.mean_defined(areas[1]), n, groups, "no example"
            ),
        }
        | probability_metrics(table, resamples),
        "per_class": per_class_metrics(table, resamples, areas),
        "hierarchy": {
            str(level): _joined(table.coarsen(level), resamples)
            for level in classes.levels(table.class_names)
        },
        "operating_points": operating_points(table, resamples),
        "decision_curve": decision_curve(table, resamples),
        "aggregation": aggregation_report(table),
    }


def _confusions(table: PredictionTable, resamples: Resamples) -> dict[str, Any]:
    return {
        "class_names": list(table.class_names),
        "confusion_matrix": confusions(resamples, table)[0].astype(int).tolist(),
    }


def _about(resamples: Resamples) -> dict[str, Any]:
    about = {
        "confidence": CONFIDENCE,
        "interval": f"by the entry's method: {WILSON} assumes independent images",
        "interval_by_group": BY_GROUP,
        "resamples": len(resamples.weights) - 1,
        "groups": resamples.num_groups,
        "null": f"no interval if fewer than {MIN_DEFINED:.0%} of the resamples define the value "
        "or all resamples are equal",
    }
    if resamples.num_groups < FEW_GROUPS:
        groups = "1 group" if resamples.num_groups == 1 else f"{resamples.num_groups} groups"
        about["warning"] = (
            f"only {groups}: the coverage of the {CONFIDENCE:.0%} intervals by {BY_GROUP} is "
            "approximate (90 to 98 % in simulations)"
        )
    return about


def class_metrics(table: PredictionTable, resamples: Resamples) -> dict[str, Entry]:
    """Metrics of the predicted classes: accuracy, balanced accuracy, F1, MCC and kappas."""
    matrices = confusions(resamples, table)
    right, n = int(np.trace(matrices[0])), int(matrices[0].sum())
    names, groups = table.class_names, resamples.num_groups
    statistics = {
        "balanced_accuracy": (confusion.balanced_accuracy(matrices), "no example", UNIT),
        "macro_f1": (confusion.macro_f1(matrices), "no example", UNIT),
        "weighted_f1": (confusion.weighted_f1(matrices), "no example", UNIT),
        "matthews": (confusion.matthews(matrices), ONE_CLASS, CORRELATION),
        "cohen_kappa": (confusion.kappa(matrices), ONE_CLASS, CORRELATION),
    }
    found = {"accuracy": proportion(right, n, confusion.accuracy(matrices), groups, "no example")}
    found |= {
        name: resampled(statistic, n, groups, undefined, bounds=bounds)
        for name, (statistic, undefined, bounds) in statistics.items()
    }
    if order := classes.order_of(names):
        steps = confusion.squared_distances(names, order)
        kappa = resampled(
            confusion.kappa(matrices, steps), n, groups, ONE_CLASS, bounds=CORRELATION
        )
        found["quadratic_kappa"] = kappa | {"order": list(order)}
    return found


def probability_metrics(table: PredictionTable, resamples: Resamples) -> dict[str, Entry]:
    """Proper scores and calibration errors; lower is better for all.

    95 % of samples from a calibrated model have a calibration error of at most `by_chance_below`.
    The interval of the calibration error removes part of its bias; near 0 its coverage is too low.
    """
    n, groups = len(table.labels), resamples.num_groups
    losses = {
        "nll": (scores.negative_log_likelihood, (0.0, -math.log(scores.SMALLEST))),
        "brier": (scores.brier, (0.0, 2.0)),
    }
    found = {
        name: resampled(
            resamples.means(loss(table.labels, table.probabilities)), n, groups, bounds=bounds
        )
        for name, (loss, bounds) in losses.items()
    }
    for name, equal_mass in (("ece_equal_width", False), ("ece_equal_mass", True)):
        binned = scores.bin_confidences(table.labels, table.probabilities, equal_mass=equal_mass)
        errors = scores.expected_calibration_error(resamples, binned)
        error = resampled(errors, n, groups, basic=True)
        found[name] = error | {"by_chance_below": scores.calibration_error_by_chance(binned)}
    return found


def one_v_rest_areas(
    table: PredictionTable, resamples: Resamples, numbers: Sequence[int] = ()
) -> tuple[np.ndarray, np.ndarray]:
    """AUROC and average precision of classes, two float64 [1 + R, K]; NaN where undefined.

    Args:
      table: labelled predictions.
      resamples: resamples of their groups.
      numbers: indices of K classes; all if None.
    """
    areas = [
        auroc_and_average_precision(
            resamples, table.probabilities[:, number], table.labels == number
        )
        for number in numbers or range(len(table.class_names))
    ]
    auroc, precision = zip(*areas, strict=True)
    return np.stack(auroc, -1), np.stack(precision, -1)


def per_class_metrics(
    table: PredictionTable,
    resamples: Resamples,
    areas: tuple[np.ndarray, np.ndarray],
    numbers: Sequence[int] = (),
) -> dict[str, dict[str, Entry]]:
    """Metrics of each class against the others: rates, F1, AUROC and average precision.

    `n` of the sensitivity is the number of images of the class. A class that neither occurs nor is
    predicted has no F1, and `macro_f1` leaves it out.

    Args:
      table: labelled predictions.
      resamples: resamples of their groups.
      areas: see `one_v_rest_areas`, for the same classes.
      numbers: indices of the classes; all if None.
    """
    matrices, n = confusions(resamples, table), len(table.labels)
    groups = resamples.num_groups
    counts, f1 = confusion.one_v_rest(matrices), confusion.f1(matrices)
    return {
        table.class_names[number]: _rates(
            {key: value[:, number] for key, value in counts.items()}, groups
        )
        | {
            "f1": resampled(f1[:, number], n, groups, "no example and no prediction of this class"),
            "auroc": resampled(
                areas[0][:, column],
                n,
                groups,
                "no example of this class, or no example of another class",
            ),
            "average_precision": resampled(areas[1][:, column], n, groups, NO_EXAMPLE),
        }
        for column, number in enumerate(numbers or range(len(table.class_names)))
    }


def _rates(
    counts: dict[str, np.ndarray], groups: int, names: tuple[str, ...] = tuple(RATES)
) -> dict[str, Entry]:
    """Rates from counts [1 + R]."""
    found = {}
    for name in names:
        hit, miss, nothing = RATES[name]
        total = counts[hit] + counts[miss]
        statistic = confusion.quotient(counts[hit], total)
        found[name] = proportion(counts[hit][0], total[0], statistic, groups, nothing)
    return found


def _joined(table: PredictionTable, resamples: Resamples) -> dict[str, Any]:
    """Joined classes; of two, the second is the one to detect."""
    found = class_metrics(table, resamples)
    kept = ("accuracy", "balanced_accuracy", "macro_f1", "matthews", "quadratic_kappa")
    report = _confusions(table, resamples)
    report["metrics"] = {name: found[name] for name in kept if name in found}
    if len(table.class_names) == 2:
        areas = one_v_rest_areas(table, resamples, [1])
        report["per_class"] = per_class_metrics(table, resamples, areas, [1])
    return report


def operating_points(
    table: PredictionTable, resamples: Resamples, validation: PredictionTable | None = None
) -> dict[str, Any]:
    """Sensitivity at a fixed specificity of 0.9 and 0.95, and the reverse.

    Computed for "abnormal" if a class is known to be negative, else for each class. A threshold
    chosen on the evaluated data gives optimistic results; `chosen_on` names the data used.

    Args:
      table: predictions to measure the points on.
      resamples: resamples of their groups.
      validation: predictions to choose thresholds on; None chooses them on `table`.

    Returns:
      `chosen_on`, and `per_class`: class to a list of points, each with `held, target, threshold`
      and the entries `sensitivity` and `specificity`.
    """
    numbers = list(range(len(table.class_names)))
    if screened := table.screened():
        table, validation, numbers = screened, validation and validation.screened(), [1]
    source = table if validation is None else validation
    found = {}
    for number in numbers:
        points = [
            choose_threshold(source.probabilities[:, number], source.labels == number, *held)
            for held in HELD
        ]
        found[table.class_names[number]] = [
            _measured(point, table, resamples, number)
            if point
            else {"held": held, "target": target, "why": NO_THRESHOLD}
            for point, (held, target) in zip(points, HELD, strict=True)
        ]
    return {"chosen_on": "the same data" if validation is None else "val", "per_class": found}


def _measured(
    point: OperatingPoint, table: PredictionTable, resamples: Resamples, number: int
) -> dict[str, Any]:
    positive = table.labels == number
    called = table.probabilities[:, number] >= point.threshold
    cells = resamples.counts(2 * positive + called, 4).T
    counts: dict[str, np.ndarray] = dict(zip(("tn", "fp", "fn", "tp"), cells, strict=True))
    finite = bool(np.isfinite(point.threshold))
    return {
        "held": point.held,
        "target": point.target,
        "threshold": point.threshold if finite else None,
        **_rates(counts, resamples.num_groups, ("sensitivity", "specificity")),
    } | ({} if finite else {"why": "no finite threshold reaches the target"})
