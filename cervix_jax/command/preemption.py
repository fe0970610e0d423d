"""Handling of SIGTERM: before a machine is preempted, the run saves its state and stops.

With `jax.distributed` the signal may reach only one of the processes, but all must stop at the
same point. In that case JAX receives the signal, and the processes agree on the point through JAX's
preemption service.
"""

import contextlib
import itertools
import signal
import threading
from collections.abc import Iterator

import jax
from jax.experimental import multihost_utils

# The service requires increasing numbers that agree between processes, also over several runs.
_polls = itertools.count(1)


class Preempted(BaseException):
    """The process received SIGTERM and stopped after saving its progress.

    Like `KeyboardInterrupt` this class does not derive from `Exception`, so that libraries which
    catch every `Exception` let it pass.
    """


class StopRequest:
    """Context in which SIGTERM is recorded instead of ending the process.

    No handler is installed in a thread other than the main one, or if `jax.distributed` already
    handles the signal. Contexts can be nested; a signal is then recorded in all of them.
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
        """Whether the process should stop here.

        With several processes, all must call this at the same points; all get the same answer.
        """
        if self._outer is not None and self._outer.reached():
            self._noted = True
        if not self._noted and jax.distributed.is_initialized():
            # A RuntimeError means that the service is disabled; the signal is then not recorded.
            with contextlib.suppress(RuntimeError):
                self._noted = multihost_utils.reached_preemption_sync_point(next(_polls))
        return self._noted

    def check(self, stage: str) -> None:
        """Stop here if SIGTERM was received.

        Args:
          stage: the current stage of the work, for the message.

        Raises:
          Preempted: SIGTERM was received.
        """
        if self.reached():
            raise Preempted(f"stopped in {stage}")

    @contextlib.contextmanager
    def at_once(self, stage: str) -> Iterator[None]:
        """A block without unsaved work, which SIGTERM ends immediately with `Preempted`.

        With `jax.distributed` the signal takes effect only at the start and the end of the block.
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
