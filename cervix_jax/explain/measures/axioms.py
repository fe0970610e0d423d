"""Completeness: do the attributions add up to what they explain?

Sundararajan, Taly and Yan (2017), "Axiomatic Attribution for Deep Networks", proposition 1.
"""

import dataclasses

import numpy as np
from numpy.typing import ArrayLike

from cervix_jax.explain.measures.maps import checked_maps
from cervix_jax.explain.measures.scoring import (
    LogitsFn,
    Output,
    checked_baseline,
    checked_images,
    score,
)


@dataclasses.dataclass(frozen=True)
class Completeness:
    """Attributes are float64 [N].

    Attributes:
      delta: sum of the map - (f(x) - f(b)).
      relative: |delta| / |f(x) - f(b)|; 0 is complete; NaN where f(x) = f(b).
    """

    delta: np.ndarray
    relative: np.ndarray


def completeness(
    logits_fn: LogitsFn,
    images: ArrayLike,
    targets: ArrayLike,
    maps: ArrayLike,
    baselines: ArrayLike,
    *,
    output: Output = "logit",
    batch_size: int = 32,
) -> Completeness:
    """How far the sum of each map is from f(x) - f(b).

    Channels are not reduced but summed with everything else; a tolerance is the caller's.

    Args:
      logits_fn: float32 [B, H, W, 3] to logits [B, C]; see `scoring.score_rows`.
      images: float32 [N, H, W, 3].
      targets: int [N].
      maps: float [N, H, W, 3] or [N, H, W].
      baselines: those of the method, broadcastable to the images; or [K, N, H, W, 3] (N may be 1)
        where it averaged over K baselines, and f(b) is averaged likewise.
      output: the score that the maps explain.
      batch_size: most images that `logits_fn` sees at a time.

    Raises:
      InputError: an argument that cannot be used.
    """
    pixels, classes = checked_images(images, targets)
    values = checked_maps(maps, pixels.shape[:3])
    given = np.asarray(baselines)
    several = given if given.ndim == 5 else given[None]
    total = values.reshape(len(values), -1).sum(axis=1)
    of_image = score(logits_fn, pixels, classes, output=output, batch_size=batch_size)
    of_baseline = np.mean(
        [
            score(
                logits_fn,
                checked_baseline(each, pixels),
                classes,
                output=output,
                batch_size=batch_size,
            )
            for each in several
        ],
        axis=0,
    )
    change = of_image - of_baseline
    delta = total - change
    size = np.abs(change)
    relative = np.divide(np.abs(delta), size, out=np.full(len(size), np.nan), where=size > 0)
    return Completeness(delta, relative)
