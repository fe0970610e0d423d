"""Batches on all cores of a CPU at once.

XLA runs the programs of a thread one after the other, and within one of a network it leaves cores
idle (`benchmarks/README.md` has what that costs). A GPU or TPU has one queue anyway; there the host
only stays a batch ahead.
"""

import collections
import contextlib
import functools
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import jax

from cervix_jax.files.threads import map_in_order

_Batch = TypeVar("_Batch")
_dispatching = threading.Lock()  # else two threads would compile the same program


def divide(rows: int, batch_size: int) -> tuple[int, int]:
    """Rows of a batch and how many batches run at once, so that memory holds `batch_size` rows.

    Args:
      rows: of all batches together, at least 1.
      batch_size: most rows under way at any time, at least 1.
    """
    at_once = min(_cores(), batch_size) if jax.default_backend() == "cpu" else 1
    return min(batch_size // at_once, -(-rows // at_once)), at_once


def run_batches(
    start: Callable[[_Batch], Any], batches: Iterable[_Batch], at_once: int
) -> Iterator[tuple[_Batch, Any]]:
    """Batches in their order, with what `start` gave for each, on the host.

    Args:
      start: begins the work of one batch; jitted, since it is called by one thread at a time.
      batches: what it is called with.
      at_once: from `divide`; 1 runs in this thread, where the next batch is under way while the
        caller deals with this one.
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
    """A context for other threads: JAX's context managers hold for one thread only."""
    entered = (
        functools.partial(jax.default_device, jax.config.jax_default_device),
        functools.partial(jax.default_matmul_precision, jax.config.jax_default_matmul_precision),
        functools.partial(jax.enable_x64, jax.config.jax_enable_x64),
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
