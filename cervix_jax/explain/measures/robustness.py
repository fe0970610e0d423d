"""Sensitivity of the map: does the map stay similar when the image changes very little?

Yeh et al. (2019), "On the (In)fidelity and Sensitivity of Explanations", definition 3.1.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from numpy.typing import ArrayLike

from cervix_jax import rng
from cervix_jax.errors import InputError, check_count
from cervix_jax.explain.baselines import Baselines, own_baselines
from cervix_jax.explain.function import LogitsFn, Output
from cervix_jax.explain.measures.maps import Ids, check_call, checked_ids, checked_maps
from cervix_jax.progress import Bar

MakeMaps = Callable[..., ArrayLike]
"""`method(fn, images, targets, **common) -> maps`: a method of `explain` or your own function.

Bind settings with `functools.partial(explain.occlusion, window=9)`. The measure passes the keywords
of `contract.Common` to the method, except `output` and `baselines` if they are None, so that the
method's defaults apply.
"""


def sensitivity_max(
    fn: LogitsFn,
    images: ArrayLike,
    targets: ArrayLike,
    maps: ArrayLike,
    *,
    method: MakeMaps,
    radius: float = 0.02,
    samples: int = 10,
    ids: Ids = None,
    baselines: Baselines = None,
    output: Output | None = None,
    batch_size: int = 32,
    seed: int = 0,
    progress: str = "",
) -> np.ndarray:
    """The largest relative change of a map over images within `radius` of the given image.

    This is the maximum over x' of ||a(x) - a(x')|| / ||a(x)||, with Frobenius norms and x' uniform
    in the L-infinity ball. If a(x) is zero everywhere, the denominator is 1.

        measures.sensitivity_max(fn, images, targets, maps, method=explain.grad_cam)

    Args:
      fn: as for `explain.saliency`, or as `method` requires.
      images: float [N, H, W, 3].
      targets: int [N], or one class for all.
      maps: a(x), float [N, H, W, 3] or [N, H, W]: maps of these images by `method` with the same
        settings. They are not computed again.
      method: function that makes the maps of the changed images, see `MakeMaps`.
      radius: radius of the ball, in the units of `images`.
      samples: number of x' for each image.
      ids: see `maps.checked_ids`.
      baselines: passed to `method`; baselines of an image are also used for its changed copies.
      output: passed to `method`.
      batch_size: maximum number of images passed to `method` at a time, and its batch size.
      seed: random seed of the changed images; also passed to `method`, which must draw the same
        numbers each time. Otherwise the result includes the method's own randomness.
      progress: label of the progress bar.

    Returns:
      float64 [N], 0 or more. It is also 0 for a map of zeros that stays zero; other measures of
      such a map, such as `sparseness`, are NaN.

    Raises:
      InputError: an argument or a map is invalid.
    """
    _, examples, originals = check_call(fn, images, targets, maps, output or "logit")
    check_count("samples", samples)
    check_count("batch_size", batch_size)
    if not radius > 0:
        raise InputError(f"radius={radius!r}: give a number above 0.")
    pixels, streams = examples["images"], np.asarray(checked_ids(ids, len(originals)), np.int32)
    common = settings_of(baselines, output, batch_size, seed, pixels)
    changes = np.zeros((len(pixels), samples))
    rows, size = changes.size, min(batch_size, changes.size)
    bar = Bar(range(0, rows, size), desc=progress, unit="batch", leave=False, disable=not progress)
    for first in bar:
        # The last batch is padded, so that all batches have one size.
        index, number = np.divmod(np.arange(first, first + size) % rows, samples)
        near = _nearby(
            pixels[index], seed, streams[index], (number + 1).astype(np.int32), np.float32(radius)
        )
        if isinstance(common.get("baselines"), np.ndarray):
            options = common | {"baselines": common["baselines"][index]}
        else:
            options = common
        found = method(fn, _like(near, images), examples["targets"][index], **options)
        found = checked_maps(found, near.shape[:3])
        if found.shape[1:] != originals.shape[1:]:
            raise InputError(
                f"maps have shape {originals.shape}, but the method returns {found.shape}; give "
                "maps that the same method made of the images."
            )
        difference = (found - originals[index]).reshape(size, -1)
        changes[index, number] = np.linalg.norm(difference, axis=1)
    norms = np.linalg.norm(originals.reshape(len(originals), -1), axis=1)
    return changes.max(axis=1) / np.where(norms > 0, norms, 1)


def settings_of(
    baselines: Baselines, output: Output | None, batch_size: int, seed: int, images: np.ndarray
) -> dict[str, Any]:
    """Common keywords that a measure passes to a method; keywords that are None are omitted."""
    options: dict[str, Any] = {"batch_size": batch_size, "seed": seed}
    if output is not None:
        options["output"] = output
    if baselines is not None:
        options["baselines"] = own_baselines(baselines, images)
    return options


def _like(near: jax.Array, images: ArrayLike) -> np.ndarray:
    """The changed images in the type of the given images."""
    given = np.asarray(images).dtype
    return np.asarray(near.astype(given) if given.itemsize < 4 else near)


@functools.partial(jax.vmap, in_axes=(0, None, 0, 0, None))
def _near(image, seed, stream, number, radius):
    key = jax.random.fold_in(rng.stream(seed, "sensitivity", stream), number)
    return image + jax.random.uniform(key, image.shape, image.dtype, -radius, radius)


_nearby = jax.jit(_near)
