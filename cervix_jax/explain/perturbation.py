"""Maps from the change of the score when parts of the image are covered; without gradients."""

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from cervix_jax import rng
from cervix_jax.errors import InputError, check_count
from cervix_jax.explain.baselines import Baselines, attach, pick
from cervix_jax.explain.batches import score_samples, sum_samples
from cervix_jax.explain.function import (
    LogitsFn,
    Output,
    call,
    check_inputs,
    score_of,
)


def occlusion(
    fn: LogitsFn,
    images: ArrayLike,
    targets: ArrayLike,
    *,
    baselines: Baselines = None,
    window: int | tuple[int, int] | None = None,
    stride: int | tuple[int, int] | None = None,
    output: Output = "logit",
    batch_size: int = 32,
    seed: int = 0,
    progress: str = "",
) -> np.ndarray:
    """Fall of the score when a sliding window is replaced by the baseline.

    Source: Zeiler and Fergus, "Visualizing and Understanding Convolutional Networks", ECCV 2014.
    Windows start every `stride` pixels from the top left corner to the opposite edge, which may cut
    off the last ones. The value of a pixel is the mean over the windows that cover it.

    Args:
      fn: as for `saliency`.
      images: float [N, H, W, 3].
      targets: int [N], or one class for all.
      baselines: image that replaces the window, see `explain.baselines`; with several, the mean
        over them.
      window: side, or height and width, in pixels; None takes a quarter of the image.
      stride: pixels between windows, down and across; None takes half the window. At most the
        window, so that every pixel is covered.
      output: "logit", "log_probability" or "probability".
      batch_size: covered images in one batch.
      seed: not used.
      progress: label of the progress bar.

    Returns:
      float32 [N, H, W]; positive where the image raises the score.

    Raises:
      InputError: as for `saliency`, or a setting is out of range.
    """
    del seed
    fn, examples = check_inputs(fn, images, targets, output)
    examples, several, count = attach(examples, baselines)
    size = examples["images"].shape[1:3]
    quarter = (max(1, size[0] // 4), max(1, size[1] // 4))
    sides = quarter if window is None else _pair("window", window)
    half = (-(-sides[0] // 2), -(-sides[1] // 2))
    steps = half if stride is None else _pair("stride", stride)
    for side, wide, step in zip(size, sides, steps, strict=True):
        if wide > side or step > wide:
            raise InputError(
                f"window={sides}, stride={steps}: images have {size[0]} x {size[1]} pixels; give a "
                "window no larger than the image and a stride no larger than the window."
            )
    down, across = (
        -(-(side - wide) // step) + 1 for side, wide, step in zip(size, sides, steps, strict=True)
    )
    scores = score_samples(
        _cover_window,
        fn,
        examples,
        several,
        output=output,
        samples=1 + count * down * across,  # the first is the image itself
        batch_size=batch_size,
        progress=progress,
        window=sides,
        stride=steps,
        grid=(down, across),
    ).values
    falls = (scores[:, :1] - scores[:, 1:]).reshape(-1, count, down, across).mean(1)
    rows, columns = (
        _covers(side, wide, step, number)
        for side, wide, step, number in zip(size, sides, steps, (down, across), strict=True)
    )
    total = np.einsum("nij,ih,jw->nhw", falls, rows, columns, optimize=True)
    return (total / np.outer(rows.sum(0), columns.sum(0))).astype(np.float32)


def rise(
    fn: LogitsFn,
    images: ArrayLike,
    targets: ArrayLike,
    *,
    baselines: Baselines = None,
    samples: int = 4000,
    grid: int = 7,
    keep: float = 0.5,
    output: Output = "probability",
    batch_size: int = 32,
    seed: int = 0,
    progress: str = "",
) -> np.ndarray:
    """Mean score of randomly masked images; each pixel is weighted by its visibility in the mask.

    Source: Petsiuk et al., "RISE", BMVC 2018. Each mask is a grid of zeros and ones, enlarged
    bilinearly and shifted at random. The sum of score times mask is divided by `samples * keep`.
    The default score is the probability, as in the paper, because a constant in the score would
    appear in the map. All other methods use the logit. The masks are the same for every image.

    Args:
      fn: as for `saliency`.
      images: float [N, H, W, 3].
      targets: int [N], or one class for all.
      baselines: image that replaces masked pixels, see `explain.baselines`; with several, the masks
        use them in turn.
      samples: number of masks.
      grid: squares of a mask along each side.
      keep: probability that a square stays visible, above 0 and below 1.
      output: "logit", "log_probability" or "probability".
      batch_size: masked images in one batch.
      seed: random seed of the masks.
      progress: label of the progress bar.

    Returns:
      float32 [N, H, W], not normalised.

    Raises:
      InputError: as for `saliency`, or a setting is out of range.
    """
    fn, examples = check_inputs(fn, images, targets, output)
    examples, several, count = attach(examples, baselines)
    check_count("grid", grid)
    if not 0 < keep < 1:
        raise InputError(f"keep={keep}: give a probability above 0 and below 1.")
    total = sum_samples(
        _masked_score,
        fn,
        examples,
        {"key": rng.stream(seed, "rise"), "keep": np.float32(keep), "baselines": several},
        samples=samples,
        batch_size=batch_size,
        progress=progress,
        count=count,
        grid=int(grid),
        output=output,
    )
    return total / np.float32(samples * keep)


def _pair(name: str, value: int | tuple[int, int]) -> tuple[int, int]:
    pair = tuple(value) if isinstance(value, tuple | list) else (value, value)
    if len(pair) != 2:
        raise InputError(f"{name}={value!r}: give one number of pixels, or two.")
    for side in pair:
        check_count(name, side)
    return pair[0], pair[1]


def _covers(side: int, wide: int, step: int, count: int) -> np.ndarray:
    """1 if window i covers position j, else 0, [count, side]."""
    starts = step * np.arange(count)[:, None]
    places = np.arange(side)
    return ((places >= starts) & (places < starts + wide)).astype(np.float64)


def _cover_window(examples, sample, several, *, window, stride, grid):
    images = examples["images"]
    number, place = jnp.divmod(jnp.maximum(sample - 1, 0), grid[0] * grid[1])
    row, column = jnp.divmod(place, grid[1])

    def inside(side: int, number: jax.Array, axis: int) -> jax.Array:
        place = jnp.arange(side) - stride[axis] * number[:, None]
        return (place >= 0) & (place < window[axis])

    rows, columns = inside(images.shape[1], row, 0), inside(images.shape[2], column, 1)
    covered = rows[:, :, None] & columns[:, None, :] & (sample > 0)[:, None, None]
    return jnp.where(covered[..., None], pick(examples, several, number), images), ()


def _masked_score(fn, examples, sample, shared, *, count, grid, output):
    images = examples["images"]
    size = images.shape[1:3]
    masks = jax.vmap(lambda n: _mask(jax.random.fold_in(shared["key"], n), shared["keep"], grid,
                                     size))(sample)  # fmt: skip
    seen = masks[..., None]
    masked = seen * images + (1 - seen) * pick(examples, shared["baselines"], sample % count)
    scores = score_of(call(fn, masked)[0], examples["targets"], output)
    return scores[:, None, None] * masks


def _mask(key: jax.Array, keep: jax.Array, grid: int, size: tuple[int, int]) -> jax.Array:
    """A mask of values from 0 to 1, float32 [H, W]."""
    for_cells, for_shift = jax.random.split(key)
    # One square more than the image needs, so that the mask can be shifted.
    cells = jax.random.bernoulli(for_cells, keep, (grid + 1, grid + 1)).astype(jnp.float32)
    cell = tuple(-(-side // grid) for side in size)
    large = jax.image.resize(cells, tuple((grid + 1) * side for side in cell), "bilinear")
    shift = jax.random.randint(for_shift, (2,), 0, jnp.array(cell))
    return jax.lax.dynamic_slice(large, shift, size)
