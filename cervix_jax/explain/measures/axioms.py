"""Completeness: does the sum of the map equal the rise of the score from the baseline?

Sundararajan, Taly and Yan (2017), "Axiomatic Attribution for Deep Networks", proposition 1.
"""

import dataclasses

import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from cervix_jax.explain.baselines import Baselines, attach, pick
from cervix_jax.explain.batches import score_samples
from cervix_jax.explain.function import LogitsFn, Output
from cervix_jax.explain.measures.maps import check_call


@dataclasses.dataclass(frozen=True)
class Completeness:
    """Completeness of N maps; attributes are float64 [N].

    Attributes:
      delta: sum of the map - (f(x) - f(b)), for image x and baseline b.
      relative: |delta| / |f(x) - f(b)|; 0 is complete; NaN where f(x) = f(b).
    """

    delta: np.ndarray
    relative: np.ndarray


def completeness(
    fn: LogitsFn,
    images: ArrayLike,
    targets: ArrayLike,
    maps: ArrayLike,
    *,
    baselines: Baselines = None,
    output: Output = "logit",
    batch_size: int = 32,
    seed: int = 0,
    progress: str = "",
) -> Completeness:
    """Difference between the sum of each map and f(x) - f(b), for image x and baseline b.

    The sum includes all channels. The function applies no tolerance.

    Args:
      fn: as for `explain.saliency`.
      images: float [N, H, W, 3].
      targets: int [N], or one class for all.
      maps: float [N, H, W, 3] or [N, H, W].
      baselines: baselines of the method; with several, f(b) is the mean over them.
      output: the score that the maps explain.
      batch_size: images in one batch.
      seed: not used.
      progress: label of the progress bar.

    Raises:
      InputError: an argument is invalid.
    """
    del seed
    fn, examples, values = check_call(fn, images, targets, maps, output)
    examples, several, count = attach(examples, baselines)
    scores = score_samples(
        _baseline_after_image,
        fn,
        examples,
        several,
        output=output,
        samples=1 + count,
        batch_size=batch_size,
        progress=progress,
    ).values
    change = scores[:, 0] - scores[:, 1:].mean(axis=1)
    delta = values.reshape(len(values), -1).sum(axis=1) - change
    size = np.abs(change)
    relative = np.divide(np.abs(delta), size, out=np.full(len(size), np.nan), where=size > 0)
    return Completeness(delta, relative)


def _baseline_after_image(examples, sample, several):
    image = (sample == 0)[:, None, None, None]
    baseline = pick(examples, several, jnp.maximum(sample - 1, 0))
    return jnp.where(image, examples["images"], baseline), ()
