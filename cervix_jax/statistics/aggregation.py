"""Fixed (not learned) rules that combine the predictions of a group's images."""

from collections.abc import Callable
from typing import Any

import numpy as np

from cervix_jax.statistics.intervals import proportion
from cervix_jax.statistics.resampling import Resamples
from cervix_jax.statistics.scores import SMALLEST
from cervix_jax.statistics.table import UNKNOWN, PredictionTable


def mean_log_probability(probabilities: np.ndarray) -> np.ndarray:
    """Normalised geometric mean: the root of the product of experts (Hinton 2002).

    Args:
      probabilities: float [N, C], of the images of one group.

    Returns:
      float [C], which sums to 1; the other rules take and return the same.
    """
    mean = np.log(np.maximum(probabilities, SMALLEST)).mean(0)
    return _normalised(np.exp(mean - mean.max()))


def mean(probabilities: np.ndarray) -> np.ndarray:
    """Arithmetic mean."""
    return probabilities.mean(0)


def vote(probabilities: np.ndarray) -> np.ndarray:
    """Share of the images for which each class is the most probable.

    The mean probability counts as one more vote. It breaks ties and decides nothing else, since it
    is less than a whole vote.
    """
    votes = np.bincount(probabilities.argmax(1), minlength=probabilities.shape[1])
    return (votes + probabilities.mean(0)) / (len(probabilities) + 1)


def noisy_or(probabilities: np.ndarray) -> np.ndarray:
    """Probability that any image shows the class: 1 - prod(1 - p) (Pearl 1988), normalised.

    Computed with logarithms, as products of many numbers near 0 would underflow.
    """
    absent = np.log1p(-np.minimum(probabilities, 1 - SMALLEST)).sum(0)
    return _normalised(-np.expm1(absent))


RULES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "mean_log_probability": mean_log_probability,
    "mean": mean,
    "vote": vote,
    "noisy_or": noisy_or,
}


def aggregate(table: PredictionTable, rule: str) -> tuple[PredictionTable, list[str]]:
    """Predict groups from the predictions of their images.

    Args:
      table: predictions of images.
      rule: one of `RULES`.

    Returns:
      One row per group whose images share a label, sorted by name, and the names of other groups.
    """
    names, index = np.unique(table.groups, return_inverse=True)
    kept, mixed, labels, rows = [], [], [], []
    order = np.argsort(index, kind="stable")
    for name, members in zip(
        names.tolist(), np.split(order, np.cumsum(np.bincount(index))[:-1]), strict=True
    ):
        own = np.unique(table.labels[members])
        if len(own) != 1 or own[0] == UNKNOWN:
            mixed.append(name)
            continue
        kept.append(name)
        labels.append(own[0])
        rows.append(RULES[rule](table.probabilities[members]))
    probabilities = np.asarray(rows).reshape(len(rows), len(table.class_names))
    groups = np.asarray(kept, str)
    return PredictionTable(
        tuple(kept), groups, np.asarray(labels, np.int64), probabilities, table.class_names
    ), mixed


def aggregation_report(table: PredictionTable) -> dict[str, Any] | None:
    """Accuracy over groups under every rule.

    Returns:
      `groups` (number counted), `mixed` (number left out, as they hold several labels) and
      `accuracy`: rule to entry, with groups as the units counted; None if every image is its own
      group.
    """
    if len(set(table.groups.tolist())) == len(table.groups):
        return None
    joined = {rule: aggregate(table, rule) for rule in RULES}
    groups, mixed = next(iter(joined.values()))
    total = len(groups.labels)
    resamples = Resamples(groups.groups) if total else None
    accuracy = {}
    for rule, (found, _) in joined.items():
        right = found.correct
        statistic = resamples.means(right) if resamples else np.full(1, np.nan)
        accuracy[rule] = proportion(
            int(right.sum()), total, statistic, total, "no group whose images share a label"
        )
    return {"groups": total, "mixed": len(mixed), "accuracy": accuracy}


def _normalised(values: np.ndarray) -> np.ndarray:
    return values / values.sum()
