"""Decision curves: net benefit of following a screening test, compared with treating all or none.

Vickers and Elkin, "Decision curve analysis", Medical Decision Making 2006. Following up from a
probability t upwards means that a missed lesion is weighed as (1 - t) / t needless follow-ups. The
net benefit is in units of lesions found: TP / n - FP / n * t / (1 - t).
"""

from typing import Any

import numpy as np

from cervix_jax.statistics.intervals import ANY, group_interval, listed
from cervix_jax.statistics.resampling import Resamples
from cervix_jax.statistics.table import PredictionTable

# Denser at low probabilities, where screening decisions are made.
THRESHOLDS = (*(step / 100 for step in range(1, 10)), *(step / 20 for step in range(2, 20)), 0.99)


def decision_curve(table: PredictionTable, resamples: Resamples) -> dict[str, Any] | None:
    """Net benefit of calling images abnormal from a threshold upwards, over many thresholds.

    The net benefit depends on the share of abnormal images, which in most published data sets is
    far above that of a screening population, and requires calibrated probabilities. Intervals are
    pointwise.

    Args:
      table: labelled predictions.
      resamples: resamples of their groups.

    Returns:
      `positive` (name of the class to detect), `n`, `prevalence`, and lists with one item for each
      of `thresholds`: `net_benefit`, `treat_all`, and `gain`, the net benefit minus the larger of
      that of treating all and that of treating none, which is 0. `interval_by_group` belongs to
      `net_benefit` and `gain_interval_by_group` to `gain`; an interval is None if resamples do not
      vary. None if no class is known to be negative.
    """
    screened = table.screened()
    if screened is None:
        return None
    thresholds = np.asarray(THRESHOLDS)
    odds = thresholds / (1 - thresholds)
    model, all_treated, prevalence = _net_benefit(screened, resamples, thresholds)
    gain = model - np.maximum(all_treated, 0.0)
    groups = resamples.num_groups
    return {
        "positive": screened.class_names[1],
        "n": len(screened.labels),
        "prevalence": prevalence,
        "thresholds": list(THRESHOLDS),
        "net_benefit": model[0].tolist(),
        "interval_by_group": [
            listed(group_interval(values, groups, (-worst, 1.0)))
            for values, worst in zip(model.T, odds.tolist(), strict=True)
        ],
        "treat_all": all_treated[0].tolist(),
        "gain": gain[0].tolist(),
        "gain_interval_by_group": [
            listed(group_interval(values, groups, ANY)) for values in gain.T
        ],
    }


def _net_benefit(
    screened: PredictionTable, resamples: Resamples, thresholds: np.ndarray
) -> tuple[np.ndarray, np.ndarray, float]:
    """Net benefit of predictions and of treating all, float64 [1 + R, T]; and the prevalence."""
    reached = np.searchsorted(thresholds, screened.probabilities[:, 1], side="right")
    size = len(thresholds) + 1
    counts = resamples.counts(2 * reached + screened.labels, 2 * size).reshape(-1, size, 2)
    # Scores that reach a threshold also reach all lower ones.
    called = counts[:, ::-1].cumsum(1)[:, ::-1] / resamples.sizes[:, None, None]
    odds = thresholds / (1 - thresholds)
    benefit = called[..., 1] - called[..., 0] * np.append(0.0, odds)
    negative, positive = called[:, 0].T
    return benefit[:, 1:], positive[:, None] - negative[:, None] * odds, float(positive[0])
