"""Split-conformal sets: sets of classes that contain the true class with a stated probability.

The guarantee holds on average over images that are exchangeable with the validation images. A new
slide or stain breaks this assumption, and images of one slide are not independent; therefore
measure the coverage too.
"""

import math

import numpy as np

METHODS = ("lac", "aps")


def lac_scores(probabilities: np.ndarray) -> np.ndarray:
    """1 - p of every class, float [N, C]: the least ambiguous classifier (Sadinle et al. 2019)."""
    return 1 - probabilities


def aps_scores(probabilities: np.ndarray, uniform: np.ndarray) -> np.ndarray:
    """Probability of all likelier classes plus a random share of the class's own, float [N, C].

    Adaptive prediction sets (Romano, Sesia and Candes 2020, eq. 7). Without the random share the
    sets are larger than necessary; with it, coverage is exact.

    Args:
      probabilities: float [N, C].
      uniform: float [N], the random shares, drawn uniformly from [0, 1].
    """
    order = np.argsort(-probabilities, axis=1, kind="stable")
    falling = np.take_along_axis(probabilities, order, axis=1)
    score = np.cumsum(falling, axis=1) - falling * (1 - uniform[:, None])
    return np.take_along_axis(score, np.argsort(order, axis=1), axis=1)


def conformal_threshold(scores: np.ndarray, coverage: float) -> float:
    """Threshold that the score of a new image does not exceed with at least the given probability.

    Args:
      scores: float [n], of the true class of exchangeable images (Vovk et al. 2005).
      coverage: probability in (0, 1).

    Returns:
      The ceil((n + 1) coverage)-th smallest score; infinite if n is too small for it.
    """
    # Round first: a rounding error of 1e-15 in (n + 1) * 0.9 must not raise the ceiling by one.
    rank = math.ceil(round((len(scores) + 1) * coverage, 9))
    return float(np.sort(scores)[rank - 1]) if rank <= len(scores) else math.inf


def prediction_sets(
    method: str,
    validation: tuple[np.ndarray, np.ndarray],
    probabilities: np.ndarray,
    coverage: float,
    seed: int = 0,
) -> tuple[np.ndarray, float]:
    """Sets of classes that contain the true class with a stated probability.

    Args:
      method: "lac" (smallest sets) or "aps" (larger sets for harder images).
      validation: labels int [n] and probabilities float [n, C] of images that the model was not
        trained on.
      probabilities: float [N, C], of the images to make sets for.
      coverage: target probability, in (0, 1).
      seed: seed of the random shares of "aps".

    Returns:
      bool [N, C], one set per row, which may be empty; and the threshold of the scores.
    """
    labels, known = validation
    if method == "lac":
        own, new = lac_scores(known), lac_scores(probabilities)
    else:
        random = np.random.default_rng(seed)
        own = aps_scores(known, random.random(len(known)))
        new = aps_scores(probabilities, random.random(len(probabilities)))
    threshold = conformal_threshold(np.take_along_axis(own, labels[:, None], 1)[:, 0], coverage)
    return new <= threshold, threshold
