"""Examples times samples, in batches of a bounded size, one compiled program for all of them.

Every method here is a mean over samples (steps of a path, noisy copies, masks) of something
computed from one image. `sum_samples` and `each_sample` lay the pairs (image, sample) out image
by image and cut the row into batches, of which `batch_size` pairs are under way at a time, so that
memory depends neither on the number of images nor on that of samples. What belongs to one image is
summed on the device, in float32 within a batch; the sums are added up on the host in float64.
"""

import functools
from collections.abc import Callable, Hashable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from cervix_jax.errors import InputError
from cervix_jax.explain import cores

# (fn, examples, sample, shared, **options) -> arrays with a leading batch axis. `examples` is a
# dict of arrays [B, ...], `sample` int [B], `shared` any pytree that is the same for all.
Sample = Callable[..., Any]


class Chunk(NamedTuple):
    """A batch of B pairs; the images that they touch are `start` to `start + M`.

    Attributes:
      start: the first image.
      images: int [M], their numbers; the last is repeated where there are fewer.
      local: int [B], for each pair which of the M images.
      sample: int [B], for each pair which sample.
      valid: bool [B], false where the last batch is filled up.
    """

    start: int
    images: np.ndarray
    local: np.ndarray
    sample: np.ndarray
    valid: np.ndarray


def plan(images: int, samples: int, batch_size: int) -> Iterator[Chunk]:
    """All pairs of `images` and `samples`, image by image, in batches of one size.

    The size is `batch_size`, or the number of pairs where there are fewer.
    """
    pairs = images * samples
    size = min(batch_size, pairs)
    touched = min((size + samples - 2) // samples + 1, size)
    for first in range(0, pairs, size):
        pair = np.arange(first, first + size)
        valid = pair < pairs
        image, sample = np.divmod(np.minimum(pair, pairs - 1), samples)
        start = int(image[0])
        own = np.minimum(np.arange(start, start + touched), images - 1)
        yield Chunk(start, own, (image - start).astype(np.int32), sample.astype(np.int32), valid)


def sum_samples(
    method: Sample,
    fn: Callable,
    examples: dict[str, np.ndarray],
    shared: Any,
    *,
    samples: int,
    batch_size: int,
    progress: str = "",
    **options: Hashable,
) -> Any:
    """For each image the sum of `method` over its samples.

    Args:
      method: a function of the module level: it is part of what a compiled program is known by.
      fn: a pytree that can be called, from `scores.as_pytree`.
      examples: arrays [N, ...].
      shared: arrays that all pairs see.
      samples: samples of each image.
      batch_size: most pairs under way at a time; on a CPU its cores share them.
      progress: what the bar is called; "" shows none.
      **options: fixed arguments of `method`.

    Returns:
      What `method` returns, float32 [N, ...].

    Raises:
      InputError: a batch size below 1, or values that are not finite.
    """
    check_count("batch_size", batch_size)
    check_count("samples", samples)
    if not len(examples["images"]):
        return _nothing(method, fn, examples, shared, options)
    totals: Any = None
    # One sample needs no float64 to be added up in.
    dtype = np.float32 if samples == 1 else np.float64
    count = len(examples["images"])
    run = _batches(method, fn, examples, shared, samples, batch_size, progress, options, True)
    for chunk, sums in run:
        if totals is None:
            totals = jax.tree.map(lambda x: np.zeros((count, *x.shape[1:]), dtype), sums)
        here = chunk.images[: count - chunk.start]

        def add(total: np.ndarray, part: np.ndarray, here: np.ndarray = here) -> None:
            total[here] += part[: len(here)]

        jax.tree.map(add, totals, sums)
    return jax.tree.map(lambda total: total.astype(np.float32), totals)


def each_sample(
    method: Sample,
    fn: Callable,
    examples: dict[str, np.ndarray],
    shared: Any,
    *,
    samples: int,
    batch_size: int,
    progress: str = "",
    **options: Hashable,
) -> np.ndarray:
    """For each image and sample the one number that `method` returns, float32 [N, samples].

    The arguments are those of `sum_samples`.
    """
    check_count("batch_size", batch_size)
    check_count("samples", samples)
    if not len(examples["images"]):
        return np.zeros((0, samples), np.float32)
    run = _batches(method, fn, examples, shared, samples, batch_size, progress, options, False)
    found = [values[chunk.valid] for chunk, values in run]
    return np.concatenate(found).reshape(-1, samples)


def _nothing(method, fn, examples, shared, options):
    """What `method` returns for no images."""
    one = jax.tree.map(lambda x: jax.ShapeDtypeStruct((1, *x.shape[1:]), x.dtype), examples)
    sample = jax.ShapeDtypeStruct((1,), jnp.int32)
    shapes = jax.eval_shape(lambda *args: method(*args, **options), fn, one, sample, shared)
    return jax.tree.map(lambda x: np.zeros((0, *x.shape[1:]), np.float32), shapes)


def _batches(method, fn, examples, shared, samples, batch_size, progress, options, summed):
    fixed = tuple(sorted(options.items()))
    count = len(examples["images"])
    size, at_once = cores.divide(count * samples, batch_size)

    def start(chunk: Chunk):
        own = jax.tree.map(lambda x: x[chunk.images], examples)
        return _evaluate(method, fixed, summed, samples, fn, own, chunk[2:], shared)

    found = cores.run_batches(start, plan(count, samples, size), at_once)
    for chunk, (values, finite) in tqdm(
        found, desc=progress, total=-(-count * samples // size), unit="batch", leave=False,
        disable=not progress,
    ):  # fmt: skip
        _check_finite(chunk, finite)
        yield chunk, values


@functools.partial(jax.jit, static_argnums=(0, 1, 2, 3))
def _evaluate(method, options, summed, samples, fn, examples, pairs, shared):
    local, sample, valid = pairs
    gathered = jax.tree.map(lambda x: x[local], examples)
    values = method(fn, gathered, sample, shared, **dict(options))
    finite = functools.reduce(
        jnp.logical_and,
        [jnp.isfinite(x).reshape(len(local), -1).all(1) for x in jax.tree.leaves(values)],
    )
    if not summed:
        return values, finite
    keep = valid & finite
    owner = (local == jnp.arange(len(examples["images"]))[:, None]).astype(jnp.float32)

    def add_up(x: jax.Array) -> jax.Array:
        x = jnp.where(keep.reshape(-1, *[1] * (x.ndim - 1)), x.astype(jnp.float32), 0)
        if samples == 1:
            return x
        # As a product of matrices: a scattered sum has no fixed order on a GPU.
        return jnp.tensordot(owner, x, 1, precision=jax.lax.Precision.HIGHEST)

    return jax.tree.map(add_up, values), finite


def _check_finite(chunk: Chunk, finite: np.ndarray) -> None:
    if not finite.all():
        bad = sorted({int(n) for n in chunk.start + chunk.local[~finite & chunk.valid]})
        if bad:
            raise InputError(
                f"image {bad[0]}: its scores or their gradients are not finite "
                f"({len(bad)} such in this batch); look at the model's weights and the image."
            )


def check_count(name: str, value: int, least: int = 1) -> None:
    """Raises InputError unless `value` is a whole number of at least `least`."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise InputError(f"{name} is {value!r}; give a whole number of at least {least}.")


def check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    """Raises InputError unless `value` is one of `choices`."""
    if value not in choices:
        raise InputError(f"{name} is {value!r}; choose one of {', '.join(choices)}.")
