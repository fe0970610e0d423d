"""Concentration of a map: whether its relevance lies on few or on all pixels.

All measures take the absolute value after reducing the channels. They do not depend on the map's
scale, except through an absolute threshold. They are NaN for a map of zeros.
"""

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import entropy

from cervix_jax.errors import InputError
from cervix_jax.explain.contract import Reduction
from cervix_jax.explain.measures.maps import of_maps, reduce_channels


@of_maps
def sparseness(maps: ArrayLike, *, reduction: Reduction = "sum") -> np.ndarray:
    """Gini index of the pixels (Chalasani et al. 2020; Hurley and Rickard 2009).

    sum_i (2 i - n - 1) a_(i) / (n sum_i a_i), a sorted upwards.

    Args:
      maps: float [N, H, W, C] or [N, H, W].
      reduction: see `reduce_channels`.

    Returns:
      float64 [N]: 0 if all pixels are equal, 1 - 1/n if one pixel has all relevance.
    """
    shares = _shares(maps, reduction)
    count = shares.shape[1]
    weights = 2 * np.arange(1, count + 1) - count - 1
    return np.sort(shares, axis=1) @ weights / count


@of_maps
def complexity(maps: ArrayLike, *, reduction: Reduction = "sum") -> np.ndarray:
    """Entropy in nats of the pixels' shares of |a| (Bhatt, Weller and Moura 2020).

    Args:
      maps: float [N, H, W, C] or [N, H, W].
      reduction: see `reduce_channels`.

    Returns:
      float64 [N]: 0 if one pixel has all relevance, log n if all pixels are equal.
    """
    shares = _shares(maps, reduction)
    zero = np.isnan(shares[:, 0])
    return np.where(zero, np.nan, entropy(np.where(zero[:, None], 1.0, shares), axis=1))


@of_maps
def effective_complexity(
    maps: ArrayLike,
    *,
    threshold: float = 1e-5,
    relative: bool = False,
    reduction: Reduction = "sum",
) -> np.ndarray:
    """Number of pixels with |a| above a threshold (after Nguyen and Martinez 2020).

    An absolute threshold depends on the scale of the logits and of the images, so use it only to
    compare methods with the same units. A relative threshold compares all methods.

    Args:
      maps: float [N, H, W, C] or [N, H, W].
      threshold: a finite number, 0 or more.
      relative: whether `threshold` is a share of the map's largest |a|.
      reduction: see `reduce_channels`.

    Returns:
      float64 [N], whole numbers from 0 to n, or NaN.

    Raises:
      InputError: maps, the threshold or the reduction are invalid.
    """
    if not 0 <= threshold < np.inf:
        raise InputError(f"threshold={threshold!r}: give a finite number, 0 or more.")
    reduced = np.abs(reduce_channels(maps, reduction))
    flat = reduced.reshape(len(reduced), -1)
    largest = flat.max(axis=1)
    limit = threshold * largest[:, None] if relative else threshold
    return np.where(largest > 0, (flat > limit).sum(axis=1), np.nan)


def _shares(maps: ArrayLike, reduction: Reduction) -> np.ndarray:
    """Each pixel's share of the map's absolute value, float64 [N, H W]; NaN for zeros."""
    reduced = np.abs(reduce_channels(maps, reduction))
    flat = reduced.reshape(len(reduced), -1)
    # Divided by the largest first: the sum of tiny or huge values could leave the number range.
    largest = flat.max(axis=1, keepdims=True)
    flat = np.divide(flat, largest, out=np.full(flat.shape, np.nan), where=largest > 0)
    return flat / flat.sum(axis=1, keepdims=True)
