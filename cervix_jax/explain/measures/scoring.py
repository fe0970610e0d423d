"""Scores of many perturbed images, in batches of bounded size.

A measure asks for rows, each one perturbation of one image. Rows are perturbed on the device, a
batch at a time, so that memory is bounded by the images and one batch, whatever the number of rows.
"""

import functools
from collections.abc import Callable, Iterator
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike
from scipy.special import log_softmax, softmax
from tqdm import tqdm

from cervix_jax.errors import InputError
from cervix_jax.explain import cores

LogitsFn = Callable[[jax.Array], jax.Array]
Output = Literal["logit", "probability", "log_probability"]
# (one entry of each array per image, one of each array per row) -> image, what else to return
Perturb = Callable[[Any, Any], tuple[jax.Array, Any]]


def checked_images(images: ArrayLike, targets: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Images as float32 and targets as int64.

    Raises:
      InputError: images not [N, H, W, 3], not finite, or not one whole number per image as target.
    """
    pixels, classes = np.asarray(images, np.float32), np.asarray(targets)
    if pixels.ndim != 4 or pixels.shape[-1] != 3 or 0 in pixels.shape:
        raise InputError(f"images have shape {pixels.shape}; give [N, height, width, 3], N >= 1.")
    if not np.isfinite(pixels).all():
        raise InputError("images hold NaN or infinite values; mend them before measuring.")
    if classes.shape != pixels.shape[:1] or classes.dtype.kind not in "iu":
        raise InputError(
            f"targets have shape {classes.shape} and type {classes.dtype}; give the number of a "
            f"class for each of the {len(pixels)} images."
        )
    return pixels, classes.astype(np.int64)


def checked_baseline(baseline: ArrayLike | None, images: np.ndarray) -> np.ndarray:
    """The baseline for each image, float32 [N, H, W, 3]; None is the image's own mean colour.

    Raises:
      InputError: it cannot be broadcast to the images, or is not finite.
    """
    if baseline is None:
        baseline = images.mean(axis=(1, 2), keepdims=True)
    values = np.asarray(baseline, np.float32)
    try:
        whole = np.broadcast_to(values, images.shape)
    except ValueError:
        raise InputError(
            f"baseline has shape {values.shape}; give a number, a colour [3], an image "
            f"[height, width, 3] or one for each image {images.shape}."
        ) from None
    if not np.isfinite(values).all():
        raise InputError("baseline holds NaN or infinite values; give finite ones.")
    return whole


def checked_at_least_one(**counts: int) -> None:
    """Raises InputError unless every count is a whole number of at least 1."""
    for name, value in counts.items():
        if not isinstance(value, int | np.integer) or value < 1:
            raise InputError(f"{name}={value!r}: give a whole number, 1 or more.")


def score(
    logits_fn: LogitsFn,
    images: np.ndarray,
    targets: np.ndarray,
    *,
    output: Output = "logit",
    batch_size: int = 32,
) -> np.ndarray:
    """The score of each image's target, float64 [N]; arguments as for `score_rows`."""
    rows = np.arange(len(images))
    scores, _, _ = score_rows(
        logits_fn, _unchanged, images, rows, rows, targets, output=output, batch_size=batch_size
    )
    return scores


def score_rows(
    logits_fn: LogitsFn,
    perturb: Perturb,
    per_image: Any,
    image_of_row: np.ndarray,
    per_row: Any,
    targets: np.ndarray,
    *,
    output: Output,
    batch_size: int,
    progress: str = "",
) -> tuple[np.ndarray, np.ndarray, Any]:
    """Perturb, classify and score every row.

    `perturb` and `logits_fn` are traced, once for each batch shape while they stay the same
    objects; so keep `logits_fn` between calls rather than making it anew.

    Args:
      logits_fn: float32 [B, H, W, 3] to [B, C].
      perturb: makes the image of a row from one entry of `per_image` and one of `per_row`;
        hashable and traceable; returns the image and a tree of anything else wanted of the row.
      per_image: tree of arrays [N, ...].
      image_of_row: int [R], in [0, N).
      per_row: tree of arrays [R, ...].
      targets: int [N], the class whose score is wanted.
      output: "logit", "probability" (softmax) or "log_probability".
      batch_size: most images under way at a time; on a CPU its cores share them.
      progress: what the bar is called; "" shows none.

    Returns:
      Scores, float64 [R]; whether the target has the largest logit, bool [R]; and what else
      `perturb` returned, a tree of arrays [R, ...].

    Raises:
      InputError: `output` or `batch_size` is none, or a target is no class of `logits_fn`.
    """
    if output not in get_args(Output):
        raise InputError(
            f"output={output!r} is unknown; choose one of {', '.join(get_args(Output))}."
        )
    checked_at_least_one(batch_size=batch_size)
    on_device = jax.tree.map(jnp.asarray, per_image)
    count = len(image_of_row)
    size, at_once = cores.divide(count, batch_size)

    def start(rows: np.ndarray) -> tuple[jax.Array, Any]:
        here = jax.tree.map(lambda a: a[rows], per_row)
        images, other = _perturbed(perturb, on_device, image_of_row[rows], here)
        return _logits(logits_fn, images), other

    found = cores.run_batches(start, batches(count, size), at_once)
    bar = tqdm(
        found, desc=progress, total=-(-count // size), unit="batch", leave=False,
        disable=not progress,
    )  # fmt: skip
    whole, others = jax.tree.map(
        lambda *parts: np.concatenate(parts)[:count], *(values for _, values in bar)
    )
    return *_of_target(whole.astype(np.float64), targets[image_of_row], output), others


def batches(count: int, batch_size: int) -> Iterator[np.ndarray]:
    """Positions 0 to count - 1 in batches of one size; the last is filled up from the start."""
    size = min(batch_size, count)
    yield from np.resize(np.arange(count), (-(-count // size), size))


def repeated(count: int, times: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows for `times` perturbations of each image: their image and their number, int [R]."""
    return np.repeat(np.arange(count), times), np.tile(np.arange(times), count)


def _of_target(
    logits: np.ndarray, targets: np.ndarray, output: Output
) -> tuple[np.ndarray, np.ndarray]:
    if targets.min() < 0 or targets.max() >= logits.shape[1]:
        raise InputError(
            f"targets reach from {targets.min()} to {targets.max()}, but logits_fn knows the "
            f"classes 0 to {logits.shape[1] - 1}."
        )
    transform = {"logit": np.asarray, "log_probability": log_softmax, "probability": softmax}
    options = {} if output == "logit" else {"axis": 1}
    scores = transform[output](logits, **options)
    return scores[np.arange(len(targets)), targets], logits.argmax(axis=1) == targets


def _unchanged(image: jax.Array, row: jax.Array) -> tuple[jax.Array, tuple]:
    del row
    return image, ()


# Two programs: the network's depends on the batch alone, not on the number of images.
@functools.partial(jax.jit, static_argnames="perturb")
def _perturbed(perturb: Perturb, per_image: Any, index: jax.Array, per_row: Any):
    return jax.vmap(perturb)(jax.tree.map(lambda a: a[index], per_image), per_row)


@functools.partial(jax.jit, static_argnames="logits_fn")
def _logits(logits_fn: LogitsFn, images: jax.Array) -> jax.Array:
    return logits_fn(images).astype(jnp.float32)
