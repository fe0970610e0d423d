"""Decisions fitted on validation predictions and evaluated on others.

They are a temperature, conformal sets and thresholds, stored in `evaluate/<split>_decisions.json`.
None of them is fitted on the data that it is evaluated on.
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
      table: predictions to evaluate on.
      validation: predictions of the same model to fit on; no image may be in both.
      resamples: resamples of the groups of `table`.
      metrics: the entry `metrics` of `performance(table)`, if already computed.

    Returns:
      `validation` (number of images), `temperature`, `conformal` (by method), `operating_points`
      and `decision_curve`, which uses the probabilities after temperature scaling.
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
    """Quality of probabilities before and after temperature scaling.

    Args:
      table: see `decisions_report`, as for all arguments.
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
      For each method a list with one row per `target` coverage: `threshold` (None if the validation
      set is too small, so that sets hold every class), the measured `coverage`, `mean_size`, and
      the shares of sets that are `empty` and that hold a `single` class. The last four are entries
      with intervals.
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
