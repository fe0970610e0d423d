"""SIGTERM: a machine that is taken away asks first, and the run saves and stops.

With `jax.distributed` the signal may reach only one of the processes, and all must stop at the
same point. There JAX notes the signal, and the processes agree through its preemption service.
"""

import contextlib
import itertools
import signal
import threading
from collections.abc import Iterator

import jax
from jax.experimental import multihost_utils

# The service wants numbers that only grow, the same on every process, also over several runs.
_polls = itertools.count(1)


class Preempted(BaseException):
    """The process was asked to stop; what was done so far is saved.

    Not an `Exception`, as `KeyboardInterrupt` is none: it must pass through libraries that catch
    what they call fails with.
    """


class StopRequest:
    """Notes SIGTERM instead of dying of it, while the block lasts.

    In a thread other than the main one, and where `jax.distributed` already notes the signal, it
    installs no handler. Blocks may lie inside each other; what one notes, all know.
    """

    def __init__(self):
        self._noted, self._idle_in, self._previous = False, "", None
        self._outer: StopRequest | None = None

    def __enter__(self):
        in_main = threading.current_thread() is threading.main_thread()
        if in_main and not jax.distributed.is_initialized():
            self._previous = signal.signal(signal.SIGTERM, self._note)
            owner = getattr(self._previous, "__self__", None)
            self._outer = owner if isinstance(owner, StopRequest) else None
        return self

    def __exit__(self, *unused):
        if self._previous is not None:
            signal.signal(signal.SIGTERM, self._previous)

    def reached(self) -> bool:
        """Whether to stop here.

        With several processes all must ask at the same points, and all get the same answer.
        """
        if self._outer is not None and self._outer.reached():
            self._noted = True
        if not self._noted and jax.distributed.is_initialized():
            # A RuntimeError means that somebody disabled the service: then nothing is noted.
            with contextlib.suppress(RuntimeError):
                self._noted = multihost_utils.reached_preemption_sync_point(next(_polls))
        return self._noted

    def check(self, stage: str) -> None:
        """Stop here if asked to; `stage` says where, for the message.

        Raises:
          Preempted: the process was asked to stop.
        """
        if self.reached():
            raise Preempted(f"stopped in {stage}")

    @contextlib.contextmanager
    def at_once(self, stage: str) -> Iterator[None]:
        """A block in which nothing is lost: the signal ends it at once with `Preempted`.

        With `jax.distributed` that happens at its start and its end only.
        """
        self.check(stage)
        self._idle_in = stage
        try:
            yield
        finally:
            self._idle_in = ""
        self.check(stage)

    def _note(self, *unused):
        self._noted = True
        if self._outer is not None:
            self._outer._noted = True
        if self._idle_in:
            raise Preempted(f"stopped in {self._idle_in}")
