"""Insertion and deletion: does the score follow the pixels that the map ranks first?

Petsiuk, Das and Saenko (2018), "RISE: Randomized Input Sampling for Explanation of Black-box
Models".
"""

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike
from scipy.integrate import trapezoid

from cervix_jax.explain.measures.maps import (
    Reduction,
    checked_maps,
    is_constant,
    pixel_ranks,
    reduce_channels,
)
from cervix_jax.explain.measures.scoring import (
    LogitsFn,
    Output,
    checked_at_least_one,
    checked_baseline,
    checked_images,
    repeated,
    score_rows,
)


@dataclasses.dataclass(frozen=True)
class Curve:
    """A score along the share of pixels replaced.

    Attributes:
      fractions: float64 [K + 1], the share of pixels replaced, from 0 to 1.
      scores: float64 [N, K + 1]; NaN for a map that is constant, which ranks no pixel.
    """

    fractions: np.ndarray
    scores: np.ndarray

    @property
    def auc(self) -> np.ndarray:
        """Area under each image's curve by the trapezoidal rule, float64 [N]."""
        return trapezoid(self.scores, self.fractions, axis=-1)


def deletion(
    logits_fn: LogitsFn,
    images: ArrayLike,
    targets: ArrayLike,
    maps: ArrayLike,
    *,
    baseline: ArrayLike | None = None,
    steps: int = 50,
    reduction: Reduction = "sum",
    output: Output = "probability",
    batch_size: int = 32,
    seed: int = 0,
    ids: Sequence[int] | None = None,
    progress: str = "",
) -> Curve:
    """The score while pixels turn into the baseline, the most relevant first; a low area is good.

    All channels of a pixel turn at once. The result does not depend on `batch_size` but for
    rounding.

    Args:
      logits_fn: float32 [B, H, W, 3] to logits [B, C]; see `scoring.score_rows`.
      images: float32 [N, H, W, 3], as `logits_fn` takes them.
      targets: int [N], the class that each map explains.
      maps: float [N, H, W, 3] or [N, H, W].
      baseline: number, colour [3], image [H, W, 3] or images [N, H, W, 3], in the units of
        `images`; by default each image's mean colour.
      steps: K; at most the number of pixels.
      reduction: see `reduce_channels`.
      output: which score; RISE takes the probability.
      batch_size: most images that `logits_fn` sees at a time.
      seed: of the order of pixels with equal relevance.
      ids: see `checked_ids`.
      progress: name of a progress bar; "" shows none.

    Raises:
      InputError: an argument that cannot be used.
    """
    return _curve(
        logits_fn, images, targets, maps, baseline, False, steps, reduction, output, batch_size,
        seed, ids, progress,
    )  # fmt: skip


def insertion(
    logits_fn: LogitsFn,
    images: ArrayLike,
    targets: ArrayLike,
    maps: ArrayLike,
    *,
    baseline: ArrayLike | None = None,
    steps: int = 50,
    reduction: Reduction = "sum",
    output: Output = "probability",
    batch_size: int = 32,
    seed: int = 0,
    ids: Sequence[int] | None = None,
    progress: str = "",
) -> Curve:
    """The score while the baseline turns into the image, the most relevant pixel first.

    A high area is good. Arguments as for `deletion`; RISE starts from the blurred image, which can
    be given as `baseline`.
    """
    return _curve(
        logits_fn, images, targets, maps, baseline, True, steps, reduction, output, batch_size,
        seed, ids, progress,
    )  # fmt: skip


def insertion_deletion(
    logits_fn: LogitsFn, images: ArrayLike, targets: ArrayLike, maps: ArrayLike, **options
) -> tuple[Curve, Curve]:
    """Both curves, insertion first; options as for `deletion`."""
    return (
        insertion(logits_fn, images, targets, maps, **options),
        deletion(logits_fn, images, targets, maps, **options),
    )


def _curve(
    logits_fn, images, targets, maps, baseline, inserting, steps, reduction, output, batch_size,
    seed, ids, progress,
) -> Curve:  # fmt: skip
    pixels, classes = checked_images(images, targets)
    reduced = reduce_channels(checked_maps(maps, pixels.shape[:3]), reduction)
    removed = checked_baseline(baseline, pixels)
    checked_at_least_one(steps=steps)
    count = reduced[0].size
    replaced = np.unique(np.rint(np.linspace(0, count, steps + 1)).astype(np.int32))
    image_of_row, number = repeated(len(pixels), len(replaced))
    before, after = (removed, pixels) if inserting else (pixels, removed)
    ranks = pixel_ranks(reduced, seed=seed, ids=ids)
    scores, _, _ = score_rows(
        logits_fn,
        _replace_first,
        (before, after, ranks),
        image_of_row,
        replaced[number],
        classes,
        output=output,
        batch_size=batch_size,
        progress=progress,
    )
    scores = scores.reshape(len(pixels), -1)
    return Curve(replaced / count, np.where(is_constant(reduced)[:, None], np.nan, scores))


def _replace_first(image, number: jax.Array):
    before, after, ranks = image
    return jnp.where((ranks < number)[..., None], after, before), ()
