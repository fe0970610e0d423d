"""Runs pairs of images and samples in batches of bounded size, with one compiled program.

Every method and measure uses samples of an image: steps of a path, noisy copies, masks, or shares
of removed pixels. `sum_samples` sums a result over the samples of each image; `score_samples`
returns the score of each sample. Both order the pairs (image, sample) by image and divide them into
batches. At most `batch_size` pairs are in memory at a time, so memory depends neither on the number
of images nor on the number of samples. Results of one image are summed on the device, in float32
within a batch; the sums of batches are added on the host in float64.

On a CPU, several batches run on different cores at once: XLA runs the programs of one thread one
after the other, and one program leaves cores idle (`benchmarks/README.md` has the measurements). A
GPU or TPU has one queue; there the host prepares one batch ahead.
"""

import collections
import contextlib
import functools
import os
import threading
from collections.abc import Callable, Hashable, Iterable, Iterator
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from cervix_jax import target
from cervix_jax.errors import InputError, check_count
from cervix_jax.explain.function import call, exact_scores
from cervix_jax.files.threads import map_in_order
from cervix_jax.progress import Bar

# (fn, examples, sample, shared, **options) -> arrays with a leading batch axis. `examples` is a
# dict of arrays [B, ...], `sample` int [B], `shared` a pytree that is the same for all pairs.
Sample = Callable[..., Any]
# (examples, sample, shared, **options) -> images [B, H, W, 3], and arrays [B, ...] to return.
Change = Callable[..., tuple[jax.Array, Any]]

_Batch = TypeVar("_Batch")
_dispatching = threading.Lock()  # prevents two threads from compiling the same program


class Scores(NamedTuple):
    """Scores of N images with S samples each.

    Attributes:
      values: float64 [N, S], the score of the image's target.
      predicted: bool [N, S], whether the target has the largest logit.
      kept: other results of the change for each sample, a tree of arrays [N, S, ...].
    """

    values: np.ndarray
    predicted: np.ndarray
    kept: Any


class Chunk(NamedTuple):
    """A batch of B pairs of the images `start` to `start + M`.

    Attributes:
      start: number of the first image.
      images: int [M], numbers of the images; the last is repeated if there are fewer.
      local: int [B], position of each pair's image among the M images.
      sample: int [B], sample of each pair.
      valid: bool [B], false for padding of the last batch.
    """

    start: int
    images: np.ndarray
    local: np.ndarray
    sample: np.ndarray
    valid: np.ndarray


def plan(images: int, samples: int, batch_size: int) -> Iterator[Chunk]:
    """All pairs of `images` and `samples`, ordered by image, in batches of one size.

    The size is `batch_size`, or the number of pairs if there are fewer.
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
    samples: int = 1,
    batch_size: int,
    progress: str = "",
    **options: Hashable,
) -> Any:
    """The sum of `method` over the samples of each image.

    Args:
      method: a module-level function; it is part of the key of the compiled program.
      fn: a callable pytree, from `function.as_pytree`.
      examples: arrays [N, ...], including "images".
      shared: arrays that are the same for all pairs.
      samples: samples of each image.
      batch_size: maximum number of pairs in memory at a time; on a CPU the cores share them.
      progress: label of the progress bar; "" shows none.
      **options: fixed arguments of `method`.

    Returns:
      Sums of the results of `method`, float32 [N, ...].

    Raises:
      InputError: the batch size is below 1, or values are not finite.
    """
    fixed, count = tuple(sorted(options.items())), len(examples["images"])

    def start(own: dict[str, np.ndarray], pairs: tuple) -> Any:
        return sum_batch(method, fixed, samples, target.platform(), fn, own, pairs, shared)

    totals: Any = None
    # A single sample needs no float64 sum.
    dtype = np.float32 if samples == 1 else np.float64
    for chunk, (sums, finite) in _run(start, examples, samples, batch_size, progress):
        check_finite(finite, chunk.start + chunk.local, chunk.valid)
        if totals is None:
            totals = jax.tree.map(lambda x: np.zeros((count, *x.shape[1:]), dtype), sums)
        here = chunk.images[: count - chunk.start]

        def add(total: np.ndarray, part: np.ndarray, here: np.ndarray = here) -> None:
            total[here] += part[: len(here)]

        jax.tree.map(add, totals, sums)
    if totals is None:  # no images
        one = jax.tree.map(lambda x: jax.ShapeDtypeStruct((1, *x.shape[1:]), x.dtype), examples)
        sample = jax.ShapeDtypeStruct((1,), jnp.int32)
        shapes = jax.eval_shape(lambda *args: method(*args, **options), fn, one, sample, shared)
        return jax.tree.map(lambda x: np.zeros((0, *x.shape[1:]), np.float32), shapes)
    return jax.tree.map(lambda total: total.astype(np.float32), totals)


def as_it_is(examples: dict[str, jax.Array], sample: jax.Array, shared: Any) -> tuple:
    """A change for `score_samples` that leaves the images unchanged."""
    del sample, shared
    return examples["images"], ()


def score_samples(
    change: Change,
    fn: Callable,
    examples: dict[str, np.ndarray],
    shared: Any = (),
    *,
    output: str,
    samples: int = 1,
    batch_size: int,
    progress: str = "",
    **options: Hashable,
) -> Scores:
    """The scores of changed images.

    The network is a separate program for each batch size, which all changes share. Scores are
    computed in float64 from its float32 logits.

    Args:
      change: a module-level function that makes the images of a batch of samples.
      fn: a callable pytree, from `function.as_pytree`.
      examples: arrays [N, ...], including "images" and "targets".
      shared: arrays that are the same for all pairs.
      output: the score, see `function.Output`.
      samples: S, samples of each image.
      batch_size: maximum number of changed images in memory at a time.
      progress: label of the progress bar.
      **options: fixed arguments of `change`.

    Raises:
      InputError: the batch size is below 1, or scores are not finite.
    """
    fixed, count = tuple(sorted(options.items())), len(examples["images"])

    def start(own: dict[str, np.ndarray], pairs: tuple) -> Any:
        images, kept = _changed(change, fixed, own, pairs, shared)
        return _logits(fn, images), kept

    found = [
        jax.tree.map(lambda x, valid=chunk.valid: x[valid], values)
        for chunk, values in _run(start, examples, samples, batch_size, progress)
    ]
    if not found:  # no images
        return Scores(np.zeros((0, samples)), np.zeros((0, samples), bool), ())
    logits, kept = jax.tree.map(
        lambda *parts: np.concatenate(parts).reshape(count, samples, *parts[0].shape[1:]), *found
    )
    values = exact_scores(logits, examples["targets"], output)
    finite = np.logical_and.reduce(np.isfinite(values), axis=1)
    check_finite(finite, np.arange(count))
    return Scores(values, logits.argmax(-1) == examples["targets"][:, None], kept)


def check_finite(finite: np.ndarray, numbers: np.ndarray, counted: Any = True) -> None:
    """Raises InputError with the number of the first image that has non-finite values."""
    bad = np.unique(numbers[~finite & counted])
    if len(bad):
        raise InputError(
            f"image {bad[0]}: its scores or their gradients are not finite "
            f"({len(bad)} such images in this batch); check the model's weights and the image."
        )


def _run(
    start: Callable[[dict[str, np.ndarray], tuple], Any],
    examples: dict[str, np.ndarray],
    samples: int,
    batch_size: int,
    progress: str,
) -> Iterator[tuple[Chunk, Any]]:
    """All chunks of the plan in order, with the result of `start` for each, on the host."""
    check_count("batch_size", batch_size)
    check_count("samples", samples)
    count = len(examples["images"])
    if not count:
        return
    size, at_once = divide(count * samples, batch_size)

    def begin(chunk: Chunk) -> Any:
        return start(jax.tree.map(lambda x: x[chunk.images], examples), chunk[2:])

    yield from Bar(
        run_batches(begin, plan(count, samples, size), at_once),
        desc=progress, total=-(-count * samples // size), unit="batch", leave=False,
        disable=not progress,
    )  # fmt: skip


@functools.partial(jax.jit, static_argnums=(0, 1, 2, 3))
def sum_batch(method, options, samples, platform, fn, examples, pairs, shared):
    """The program of `sum_samples`: the sums of one chunk by image, and which pairs are finite."""
    del platform  # part of the program's key, because the network's code depends on it
    local, sample, valid = pairs
    gathered = jax.tree.map(lambda x: x[local], examples)
    values = method(fn, gathered, sample, shared, **dict(options))
    finite = functools.reduce(
        jnp.logical_and,
        [jnp.isfinite(x).reshape(len(local), -1).all(1) for x in jax.tree.leaves(values)],
    )
    keep = valid & finite
    owner = (local == jnp.arange(len(examples["images"]))[:, None]).astype(jnp.float32)

    def add_up(x: jax.Array) -> jax.Array:
        x = jnp.where(keep.reshape(-1, *[1] * (x.ndim - 1)), x.astype(jnp.float32), 0)
        if samples == 1:
            return x
        # A matrix product, because a scattered sum has no fixed order on a GPU.
        return jnp.tensordot(owner, x, 1, precision=jax.lax.Precision.HIGHEST)

    return jax.tree.map(add_up, values), finite


@functools.partial(jax.jit, static_argnums=(0, 1))
def _changed(change, options, examples, pairs, shared):
    local, sample, _ = pairs
    gathered = jax.tree.map(lambda x: x[local], examples)
    return change(gathered, sample, shared, **dict(options))


@jax.jit
def _logits(fn, images):
    return call(fn, images)[0]


def divide(rows: int, batch_size: int) -> tuple[int, int]:
    """Rows of one batch, and the number of batches that run at once within `batch_size` rows.

    Args:
      rows: rows of all batches together, at least 1.
      batch_size: maximum number of rows in memory at a time, at least 1.
    """
    at_once = min(_cores(), batch_size) if target.platform() == "cpu" else 1
    return min(batch_size // at_once, -(-rows // at_once)), at_once


def run_batches(
    start: Callable[[_Batch], Any], batches: Iterable[_Batch], at_once: int
) -> Iterator[tuple[_Batch, Any]]:
    """Batches in their order, with the result of `start` for each, on the host.

    Args:
      start: starts the computation of one batch; jitted, called by one thread at a time.
      batches: arguments of `start`.
      at_once: number of batches at once, from `divide`. With 1, batches run in this thread, and the
        next batch is computed while the caller uses the current one.
    """
    if at_once == 1:
        waiting: collections.deque[tuple[_Batch, Any]] = collections.deque()
        for batch in batches:
            waiting.append((batch, start(batch)))
            if len(waiting) > 1:
                yield _fetched(*waiting.popleft())
        yield from (_fetched(*each) for each in waiting)
        return
    settings = _settings_of_this_thread()

    def run(batch: _Batch) -> tuple[_Batch, Any]:
        with settings():
            with _dispatching:
                begun = start(batch)
            return _fetched(batch, begun)

    yield from map_in_order(run, batches, workers=at_once, ahead=at_once + 1)


def _fetched(batch: _Batch, begun: Any) -> tuple[_Batch, Any]:
    return batch, jax.device_get(begun)


def _settings_of_this_thread() -> Callable[[], contextlib.ExitStack]:
    """JAX settings of this thread as a context for other threads; JAX sets them per thread."""
    now: Any = jax.config
    entered = (
        functools.partial(jax.default_device, now.jax_default_device),
        functools.partial(jax.default_matmul_precision, now.jax_default_matmul_precision),
        functools.partial(jax.enable_x64, now.jax_enable_x64),
    )

    def enter() -> contextlib.ExitStack:
        stack = contextlib.ExitStack()
        for each in entered:
            stack.enter_context(each())
        return stack

    return enter


def _cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
