"""Insertion and deletion: does the score depend on the pixels that the map ranks first?

Petsiuk, Das and Saenko (2018), "RISE: Randomized Input Sampling for Explanation of Black-box
Models".
"""

import dataclasses
from typing import Unpack

import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike
from scipy.integrate import trapezoid

from cervix_jax.errors import check_count
from cervix_jax.explain.baselines import Baselines, attach, pick
from cervix_jax.explain.batches import score_samples
from cervix_jax.explain.contract import Common, Reduction
from cervix_jax.explain.function import LogitsFn, Output
from cervix_jax.explain.measures.maps import (
    Ids,
    check_call,
    is_constant,
    pixel_ranks,
    reduce_channels,
)


@dataclasses.dataclass(frozen=True)
class Curve:
    """A score along the share of pixels replaced.

    Attributes:
      fractions: float64 [K + 1], the share of pixels replaced, from 0 to 1.
      scores: float64 [N, K + 1]; NaN for a constant map, which ranks no pixel.
    """

    fractions: np.ndarray
    scores: np.ndarray

    @property
    def auc(self) -> np.ndarray:
        """Area under each image's curve by the trapezoidal rule, float64 [N]."""
        return trapezoid(self.scores, self.fractions, axis=-1)


class CurveOptions(Common, total=False):
    """Keywords of insertion and deletion; `deletion` documents them."""

    steps: int
    reduction: Reduction
    ids: Ids


def deletion(
    fn: LogitsFn,
    images: ArrayLike,
    targets: ArrayLike,
    maps: ArrayLike,
    **options: Unpack[CurveOptions],
) -> Curve:
    """The score while pixels are replaced by the baseline, the most relevant first.

    A low area is good. All channels of a pixel are replaced at once. The result depends on
    `batch_size` only by rounding.

        area = measures.deletion(run.logits_fn, images, targets, maps, steps=25).auc

    Args:
      fn: as for `explain.saliency`.
      images: float [N, H, W, 3], as `fn` takes them.
      targets: int [N], the class that each map explains, or one for all.
      maps: float [N, H, W, 3] or [N, H, W].
      **options: `steps=50`: K, at most the number of pixels. `reduction="sum"`: see
        `reduce_channels`. `ids=None`: see `checked_ids`. `baselines=None`: see `explain.baselines`,
        by default each image's mean colour; with several, the mean of their scores.
        `output="probability"`: the score, as in RISE. `batch_size=32`: changed images in one batch.
        `seed=0`: random seed of the order of pixels with equal relevance. `progress=""`: label of
        the progress bar.

    Raises:
      InputError: an argument is invalid.
    """
    return _curve(fn, images, targets, maps, inserting=False, **options)


def insertion(
    fn: LogitsFn,
    images: ArrayLike,
    targets: ArrayLike,
    maps: ArrayLike,
    **options: Unpack[CurveOptions],
) -> Curve:
    """The score while the pixels of the image are inserted into the baseline, most relevant first.

    A high area is good. Arguments as for `deletion`. The RISE paper starts from the blurred image,
    which can be given as `baselines`.
    """
    return _curve(fn, images, targets, maps, inserting=True, **options)


def insertion_deletion(
    fn: LogitsFn,
    images: ArrayLike,
    targets: ArrayLike,
    maps: ArrayLike,
    **options: Unpack[CurveOptions],
) -> tuple[Curve, Curve]:
    """Both curves, insertion first; options as for `deletion`."""
    return (
        insertion(fn, images, targets, maps, **options),
        deletion(fn, images, targets, maps, **options),
    )


def _curve(
    fn: LogitsFn,
    images: ArrayLike,
    targets: ArrayLike,
    maps: ArrayLike,
    *,
    inserting: bool,
    steps: int = 50,
    reduction: Reduction = "sum",
    ids: Ids = None,
    baselines: Baselines = None,
    output: Output = "probability",
    batch_size: int = 32,
    seed: int = 0,
    progress: str = "",
) -> Curve:
    fn, examples, values = check_call(fn, images, targets, maps, output)
    reduced = reduce_channels(values, reduction)
    examples, several, count = attach(examples, baselines)
    check_count("steps", steps)
    pixels = reduced[0].size
    replaced = np.unique(np.rint(np.linspace(0, pixels, steps + 1)).astype(np.int32))
    examples["ranks"] = pixel_ranks(reduced, seed=seed, ids=ids)
    scores = score_samples(
        _replace_first,
        fn,
        examples,
        {"replaced": replaced, "baselines": several},
        output=output,
        samples=count * len(replaced),
        batch_size=batch_size,
        progress=progress,
        inserting=inserting,
    ).values
    scores = scores.reshape(len(reduced), count, len(replaced)).mean(axis=1)
    return Curve(replaced / pixels, np.where(is_constant(reduced)[:, None], np.nan, scores))


def _replace_first(examples, sample, shared, *, inserting):
    number, step = jnp.divmod(sample, len(shared["replaced"]))
    first = examples["ranks"] < shared["replaced"][step][:, None, None]
    baseline = pick(examples, shared["baselines"], number)
    return jnp.where((first == inserting)[..., None], examples["images"], baseline), ()
