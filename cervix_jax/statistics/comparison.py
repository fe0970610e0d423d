"""Tests for a difference between two classifiers, on the same test images and over folds."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from scipy.stats import binomtest, t, wilcoxon

from cervix_jax.statistics import confusion
from cervix_jax.statistics.intervals import CONFIDENCE
from cervix_jax.statistics.resampling import Resamples
from cervix_jax.statistics.scores import negative_log_likelihood
from cervix_jax.statistics.table import PredictionTable


@dataclasses.dataclass(frozen=True)
class McNemar:
    """Images on which exactly one of two classifiers is right.

    Attributes:
      only_first: number right by the first alone.
      only_second: number right by the second alone.
      p_value: two-sided, exact; the null hypothesis is equal accuracy.
    """

    only_first: int
    only_second: int
    p_value: float


def mcnemar(first: np.ndarray, second: np.ndarray) -> McNemar:
    """Exact McNemar test (McNemar 1947; binomial, as Fagerland et al. 2013, section 2).

    Args:
      first: bool [N], whether the first classifier is right.
      second: bool [N], the second, on the same images; images are assumed independent.
    """
    only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
    apart = only_first + only_second
    p_value = float(binomtest(only_first, apart).pvalue) if apart else 1.0
    return McNemar(only_first, only_second, p_value)


def confusions(resamples: Resamples, table: PredictionTable) -> np.ndarray:
    """Confusion matrices of the data and of each resample, float64 [1 + R, C, C]."""
    size = len(table.class_names)
    counts = resamples.counts(table.labels * size + table.predicted, size * size)
    return counts.reshape(-1, size, size)


def _nll(resamples: Resamples, table: PredictionTable) -> np.ndarray:
    return resamples.means(negative_log_likelihood(table.labels, table.probabilities))


# Metrics as float64 [1 + R]: the value in the data, then in each resample.
PairedMetric = Callable[[Resamples, PredictionTable], np.ndarray]
COMPARED: dict[str, PairedMetric] = {
    "accuracy": lambda resamples, table: confusion.accuracy(confusions(resamples, table)),
    "balanced accuracy": lambda resamples, table: confusion.balanced_accuracy(
        confusions(resamples, table)
    ),
    "NLL": _nll,
}


def paired_bootstrap(
    pairs: Sequence[tuple[PredictionTable, PredictionTable]],
    metrics: Mapping[str, PairedMetric] = COMPARED,
    *,
    seed: int = 0,
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Metrics of two classifiers in the same resamples of groups, so that differences are paired.

    Args:
      pairs: predictions of the first and the second classifier on the same images in the same
        order. Several pairs (seeds) hold the same images; each resample averages their metrics.
      metrics: functions by name.
      seed: seed of the bootstrap.

    Returns:
      For each metric two float64 [1 + R], of the first and of the second classifier.
    """
    resamples = Resamples(pairs[0][0].groups, seed=seed)
    found = {}
    for name, metric in metrics.items():
        sides = [[metric(resamples, pair[side]) for pair in pairs] for side in (0, 1)]
        found[name] = (np.mean(sides[0], axis=0), np.mean(sides[1], axis=0))
    return found


@dataclasses.dataclass(frozen=True)
class FoldTest:
    """A difference over the folds of a cross-validation.

    Attributes:
      mean: mean difference.
      interval: 95 %, by the corrected t-test; None if all folds have the same difference, or there
        is only one.
      p_t: two-sided, corrected resampled t-test; None if `interval` is None, but 1 if all
        differences are 0.
      p_wilcoxon: two-sided, signed ranks; with k folds it cannot be less than 2 / 2^k.
    """

    mean: float
    interval: tuple[float, float] | None
    p_t: float | None
    p_wilcoxon: float | None


def fold_test(differences: np.ndarray, test_per_train: float) -> FoldTest:
    """Corrected resampled t-test (Nadeau and Bengio 2003, eq. 7) and Wilcoxon's signed-rank test.

    Training sets of different folds overlap, so their results are not independent, and the plain
    t-test underestimates the variance. The correction adds n_test / n_train to 1 / k.

    Args:
      differences: float [k], first minus second, one per fold.
      test_per_train: n_test / n_train.
    """
    count, mean = len(differences), float(differences.mean())
    if count < 2:
        return FoldTest(mean, None, None, None)
    error = float(np.sqrt((1 / count + test_per_train) * differences.var(ddof=1)))
    half = float(t.ppf((1 + CONFIDENCE) / 2, count - 1)) * error
    if np.allclose(differences, 0, atol=1e-15):
        return FoldTest(mean, None, 1.0, 1.0)
    signed_ranks: Any = wilcoxon(differences)
    p_wilcoxon = float(signed_ranks.pvalue)
    if error < 1e-12:
        return FoldTest(mean, None, None, p_wilcoxon)
    p_t = float(2 * t.sf(abs(mean) / error, count - 1))
    return FoldTest(mean, (mean - half, mean + half), p_t, p_wilcoxon)
