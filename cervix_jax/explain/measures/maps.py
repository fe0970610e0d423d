"""First steps of every measure: check maps, reduce their channels, and rank their pixels."""

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
    """A measure that uses maps only; see `of_maps`."""

    __name__: str

    @overload
    def __call__(self, maps: ArrayLike, /, *args: Own.args, **own: Own.kwargs) -> Found: ...
    @overload
    def __call__(
        self, fn: LogitsFn | None, images: Any, targets: Any, maps: ArrayLike, /, **own: Any
    ) -> Found: ...


def of_maps(measure: Callable[Concatenate[ArrayLike, Own], Found]) -> OfMaps[Own, Found]:
    """Decorator that lets `measure(maps, ...)` also accept the call of all measures.

    That call is `measure(fn, images, targets, maps, ...)` with the keywords of `contract.Common`;
    the measure uses the maps and its own keywords only.
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
    """`function.check_inputs`, and the maps as float64 [N, H, W, 3] or [N, H, W].

    Raises:
      InputError: an argument is invalid, or there are no images.
    """
    fn, examples = check_inputs(fn, images, targets, output)
    if not len(examples["images"]):
        raise InputError("there are no images to measure; give at least one.")
    return fn, examples, checked_maps(maps, examples["images"].shape[:3])


def reduce_channels(maps: ArrayLike, reduction: Reduction = "sum") -> np.ndarray:
    """Reduce the channels of maps to one number a pixel.

    Args:
      maps: float [N, H, W, C], raw and signed, or [N, H, W] without channels.
      reduction: "sum" keeps sign and completeness, but channels may cancel; "mean" differs from it
        by a factor only; "sum_absolute" and "max_absolute" (Simonyan et al. 2014) drop the sign.

    Returns:
      float64 [N, H, W]; an absolute reduction of [N, H, W] returns its absolute value.

    Raises:
      InputError: the shape is wrong, there is no pixel, a value is not finite, or the reduction is
        unknown.
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
    """The maps as float64, after checking them.

    Args:
      maps: float [N, H, W, C] or [N, H, W].
      shape: required (N, H, W), if any.

    Raises:
      InputError: the shape is wrong, there is no pixel, or a value is not finite.
    """
    values = np.asarray(maps, np.float64)
    if values.ndim not in (3, 4) or 0 in values.shape[1:]:
        raise InputError(
            f"maps have shape {values.shape}; give [N, height, width, channels] or "
            "[N, height, width]."
        )
    if shape is not None and values.shape[:3] != tuple(shape):
        raise InputError(
            f"maps have shape {values.shape}, but the images {tuple(shape)}; resize the maps to "
            "the images."
        )
    bad = ~np.isfinite(values).all(axis=tuple(range(1, values.ndim)))
    if bad.any():
        raise InputError(
            f"maps: {bad.sum()} of {len(values)} contain NaN or infinite values, the first at "
            f"position {bad.argmax()}; correct them before measuring."
        )
    return values


def is_constant(reduced: np.ndarray) -> np.ndarray:
    """Whether each map of [N, H, W] is constant, so that it ranks no pixel; bool [N]."""
    flat = reduced.reshape(len(reduced), -1)
    return flat.max(axis=1) == flat.min(axis=1)


def pixel_ranks(reduced: np.ndarray, *, seed: int = 0, ids: Ids = None):
    """Rank of every pixel, 0 for the largest value.

    Ties are broken at random. A rectified map is zero at most pixels, and in raster order these
    would be ranked from the top of the image.

    Args:
      reduced: float [N, H, W].
      seed: random seed of the order of ties.
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
    """Identifiers of each image's stream of random numbers; by default positions 0 to N - 1.

    With positions in the data set as identifiers, an image is measured with the same random numbers
    whatever other images are in the call.

    Raises:
      InputError: `ids` is not one whole number, 0 or more, for each image.
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
