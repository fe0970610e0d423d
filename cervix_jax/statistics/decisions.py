"""What was settled on validation predictions, judged on others: `evaluate/<split>_decisions.json`.

A temperature, conformal sets and thresholds. Nothing here is fitted on the data it is judged by.
"""

from typing import Any

import numpy as np

from cervix_jax.statistics.conformal import METHODS, prediction_sets
from cervix_jax.statistics.intervals import proportion, resampled
from cervix_jax.statistics.performance import operating_points, probability_metrics
from cervix_jax.statistics.resampling import Resamples
from cervix_jax.statistics.table import PredictionTable
from cervix_jax.statistics.temperature import fit_temperature, scaled

COVERAGES = (0.9, 0.95)


def decisions_report(
    table: PredictionTable, validation: PredictionTable, resamples: Resamples
) -> dict[str, Any]:
    """Temperature, conformal sets and operating points.

    Args:
      table: predictions to judge by.
      validation: predictions of the same model to decide on; no image in both.
      resamples: of the groups of `table`.

    Returns:
      `validation` (how many), `temperature`, `conformal` (by method) and `operating_points`.
    """
    return {
        "validation": {
            "n": len(validation.labels),
            "groups": len(set(validation.groups.tolist())),
            "groups_shared": len(set(validation.groups.tolist()) & set(table.groups.tolist())),
        },
        "temperature": temperature_report(table, validation, resamples),
        "conformal": conformal_report(table, validation, resamples),
        "operating_points": operating_points(table, resamples, validation),
    }


def temperature_report(
    table: PredictionTable, validation: PredictionTable, resamples: Resamples
) -> dict[str, Any]:
    """Probabilities before and after temperature scaling.

    Returns:
      `temperature`, its `n` and any problem as `why`; `before` and `after`, each with `nll,
      brier, ece_equal_width, ece_equal_mass`.
    """
    fitted = fit_temperature(validation)
    report: dict[str, Any] = {"temperature": fitted.value, "n": fitted.n}
    if fitted.problem:
        report["why"] = fitted.problem
    after = scaled(table, fitted.value)
    return report | {
        "before": probability_metrics(table, resamples),
        "after": probability_metrics(after, resamples),
    }


def conformal_report(
    table: PredictionTable, validation: PredictionTable, resamples: Resamples
) -> dict[str, Any]:
    """Coverage and size of split-conformal sets.

    Returns:
      For each method a list, a row for each `target` coverage: `threshold` (None where the
      validation set is too small and sets hold every class), `coverage` measured, `mean_size`,
      and the shares of sets that are `empty` and that hold a `single` class.
    """
    known = validation.labels, validation.probabilities
    rows = np.arange(len(table.labels))
    report: dict[str, Any] = {method: [] for method in METHODS}
    for method in METHODS:
        for target in COVERAGES:
            sets, threshold = prediction_sets(method, known, table.probabilities, target)
            covered, size = sets[rows, table.labels], sets.sum(1)
            report[method].append(
                {
                    "target": target,
                    "threshold": threshold if np.isfinite(threshold) else None,
                    "coverage": proportion(
                        covered.sum(), len(rows), resamples.means(covered), "no example"
                    ),
                    "mean_size": resampled(resamples.means(size), len(rows)),
                    "empty": float((size == 0).mean()),
                    "single": float((size == 1).mean()),
                }
            )
    return report
