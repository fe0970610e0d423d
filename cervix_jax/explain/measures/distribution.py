"""How an explanation is spread over the pixels: on few, or on all of them.

All take the absolute value after reducing the channels, do not depend on the map's scale, and are
NaN for a map of zeros.
"""

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import entropy

from cervix_jax.explain.measures.maps import Reduction, reduce_channels


def sparseness(maps: ArrayLike, *, reduction: Reduction = "sum") -> np.ndarray:
    """Gini index of the pixels (Chalasani et al. 2020; Hurley and Rickard 2009).

    sum_i (2 i - n - 1) a_(i) / (n sum_i a_i), a sorted upwards.

    Args:
      maps: float [N, H, W, C] or [N, H, W].
      reduction: see `reduce_channels`.

    Returns:
      float64 [N]: 0 where all pixels are equal, 1 - 1/n where one has everything.
    """
    shares = _shares(maps, reduction)
    count = shares.shape[1]
    weights = 2 * np.arange(1, count + 1) - count - 1
    return np.sort(shares, axis=1) @ weights / count


def complexity(maps: ArrayLike, *, reduction: Reduction = "sum") -> np.ndarray:
    """Entropy in nats of the pixels' shares of |a| (Bhatt, Weller and Moura 2020).

    Args:
      maps: float [N, H, W, C] or [N, H, W].
      reduction: see `reduce_channels`.

    Returns:
      float64 [N]: 0 where one pixel has everything, log n where all are equal.
    """
    shares = _shares(maps, reduction)
    zero = np.isnan(shares).any(axis=1)
    return np.where(zero, np.nan, entropy(np.where(zero[:, None], 1.0, shares), axis=1))


def effective_complexity(
    maps: ArrayLike, *, threshold: float = 1e-5, reduction: Reduction = "sum"
) -> np.ndarray:
    """Number of pixels that count (Nguyen and Martinez 2020).

    Args:
      maps: float [N, H, W, C] or [N, H, W].
      threshold: a pixel counts when |a| exceeds this share of the map's largest |a|.
      reduction: see `reduce_channels`.

    Returns:
      float64 [N], whole numbers from 1 to n, or NaN.
    """
    shares = _shares(maps, reduction)
    counts = (shares > threshold * shares.max(axis=1, keepdims=True)).sum(axis=1)
    return np.where(np.isnan(shares).any(axis=1), np.nan, counts)


def _shares(maps: ArrayLike, reduction: Reduction) -> np.ndarray:
    """Each pixel's share of the map's absolute value, float64 [N, H W]; NaN for zeros."""
    reduced = np.abs(reduce_channels(maps, reduction))
    flat = reduced.reshape(len(reduced), -1)
    # Divided by the largest first: the sum of tiny or huge values could leave the number range.
    largest = flat.max(axis=1, keepdims=True)
    flat = np.divide(flat, largest, out=np.full(flat.shape, np.nan), where=largest > 0)
    return flat / flat.sum(axis=1, keepdims=True)
