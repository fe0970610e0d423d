"""Keywords that every method and every measure accepts."""

from typing import Literal, TypedDict

from cervix_jax.explain.baselines import Baselines
from cervix_jax.explain.function import Output

Reduction = Literal["sum", "mean", "sum_absolute", "max_absolute"]
"""Reduction of the channels of a map to one number a pixel; see `measures.reduce_channels`."""


class Common(TypedDict, total=False):
    """Keywords of `method(fn, images, targets, ...)` and `measure(fn, images, targets, maps, ...)`.

    Every method and measure accepts all of them, so one call works for all. A keyword without
    effect is marked "not used" in the docstring.

    Attributes:
      baselines: image without evidence to compare with, see `explain.baselines`.
      output: the score to explain: the logit, log-probability or probability of the target.
      batch_size: maximum number of changed images in memory at a time; results depend on it only
        by rounding.
      seed: random seed.
      progress: label of the progress bar; "" shows none.
    """

    baselines: Baselines
    output: Output
    batch_size: int
    seed: int
    progress: str
