"""What every method and every measure takes."""

from typing import Literal, TypedDict

from cervix_jax.explain.baselines import Baselines
from cervix_jax.explain.function import Output

Reduction = Literal["sum", "mean", "sum_absolute", "max_absolute"]
"""How the channels of a map become one number for each pixel; see `measures.reduce_channels`."""


class Common(TypedDict, total=False):
    """Keywords of `method(fn, images, targets, ...)` and `measure(fn, images, targets, maps, ...)`.

    All can be given to any of them, so that one call serves for all; what a method or a measure has
    no use for it does not look at, and its docstring says so.

    Attributes:
      baselines: what the image is compared with, see `explain.baselines`.
      output: the score that is explained: the logit, log-probability or probability of the target.
      batch_size: most changed images under way at a time; no result depends on it but for rounding.
      seed: of everything random.
      progress: what the progress bar is called; "" shows none.
    """

    baselines: Baselines
    output: Output
    batch_size: int
    seed: int
    progress: str
