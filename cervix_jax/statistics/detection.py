"""Detection of points: matching of found and marked points, recall against detections per field."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from scipy.spatial import KDTree

from cervix_jax.statistics.intervals import wilson_interval

# Detections per field at which recall is reported.
BUDGETS = (20, 30, 40, 60, 80, 100, 200)


def match_points(found: np.ndarray, marked: np.ndarray, tolerance: float) -> np.ndarray:
    """Match each marked point to at most one found point within a tolerance, greedily.

    Found points are processed in the order given, the most probable first. Each takes the nearest
    marked point that is still unmatched.

    Args:
      found: float [n, 2].
      marked: float [m, 2].
      tolerance: greatest distance, in the unit of the points.

    Returns:
      int [m], index of the found point matched to each marked one, or -1.
    """
    matched = np.full(len(marked), -1)
    if not len(found) or not len(marked):
        return matched
    near = KDTree(marked).query_ball_point(found, tolerance)
    for number, candidates in enumerate(near):
        free = [k for k in candidates if matched[k] < 0]
        if free:
            away = np.hypot(*(marked[free] - found[number]).T)
            matched[free[int(away.argmin())]] = number
    return matched


@dataclasses.dataclass(frozen=True)
class FieldDetections:
    """Detections in one field.

    Attributes:
      group: name of the field.
      scores: float [n], of all found points.
      hits: float [m], score of the point matched to each marked one; -inf if it was missed.
    """

    group: str
    scores: np.ndarray
    hits: np.ndarray

    @classmethod
    def of(
        cls, group: str, found: np.ndarray, scores: np.ndarray, marked: np.ndarray, tolerance: float
    ) -> "FieldDetections":
        """From points float [n, 2], their scores in falling order, and marked points [m, 2]."""
        matched = match_points(found, marked, tolerance)
        hits = np.where(matched >= 0, scores[matched] if len(scores) else -np.inf, -np.inf)
        return cls(group, np.asarray(scores, np.float64), hits)


def detection_curve(fields: Sequence[FieldDetections]) -> dict:
    """Recall and precision at every threshold; JSON-ready.

    Precision counts a found point that was not marked as wrong. If experts marked only some of the
    nuclei, precision is a lower bound.

    Returns:
      `threshold, detections_per_field, recall, precision`, lists of at most 400 points, by falling
      threshold.
      400 points.
    """
    scores = np.sort(np.concatenate([field.scores for field in fields]))[::-1]
    hits = np.concatenate([field.hits for field in fields])
    if not len(scores) or not len(hits):
        return {"threshold": [], "detections_per_field": [], "recall": [], "precision": []}
    ranks = np.unique(np.linspace(1, len(scores), 400).round().astype(int))
    thresholds = scores[ranks - 1]
    rising = np.sort(hits)
    right = len(hits) - np.searchsorted(rising, thresholds, side="left")
    counts = np.searchsorted(-scores, -thresholds, side="right")
    return {
        "threshold": thresholds.tolist(),
        "detections_per_field": (counts / len(fields)).tolist(),
        "recall": (right / len(hits)).tolist(),
        "precision": (right / counts).tolist(),
    }


def threshold_for(fields: Sequence[FieldDetections], per_field: float) -> float:
    """The lowest threshold with at most `per_field` detections per field on average."""
    scores = np.sort(np.concatenate([field.scores for field in fields]))[::-1]
    most = int(per_field * len(fields))
    return (
        float(scores[most - 1]) if most < len(scores) else float(scores[-1] if len(scores) else 0)
    )


def threshold_of_best_f(fields: Sequence[FieldDetections], beta: float = 2.0) -> float:
    """The threshold with the greatest F-measure; recall has `beta` times the weight of precision.

    If experts marked only some of the nuclei, precision is too low, and so the threshold too high.
    """
    curve = detection_curve(fields)
    if not curve["threshold"]:
        return 0.0
    precision, recall = (np.asarray(curve[name]) for name in ("precision", "recall"))
    share = precision * recall / np.maximum(beta**2 * precision + recall, 1e-12)
    return float(curve["threshold"][int(share.argmax())])


def recall_at(
    fields: Sequence[FieldDetections], threshold: float, draws: int = 1000
) -> dict[str, float | int | list[float]]:
    """Recall, precision and detections per field at a threshold, with two 95 % intervals of recall.

    Returns:
      `threshold, marked, found, recall, wilson` (assumes independent points), `by_field`
      (percentiles of a bootstrap over fields), `precision, detections_per_field`.
    """
    right = np.asarray([(field.hits >= threshold).sum() for field in fields])
    marked = np.asarray([len(field.hits) for field in fields])
    found = int(sum((field.scores >= threshold).sum() for field in fields))
    total = int(marked.sum())
    drawn = np.random.default_rng(0).integers(len(fields), size=(draws, len(fields)))
    recalls = right[drawn].sum(1) / np.maximum(marked[drawn].sum(1), 1)
    low, high = wilson_interval(int(right.sum()), total)
    return {
        "threshold": threshold,
        "marked": total,
        "found": int(right.sum()),
        "recall": float(right.sum() / max(total, 1)),
        "wilson": [float(low), float(high)],
        "by_field": np.percentile(recalls, [2.5, 97.5]).tolist(),
        "precision": float(right.sum() / max(found, 1)),
        "detections_per_field": found / len(fields),
    }
