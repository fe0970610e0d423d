"""Quality of probabilities: proper scores and calibration error."""

import dataclasses

import numpy as np

from cervix_jax.statistics.resampling import Resamples

BINS = 15
# Smallest probability in logarithms, so that one confident error does not make the sum infinite.
SMALLEST = 1e-12
# Number of random numbers drawn at a time, so that memory does not grow with the rows.
_DRAWN = 4_000_000


def negative_log_likelihood(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """-log p of each label in nats, float64 [N], for labels [N] and probabilities [N, C]."""
    given = np.take_along_axis(probabilities, labels[:, None], axis=-1)[:, 0]
    return -np.log(np.clip(given, SMALLEST, 1))


def brier(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Squared distance of each row from its one-hot label, in [0, 2] (Brier 1950, eq. 2)."""
    wanted = np.eye(probabilities.shape[1])[labels]
    return np.square(probabilities - wanted).sum(-1)


@dataclasses.dataclass(frozen=True)
class Confidences:
    """Confidence of every prediction, and its bin.

    Attributes:
      confidence: float [N], probability of the predicted class.
      correct: bool [N].
      bin: int [N].
      num_bins: number of bins; empty ones have no weight.
    """

    confidence: np.ndarray
    correct: np.ndarray
    bin: np.ndarray
    num_bins: int


def bin_confidences(
    labels: np.ndarray, probabilities: np.ndarray, *, equal_mass: bool = False, bins: int = BINS
) -> Confidences:
    """Assign predictions to bins of confidence.

    Args:
      labels: int [N].
      probabilities: float [N, C].
      equal_mass: bins with equally many predictions (fewer bins if confidences tie, as equal ones
        share a bin), rather than bins of equal width, (0, 1/15], (1/15, 2/15], ...
      bins: number of bins.
    """
    confidence = probabilities.max(-1)
    if equal_mass:
        inner = np.unique(np.quantile(confidence, np.arange(1, bins) / bins))
    else:
        inner = np.arange(1, bins) / bins
    index = np.searchsorted(inner, confidence, side="left")
    return Confidences(confidence, probabilities.argmax(-1) == labels, index, len(inner) + 1)


def expected_calibration_error(resamples: Resamples, binned: Confidences) -> np.ndarray:
    """Mean distance of confidence and accuracy over bins, weighted by number of predictions.

    Guo et al. (2017), eq. 3 (equal width); Nguyen and O'Connor (2015) for equal mass. All resamples
    use the bins of the data. The error is biased upwards, as distances are positive: a calibrated
    model has some by chance (`calibration_error_by_chance`), and a resample more than the data.

    Returns:
      float64 [1 + R], in [0, 1], of the data and of every resample.
    """
    gaps = np.zeros((len(binned.bin), binned.num_bins))
    gaps[np.arange(len(gaps)), binned.bin] = binned.confidence - binned.correct
    return np.abs(resamples.sums(gaps)).sum(-1) / resamples.sizes


def calibration_error_by_chance(
    binned: Confidences, *, quantile: float = 0.95, draws: int = 1000, seed: int = 0
) -> float:
    """Calibration error that a given share of samples from a calibrated model does not exceed.

    Consistency resampling (Broecker and Smith 2007): every prediction is right with the probability
    it states, independently. An observed error below this value is no sign of miscalibration.

    Args:
      binned: confidences in their bins.
      quantile: the share, in (0, 1).
      draws: number of samples to draw.
      seed: seed of the draws.
    """
    order = np.argsort(binned.confidence, kind="stable")  # so the order of rows has no effect
    confidence, count = binned.confidence[order], len(order)
    # Counts per bin stay exact in float32 up to 16 million.
    inside = np.eye(binned.num_bins, dtype=np.float32)[binned.bin[order]]
    random = np.random.default_rng(seed)
    sums = np.bincount(binned.bin, binned.confidence, binned.num_bins)
    errors = np.empty(draws)
    step = max(_DRAWN // max(count, 1), 1)
    for start in range(0, draws, step):
        rows = slice(start, min(start + step, draws))
        right = random.random((rows.stop - start, count)) < confidence
        errors[rows] = np.abs(sums - right.astype(np.float32) @ inside).sum(1) / count
    return float(np.quantile(errors, quantile))
