"""Localisation: the share of a map that lies in regions that experts marked.

Masks are bool [N, H, W], or [N, K, H, W] for K regions or classes of each image; results are
float64 [N] or [N, K]. They are NaN, not 0, if the image has no such region or the map is constant.
A map unrelated to the image scores the region's share of the area in `relevance_mass`,
`relevance_rank` and `pointing_game`, and 0.5 in `roc_auc`. Report `area_share` with them.
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
    """Each mask's share of the image's pixels; NaN for an empty mask."""
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
    """Share of the relevance inside the mask (Arras, Osman and Samek 2022).

    Args:
      maps: float [N, H, W, C] or [N, H, W].
      masks: bool [N, H, W] or [N, K, H, W].
      part: "positive" uses evidence for the class only, so that the share is within 0 and 1;
        "negative" uses evidence against it, and "absolute" uses both.
      reduction: see `reduce_channels`; the part is taken after it.

    Returns:
      In [0, 1]; NaN for an empty mask, or a map without that part.

    Raises:
      InputError: maps, masks or an option are invalid.
    """
    check_choice("part", part, get_args(Part))
    reduced, inside = _checked(maps, masks, reduction)
    mass = {
        "positive": np.maximum(reduced, 0),
        "absolute": np.abs(reduced),
        "negative": np.maximum(-reduced, 0),
    }[part]
    # Scaled first, because the sum of very small or large values could underflow or overflow.
    largest = mass.max(axis=(1, 2), keepdims=True)
    mass = np.divide(mass, largest, out=np.full(mass.shape, np.nan), where=largest > 0)
    shares = np.einsum("nhw,nkhw->nk", mass, inside) / mass.sum(axis=(1, 2))[:, None]
    return _like(masks, np.where(inside.any(axis=(2, 3)), shares, np.nan))


@of_maps
def relevance_rank(
    maps: ArrayLike, masks: ArrayLike, *, reduction: Reduction = "sum"
) -> np.ndarray:
    """Share of the most relevant pixels, as many as the mask has, that lie inside the mask.

    Source: Arras, Osman and Samek 2022. Pixels that tie for the last positions count with their
    expected number under a random order.

    Args:
      maps: float [N, H, W, C] or [N, H, W].
      masks: bool [N, H, W] or [N, K, H, W].
      reduction: see `reduce_channels`.

    Returns:
      In [0, 1]; NaN for an empty mask or a constant map.

    Raises:
      InputError: maps or masks are invalid.
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
    """Area under the ROC curve when the relevance classifies pixels as inside or outside the mask.

    Args:
      maps: float [N, H, W, C] or [N, H, W].
      masks: bool [N, H, W] or [N, K, H, W].
      reduction: see `reduce_channels`.

    Returns:
      In [0, 1]; NaN for a mask that is empty or covers the image, or a constant map.

    Raises:
      InputError: maps or masks are invalid.
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
    """1 if a largest pixel of the map lies inside the mask, else 0 (Zhang et al. 2018).

    Chance is `area_share(dilate(masks, tolerance))`.

    Args:
      maps: float [N, H, W, C] or [N, H, W].
      masks: bool [N, H, W] or [N, K, H, W]; one pixel for each nucleus that is marked as a point.
      tolerance: maximum distance in pixels from the mask that counts as inside.
      reduction: see `reduce_channels`.

    Returns:
      0 or 1; with several largest pixels, one inside is enough. NaN for an empty mask or a constant
      map.

    Raises:
      InputError: maps, masks or the tolerance are invalid.
    """
    return _for_each(
        lambda values, inside: float(inside[values == values.max()].any()),
        maps,
        dilate(masks, tolerance),
        reduction,
    )


def dilate(masks: ArrayLike, radius: float) -> np.ndarray:
    """Enlarge masks by `radius` (Euclidean, in pixels); empty masks stay empty."""
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
    """`measure(map, mask)` for every defined pair, else NaN."""
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
            f"masks have shape {np.shape(masks)}, but maps {np.shape(maps)}; give one mask of the "
            "same height and width for each map."
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
