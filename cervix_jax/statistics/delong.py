"""DeLong's test: whether two scores of the same images differ in their AUROC."""

import dataclasses

import numpy as np
from scipy.stats import norm, rankdata

from cervix_jax.statistics.intervals import CONFIDENCE


@dataclasses.dataclass(frozen=True)
class AurocComparison:
    """Two areas under the ROC curve, and how sure their difference is.

    Attributes:
      aurocs: of the first and the second score, in [0, 1].
      covariance: float [2, 2], of the two.
      interval: 95 %, normal, of the first less the second; None where it has no variance.
      p_value: two-sided, of equal areas; None where the difference has no variance but is not 0.
    """

    aurocs: tuple[float, float]
    covariance: np.ndarray
    interval: tuple[float, float] | None
    p_value: float | None


def delong(first: np.ndarray, second: np.ndarray, positive: np.ndarray) -> AurocComparison | None:
    """Compare two AUROCs on the same images (DeLong et al. 1988), which it takes for independent.

    By midranks, in O(N log N): Sun and Xu, IEEE Signal Processing Letters 21 (2014), algorithm 2.

    Args:
      first: float [N], one score, higher for the class.
      second: float [N], the other.
      positive: bool [N].

    Returns:
      None where either side has fewer than two images, as then it has no variance.
    """
    positives, negatives = int(positive.sum()), int((~positive).sum())
    if min(positives, negatives) < 2:
        return None
    scores = np.stack([first, second])
    within_positive = rankdata(scores[:, positive], axis=1)
    within_negative = rankdata(scores[:, ~positive], axis=1)
    overall = rankdata(scores, axis=1)
    # Share of the negatives below each positive, and of the positives above each negative.
    above = (overall[:, positive] - within_positive) / negatives
    below = 1 - (overall[:, ~positive] - within_negative) / positives
    aurocs = above.mean(1)
    covariance = np.cov(above) / positives + np.cov(below) / negatives
    difference = float(aurocs[0] - aurocs[1])
    variance = float(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    areas = float(aurocs[0]), float(aurocs[1])
    if variance < 1e-15:
        return AurocComparison(areas, covariance, None, 1.0 if abs(difference) < 1e-12 else None)
    error = np.sqrt(variance)
    half = float(norm.ppf((1 + CONFIDENCE) / 2) * error)
    p_value = float(2 * norm.sf(abs(difference) / error))
    return AurocComparison(areas, covariance, (difference - half, difference + half), p_value)
