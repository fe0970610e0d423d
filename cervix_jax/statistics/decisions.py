"""What was settled on validation predictions, judged on others: `evaluate/<split>_decisions.json`.

A temperature, conformal sets and thresholds. Nothing here is fitted on the data it is judged by.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from cervix_jax.statistics.conformal import METHODS, prediction_sets
from cervix_jax.statistics.decision_curve import decision_curve
from cervix_jax.statistics.intervals import proportion, resampled
from cervix_jax.statistics.performance import operating_points, probability_metrics
from cervix_jax.statistics.resampling import Resamples
from cervix_jax.statistics.table import PredictionTable
from cervix_jax.statistics.temperature import fit_temperature, scaled

COVERAGES = (0.9, 0.95)


def decisions_report(
    table: PredictionTable,
    validation: PredictionTable,
    resamples: Resamples,
    metrics: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Temperature, conformal sets and operating points.

    Args:
      table: predictions to judge by.
      validation: predictions of the same model to decide on; no image in both.
      resamples: of the groups of `table`.
      metrics: what `performance` has under that name for `table`, if it is known already.

    Returns:
      `validation` (how many), `temperature`, `conformal` (by method), `operating_points` and
      `decision_curve`, of the probabilities after temperature scaling.
    """
    scaling = temperature_report(table, validation, resamples, metrics)
    return {
        "validation": {
            "n": len(validation.labels),
            "groups": len(set(validation.groups.tolist())),
            "groups_shared": len(set(validation.groups.tolist()) & set(table.groups.tolist())),
        },
        "temperature": scaling,
        "conformal": conformal_report(table, validation, resamples),
        "operating_points": operating_points(table, resamples, validation),
        "decision_curve": decision_curve(scaled(table, scaling["temperature"]), resamples),
    }


def temperature_report(
    table: PredictionTable,
    validation: PredictionTable,
    resamples: Resamples,
    metrics: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Probabilities before and after temperature scaling.

    Args:
      table: see `decisions_report`, as all that follow.
      validation: see there.
      resamples: see there.
      metrics: see there.

    Returns:
      `temperature`, its `n` and any problem as `why`; `before` and `after`, each with `nll,
      brier, ece_equal_width, ece_equal_mass`.
    """
    fitted = fit_temperature(validation)
    report: dict[str, Any] = {"temperature": fitted.value, "n": fitted.n}
    if fitted.problem:
        report["why"] = fitted.problem
    after = probability_metrics(scaled(table, fitted.value), resamples)
    if metrics is None:
        metrics = probability_metrics(table, resamples)
    return report | {"before": {name: metrics[name] for name in after}, "after": after}


def conformal_report(
    table: PredictionTable, validation: PredictionTable, resamples: Resamples
) -> dict[str, Any]:
    """Coverage and size of split-conformal sets.

    Returns:
      For each method a list, a row for each `target` coverage: `threshold` (None where the
      validation set is too small and sets hold every class), `coverage` measured, `mean_size`,
      and the shares of sets that are `empty` and that hold a `single` class: entries with their
      intervals.
    """

    def share(hits: np.ndarray) -> dict[str, Any]:
        means = resamples.means(hits)
        return proportion(hits.sum(), len(hits), means, resamples.num_groups, "no example")

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
                    "coverage": share(covered),
                    "mean_size": resampled(
                        resamples.means(size),
                        len(rows),
                        resamples.num_groups,
                        bounds=(0.0, sets.shape[1]),
                    ),
                    "empty": share(size == 0),
                    "single": share(size == 1),
                }
            )
    return report
