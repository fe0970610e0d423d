"""What every measure does with maps first: check them, reduce their channels, rank their pixels."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar, get_args, overload

import numpy as np
from jax.tree_util import Partial
from numpy.typing import ArrayLike

from cervix_jax.errors import InputError, check_choice
from cervix_jax.explain.contract import Common, Reduction
from cervix_jax.explain.function import LogitsFn, Output, check_inputs

Ids = Sequence[int] | np.ndarray | None
Own = ParamSpec("Own")
Found = TypeVar("Found", covariant=True)


class OfMaps(Protocol[Own, Found]):
    """A measure that looks at maps alone; see `of_maps`."""

    __name__: str

    @overload
    def __call__(self, maps: ArrayLike, /, *args: Own.args, **own: Own.kwargs) -> Found: ...
    @overload
    def __call__(
        self, fn: LogitsFn | None, images: Any, targets: Any, maps: ArrayLike, /, **own: Any
    ) -> Found: ...


def of_maps(measure: Callable[Concatenate[ArrayLike, Own], Found]) -> OfMaps[Own, Found]:
    """Decorates `measure(maps, ...)`, so that it takes the call of all measures as well.

    That is `measure(fn, images, targets, maps, ...)` with the keywords of `contract.Common`, of
    which it looks at the maps and its own keywords alone.
    """

    @functools.wraps(measure)
    def either(*args: Any, **own: Any) -> Found:
        by_name = set(_CALL) & own.keys()
        if len(args) == 4 or (by_name and (args or by_name != {"maps"})):
            given = dict(zip(_CALL, args, strict=False)) | own
            args = (given["maps"],)
            own = {name: value for name, value in given.items() if name not in _UNSEEN}
        return measure(*args, **own)

    return either


_CALL = ("fn", "images", "targets", "maps")
_UNSEEN = {*_CALL, *Common.__annotations__}


def check_call(
    fn: LogitsFn, images: ArrayLike, targets: ArrayLike, maps: ArrayLike, output: Output
) -> tuple[Partial, dict[str, np.ndarray], np.ndarray]:
    """As `function.check_inputs` with the maps float64 [N, H, W, 3] or [N, H, W] of the images.

    Raises:
      InputError: any of these cannot be used, or there are no images.
    """
    fn, examples = check_inputs(fn, images, targets, output)
    if not len(examples["images"]):
        raise InputError("there are no images to measure; give at least one.")
    return fn, examples, checked_maps(maps, examples["images"].shape[:3])


def reduce_channels(maps: ArrayLike, reduction: Reduction = "sum") -> np.ndarray:
    """One number for each pixel.

    Args:
      maps: float [N, H, W, C], raw and signed, or [N, H, W], which has nothing to reduce.
      reduction: "sum" keeps sign and completeness, but channels may cancel; "mean" is the same but
        for a factor; "sum_absolute" and "max_absolute" (Simonyan et al. 2014) drop the sign.

    Returns:
      float64 [N, H, W]; with an absolute reduction, [N, H, W] becomes its absolute value.

    Raises:
      InputError: another shape, no pixel, a value that is not finite, or an unknown reduction.
    """
    values = checked_maps(maps)
    check_choice("reduction", reduction, get_args(Reduction))
    if reduction.endswith("absolute"):
        values = np.abs(values)
    if values.ndim == 3:
        return values
    if reduction.startswith("sum"):
        return values.sum(axis=-1)
    return values.mean(axis=-1) if reduction == "mean" else values.max(axis=-1)


def checked_maps(maps: ArrayLike, shape: Sequence[int] | None = None) -> np.ndarray:
    """The maps as float64, when they are maps.

    Args:
      maps: float [N, H, W, C] or [N, H, W].
      shape: (N, H, W) that they must have, if any.

    Raises:
      InputError: another shape, no pixel, or a value that is not finite.
    """
    values = np.asarray(maps, np.float64)
    if values.ndim not in (3, 4) or 0 in values.shape[1:]:
        raise InputError(
            f"maps have shape {values.shape}; give [N, height, width, channels] or "
            "[N, height, width]."
        )
    if shape is not None and values.shape[:3] != tuple(shape):
        raise InputError(
            f"maps have shape {values.shape}, but what they explain has {tuple(shape)}; resize "
            "them to the images."
        )
    bad = ~np.isfinite(values).all(axis=tuple(range(1, values.ndim)))
    if bad.any():
        raise InputError(
            f"maps: {bad.sum()} of {len(values)} hold NaN or infinite values, the first at "
            f"position {bad.argmax()}; find out why before measuring them."
        )
    return values


def is_constant(reduced: np.ndarray) -> np.ndarray:
    """Which maps [N, H, W] have equal values everywhere, so that they rank no pixel; bool [N]."""
    flat = reduced.reshape(len(reduced), -1)
    return flat.max(axis=1) == flat.min(axis=1)


def pixel_ranks(reduced: np.ndarray, *, seed: int = 0, ids: Ids = None):
    """Rank of every pixel, 0 for the largest value.

    Ties are broken at random: a rectified map is zero in most places, and in raster order those
    pixels would come from the top of the image first.

    Args:
      reduced: float [N, H, W].
      seed: of the random order of ties.
      ids: see `checked_ids`.

    Returns:
      int32 [N, H, W], a permutation of 0 to H W - 1 for each map.
    """
    ranks = np.empty((len(reduced), reduced[0].size if len(reduced) else 0), np.int32)
    for row, values, number in zip(ranks, reduced, checked_ids(ids, len(reduced)), strict=True):
        chance = np.random.default_rng([seed, number]).random(values.size)
        row[np.lexsort((chance, -values.ravel()))] = np.arange(values.size, dtype=np.int32)
    return ranks.reshape(reduced.shape)


def checked_ids(ids: Ids, count: int) -> list[int]:
    """What names each image's stream of random numbers; by default its position, 0 to N - 1.

    Give the position in the data set, and an image is measured with the same random numbers
    whatever else is in the call.

    Raises:
      InputError: not one whole number from 0 on for each image.
    """
    if ids is None:
        return list(range(count))
    values = np.asarray(ids)
    if values.shape != (count,) or values.dtype.kind not in "iu" or (values < 0).any():
        raise InputError(
            f"ids have shape {values.shape} and type {values.dtype}; give one whole number, 0 or "
            f"more, for each of the {count} images."
        )
    return values.tolist()
