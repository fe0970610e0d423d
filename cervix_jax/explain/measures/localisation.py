"""Localisation: how much of an explanation falls on what experts marked.

Masks are bool [N, H, W], or [N, K, H, W] for K regions or classes of each image; the results are
float64 [N] or [N, K]. They are NaN, not 0, where nothing can be said: an image that has no such
region, or a map that says nothing. An explanation that knows nothing of the image scores the
region's share of the area in `relevance_mass`, `relevance_rank` and `pointing_game`, and 0.5 in
`roc_auc`; so give `area_share` beside them.
"""

from collections.abc import Callable
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike
from scipy.ndimage import distance_transform_edt
from sklearn.metrics import roc_auc_score

from cervix_jax.errors import InputError, check_choice
from cervix_jax.explain.contract import Reduction
from cervix_jax.explain.measures.maps import is_constant, of_maps, reduce_channels

Part = Literal["positive", "absolute", "negative"]


def area_share(masks: ArrayLike) -> np.ndarray:
    """The share of the image's pixels that lie in each mask; NaN for an empty mask."""
    inside = _checked_masks(masks)
    shares = inside.mean(axis=(-2, -1))
    return np.where(shares > 0, shares, np.nan)


@of_maps
def relevance_mass(
    maps: ArrayLike,
    masks: ArrayLike,
    *,
    part: Part = "positive",
    reduction: Reduction = "sum",
) -> np.ndarray:
    """Share of the attribution that lies inside (Arras, Osman and Samek 2022).

    Args:
      maps: float [N, H, W, C] or [N, H, W].
      masks: bool [N, H, W] or [N, K, H, W].
      part: "positive" takes evidence for the class and leaves out evidence against it, so that the
        share stays within 0 and 1; "absolute" takes both, "negative" the latter.
      reduction: see `reduce_channels`; the part is taken after it.

    Returns:
      In [0, 1]; NaN for an empty mask, or a map without any such part.

    Raises:
      InputError: maps, masks or an option that cannot be used.
    """
    check_choice("part", part, get_args(Part))
    reduced, inside = _checked(maps, masks, reduction)
    mass = {
        "positive": np.maximum(reduced, 0),
        "absolute": np.abs(reduced),
        "negative": np.maximum(-reduced, 0),
    }[part]
    # Scaled first: the sum of tiny or huge values could leave the range of numbers.
    largest = mass.max(axis=(1, 2), keepdims=True)
    mass = np.divide(mass, largest, out=np.full(mass.shape, np.nan), where=largest > 0)
    shares = np.einsum("nhw,nkhw->nk", mass, inside) / mass.sum(axis=(1, 2))[:, None]
    return _like(masks, np.where(inside.any(axis=(2, 3)), shares, np.nan))


@of_maps
def relevance_rank(
    maps: ArrayLike, masks: ArrayLike, *, reduction: Reduction = "sum"
) -> np.ndarray:
    """Share of the |mask| most relevant pixels that lie inside (Arras, Osman and Samek 2022).

    Pixels that tie for the last places count by their expected number under a random order.

    Args:
      maps: float [N, H, W, C] or [N, H, W].
      masks: bool [N, H, W] or [N, K, H, W].
      reduction: see `reduce_channels`.

    Returns:
      In [0, 1]; NaN for an empty mask or a constant map.

    Raises:
      InputError: maps or masks that cannot be used.
    """

    def share(values: np.ndarray, inside: np.ndarray) -> float:
        count = inside.sum()
        last = np.partition(values.ravel(), values.size - count)[values.size - count]
        above, tied = values > last, values == last
        places = count - above.sum()
        return float(((above & inside).sum() + places * inside[tied].mean()) / count)

    return _for_each(share, maps, masks, reduction)


@of_maps
def roc_auc(maps: ArrayLike, masks: ArrayLike, *, reduction: Reduction = "sum") -> np.ndarray:
    """Area under the ROC curve of finding the mask's pixels by their attribution.

    Args:
      maps: float [N, H, W, C] or [N, H, W].
      masks: bool [N, H, W] or [N, K, H, W].
      reduction: see `reduce_channels`.

    Returns:
      In [0, 1]; NaN for a mask that is empty or everything, or a constant map.

    Raises:
      InputError: maps or masks that cannot be used.
    """

    def area(values: np.ndarray, inside: np.ndarray) -> float:
        if inside.all():
            return np.nan
        return float(roc_auc_score(inside.ravel(), values.ravel()))

    return _for_each(area, maps, masks, reduction)


@of_maps
def pointing_game(
    maps: ArrayLike,
    masks: ArrayLike,
    *,
    tolerance: float = 0.0,
    reduction: Reduction = "sum",
) -> np.ndarray:
    """1 where a largest pixel of the map lies inside, else 0 (Zhang et al. 2018).

    Chance is `area_share(dilate(masks, tolerance))`.

    Args:
      maps: float [N, H, W, C] or [N, H, W].
      masks: bool [N, H, W] or [N, K, H, W]; for nuclei that are points, one pixel each.
      tolerance: distance in pixels from the mask that still counts.
      reduction: see `reduce_channels`.

    Returns:
      0 or 1; any of several largest pixels may hit. NaN for an empty mask or a constant map, whose
      largest pixels are everywhere.

    Raises:
      InputError: maps, masks or a tolerance that cannot be used.
    """
    return _for_each(
        lambda values, inside: float(inside[values == values.max()].any()),
        maps,
        dilate(masks, tolerance),
        reduction,
    )


def dilate(masks: ArrayLike, radius: float) -> np.ndarray:
    """Add all pixels within `radius` (Euclidean, in pixels) of a mask to it; empty ones stay so."""
    inside = _checked_masks(masks)
    if not radius >= 0:
        raise InputError(f"radius or tolerance {radius!r}: give a number of pixels, 0 or more.")
    if radius == 0:
        return inside
    planes = inside.reshape(-1, *inside.shape[-2:])
    wider = [
        np.asarray(distance_transform_edt(~plane)) <= radius if plane.any() else plane
        for plane in planes
    ]
    return np.array(wider, bool).reshape(inside.shape)


def _for_each(
    measure: Callable[[np.ndarray, np.ndarray], float],
    maps: ArrayLike,
    masks: ArrayLike,
    reduction: Reduction,
) -> np.ndarray:
    """`measure(map, mask)` of every pair that is defined, else NaN."""
    reduced, inside = _checked(maps, masks, reduction)
    result = np.full(inside.shape[:2], np.nan)
    for i in np.flatnonzero(~is_constant(reduced)):
        for k in np.flatnonzero(inside[i].any(axis=(1, 2))):
            result[i, k] = measure(reduced[i], inside[i, k])
    return _like(masks, result)


def _checked(
    maps: ArrayLike, masks: ArrayLike, reduction: Reduction
) -> tuple[np.ndarray, np.ndarray]:
    """Maps float64 [N, H, W] and masks bool [N, K, H, W]."""
    reduced, inside = reduce_channels(maps, reduction), _checked_masks(masks)
    inside = inside[:, None] if inside.ndim == 3 else inside
    if inside.shape[0] != reduced.shape[0] or inside.shape[2:] != reduced.shape[1:]:
        raise InputError(
            f"masks have shape {np.shape(masks)}, but maps {np.shape(maps)}; give one of the same "
            "height and width for each map."
        )
    return reduced, inside


def _checked_masks(masks: ArrayLike) -> np.ndarray:
    inside = np.asarray(masks)
    if inside.ndim not in (3, 4) or inside.dtype != bool:
        raise InputError(
            f"masks have shape {inside.shape} and type {inside.dtype}; give bool "
            "[N, height, width] or [N, regions, height, width]."
        )
    return inside


def _like(masks: ArrayLike, values: np.ndarray) -> np.ndarray:
    return values[:, 0] if np.ndim(masks) == 3 else values
