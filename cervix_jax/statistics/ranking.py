"""Ranking of a class above the rest by a score: AUROC, average precision, operating points."""

import dataclasses

import numpy as np
from sklearn.metrics import roc_curve

from cervix_jax.statistics.confusion import quotient
from cervix_jax.statistics.resampling import Resamples


def auroc_and_average_precision(
    resamples: Resamples, scores: np.ndarray, positive: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Area under the ROC curve and average precision, in the data and in every resample.

    The definitions are scikit-learn's: ties count one half in the AUROC (Mann-Whitney), and the
    average precision sums precision times gain of recall over the distinct scores.

    Args:
      resamples: of the N examples.
      scores: float [N], higher for the class.
      positive: bool [N], whether an example is of the class.

    Returns:
      Two float64 [1 + R]; NaN where the class, or (for the AUROC) the rest, has no example.
    """
    order = np.argsort(-scores, kind="stable")
    falling, is_positive = scores[order], positive[order]
    ends = np.append(
        np.flatnonzero(np.diff(falling)), len(order) - 1
    )  # last of each distinct score
    # Only scores of positives count: each is compared with the examples that score higher.
    places = np.flatnonzero(is_positive)
    level = np.searchsorted(ends, places)
    last = np.flatnonzero(np.diff(level, append=-1))  # last positive of each such score
    own = level[last]
    stop, start = ends[own], np.where(own > 0, ends[own - 1], -1) + 1
    auroc, precision = np.full((2, len(resamples.weights)), np.nan)
    if not len(places):
        return auroc, precision
    for rows, weights in resamples.example_weights(order):
        above = np.zeros((len(weights), len(order) + 1))
        np.cumsum(weights, axis=1, out=above[:, 1:])
        hits = np.cumsum(weights[:, places], axis=1, dtype=np.float64)[:, last]
        gained = np.diff(hits, prepend=0.0)
        predicted = above[:, stop + 1]
        false_above, false = above[:, start], predicted - above[:, start] - gained
        false_above = false_above - (hits - gained)
        total = hits[:, -1]
        negative = above[:, -1] - total
        # Every positive counts the negatives below it, and half of those with the same score.
        pairs = (gained * (negative[:, None] - false_above - false / 2)).sum(1)
        auroc[rows] = quotient(pairs, total * negative)
        # If the first groups have weight 0, nothing is predicted yet, and there is no gain.
        precision[rows] = quotient((gained * hits / np.maximum(predicted, 1.0)).sum(1), total)
    return auroc, precision


@dataclasses.dataclass(frozen=True)
class OperatingPoint:
    """A threshold: scores of at least this value are called positive.

    Attributes:
      held: "specificity" or "sensitivity": the quantity that was fixed.
      target: its fixed value, in (0, 1).
      threshold: the score; infinite if nothing may be called positive.
    """

    held: str
    target: float
    threshold: float


def choose_threshold(
    scores: np.ndarray, positive: np.ndarray, held: str, target: float
) -> OperatingPoint | None:
    """The threshold that reaches a target for sensitivity or specificity and maximises the other.

    Args:
      scores: float [N], higher for the class.
      positive: bool [N].
      held: "specificity" or "sensitivity", the quantity with the target.
      target: its minimum, in (0, 1).

    Returns:
      None if there are no positives or no negatives.
    """
    if not 0 < positive.sum() < len(positive):
        return None
    false_rate, true_rate, thresholds = roc_curve(positive, scores, drop_intermediate=False)
    # Thresholds fall, so sensitivity rises and specificity falls along them.
    if held == "specificity":
        chosen = np.flatnonzero(1 - false_rate >= target)[-1]
    else:
        chosen = np.flatnonzero(true_rate >= target)[0]
    return OperatingPoint(held, target, float(thresholds[chosen]))
