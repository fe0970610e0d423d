"""Sensitivity: does the map stay the same when the image hardly changes?

Yeh et al. (2019), "On the (In)fidelity and Sensitivity of Explanations", definition 3.1.
"""

import functools
from collections.abc import Callable, Sequence

import jax
import numpy as np
from numpy.typing import ArrayLike
from tqdm import tqdm

from cervix_jax import rng
from cervix_jax.errors import InputError
from cervix_jax.explain.measures.maps import checked_ids, checked_maps
from cervix_jax.explain.measures.scoring import (
    batches,
    checked_at_least_one,
    checked_images,
    repeated,
)

# (images float32 [B, H, W, 3], targets int [B]) -> maps float [B, H, W, 3] or [B, H, W]
ExplainFn = Callable[[np.ndarray, np.ndarray], ArrayLike]


def sensitivity_max(
    explain_fn: ExplainFn,
    images: ArrayLike,
    targets: ArrayLike,
    *,
    radius: float = 0.02,
    samples: int = 10,
    batch_size: int = 32,
    seed: int = 0,
    ids: Sequence[int] | None = None,
    progress: str = "",
) -> np.ndarray:
    """The largest relative change of a map, over images within `radius` of the given one.

    max over x' of ||a(x) - a(x')|| / ||a(x)||, Frobenius norms, x' uniform in the L-infinity ball;
    where a(x) is zero everywhere, the denominator is 1.

    Args:
      explain_fn: float32 [B, H, W, 3] and int [B] to maps; must be deterministic (give a method
        that draws random numbers a fixed seed), or its own spread is measured.
      images: float32 [N, H, W, 3].
      targets: int [N].
      radius: of the ball, in the units of `images`.
      samples: number of x' for each image.
      batch_size: most images that `explain_fn` sees at a time.
      seed: of the perturbations.
      ids: see `maps.checked_ids`.
      progress: name of a progress bar; "" shows none.

    Returns:
      float64 [N], 0 or more; 0 also for a map that is zero here and nearby, whose `sparseness` and
      other measures are NaN.

    Raises:
      InputError: an argument or a map that cannot be used.
    """
    pixels, classes = checked_images(images, targets)
    checked_at_least_one(samples=samples, batch_size=batch_size)
    if not radius > 0:
        raise InputError(f"radius={radius!r}: give a number above 0.")
    image_of_row, number = repeated(len(pixels), samples + 1)
    streams = np.asarray(checked_ids(ids, len(pixels)), np.int32)
    changes = np.zeros((len(pixels), samples + 1))
    originals: dict[int, np.ndarray] = {}
    # The image itself is the first of its rows, so that only maps still needed are kept.
    for rows in tqdm(
        batches(len(image_of_row), batch_size),
        total=-(-len(image_of_row) // min(batch_size, len(image_of_row))),
        desc=progress,
        unit="batch",
        leave=False,
        disable=not progress,
    ):
        index, sample = image_of_row[rows], number[rows].astype(np.int32)
        near = _nearby(pixels[index], seed, streams[index], sample, np.float32(radius))
        maps = checked_maps(explain_fn(np.asarray(near), classes[index]), near.shape[:3])
        for i, s, found in zip(index.tolist(), sample.tolist(), maps, strict=True):
            if s == 0:
                originals = {i: found} if i not in originals else originals
            elif i in originals:  # else a row that fills up the last batch
                changes[i, s] = np.linalg.norm(found - originals[i])
            if s == 0:
                changes[i, 0] = np.linalg.norm(found)
    norms = changes[:, 0]
    worst = changes[:, 1:].max(axis=1)
    return worst / np.where(norms > 0, norms, 1)


@functools.partial(jax.vmap, in_axes=(0, None, 0, 0, None))
def _near(image, seed, stream, number, radius):
    key = jax.random.fold_in(rng.stream(seed, "sensitivity", stream), number)
    noise = jax.random.uniform(key, image.shape, image.dtype, -radius, radius)
    return image + noise * (number > 0)


_nearby = jax.jit(_near)
