"""Quality of probabilities: proper scores and the calibration error."""

import dataclasses

import numpy as np

from cervix_jax.statistics.resampling import Resamples

BINS = 15
# Probabilities are told apart from 0 down to here, so that one wrong certainty is not infinite.
SMALLEST = 1e-12
# Random numbers that are drawn at a time, so that memory does not grow with the rows.
_DRAWN = 4_000_000


def negative_log_likelihood(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Surprise at each label in nats, float64 [N], for labels [N] and probabilities [N, C]."""
    given = np.take_along_axis(probabilities, labels[:, None], axis=-1)[:, 0]
    return -np.log(np.clip(given, SMALLEST, 1))


def brier(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Squared distance of each row from certainty of its label, in [0, 2] (Brier 1950, eq. 2)."""
    wanted = np.eye(probabilities.shape[1])[labels]
    return np.square(probabilities - wanted).sum(-1)


@dataclasses.dataclass(frozen=True)
class Confidences:
    """How sure every prediction is, and in which bin of confidence it lies.

    Attributes:
      confidence: float [N], probability of the predicted class.
      correct: bool [N].
      bin: int [N].
      num_bins: how many there are; empty ones count for nothing.
    """

    confidence: np.ndarray
    correct: np.ndarray
    bin: np.ndarray
    num_bins: int


def bin_confidences(
    labels: np.ndarray, probabilities: np.ndarray, *, equal_mass: bool = False, bins: int = BINS
) -> Confidences:
    """Sort predictions into bins of confidence.

    Args:
      labels: int [N].
      probabilities: float [N, C].
      equal_mass: bins with equally many predictions (fewer where confidences tie: equal ones
        share a bin), rather than bins of equal width, (0, 1/15], (1/15, 2/15], ...
      bins: how many.
    """
    confidence = probabilities.max(-1)
    if equal_mass:
        inner = np.unique(np.quantile(confidence, np.arange(1, bins) / bins))
    else:
        inner = np.arange(1, bins) / bins
    index = np.searchsorted(inner, confidence, side="left")
    return Confidences(confidence, probabilities.argmax(-1) == labels, index, len(inner) + 1)


def expected_calibration_error(resamples: Resamples, binned: Confidences) -> np.ndarray:
    """Mean distance of confidence and accuracy over bins, each weighted by its predictions.

    Guo et al. (2017), eq. 3 (equal width); Nguyen and O'Connor (2015) for equal mass. In a resample
    the bins stay those of the data. The error is biased upwards, since |x| is: chance alone gives a
    calibrated model some (`calibration_error_by_chance`), and a resample has more than the data.

    Returns:
      float64 [1 + R], in [0, 1], of the data and of every resample.
    """
    gaps = np.zeros((len(binned.bin), binned.num_bins))
    gaps[np.arange(len(gaps)), binned.bin] = binned.confidence - binned.correct
    return np.abs(resamples.sums(gaps)).sum(-1) / resamples.sizes


def calibration_error_by_chance(
    binned: Confidences, *, quantile: float = 0.95, draws: int = 1000, seed: int = 0
) -> float:
    """The calibration error that a calibrated model stays below in a share of such samples.

    Consistency resampling (Broecker and Smith 2007): every prediction is right with the probability
    it states, independently. An observed error below this is no sign of miscalibration.

    Args:
      binned: confidences in their bins.
      quantile: that share, in (0, 1).
      draws: how many samples to draw.
      seed: of the draws.
    """
    order = np.argsort(binned.confidence, kind="stable")  # whatever the order of the predictions
    confidence, count = binned.confidence[order], len(order)
    # Counts of a bin stay exact in float32 up to 16 million.
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
