"""`--profile=10:20`: profiling of a window of training steps for TensorBoard's profile page."""

import re
from pathlib import Path
from typing import Any

import jax

from cervix_jax.errors import InputError


class ProfileWindow:
    """Profiles the steps `first` to `last` of a run with `jax.profiler`, in `<workdir>/profile`.

    Args:
      window: `<first>:<last>`, counted from 1, or "" for no profile.
      folder: folder of the trace.

    Raises:
      InputError: the window is invalid.
    """

    def __init__(self, window: str, folder: Path):
        self._first = self._last = 0
        self._folder, self._records = folder, False
        if window:
            found = re.fullmatch(r"(\d+):(\d+)", window)
            if not found or not 1 <= int(found[1]) <= int(found[2]):
                raise InputError(
                    f"--profile={window}: give the first and the last step, e.g. --profile=10:20."
                )
            self._first, self._last = int(found[1]), int(found[2])

    def before(self, step: int) -> None:
        """Start the profile if `step` is in the window."""
        if self._first <= step <= self._last and not self._records:
            jax.profiler.start_trace(str(self._folder))
            self._records = True

    def after(self, step: int, state: Any) -> None:
        """Write the trace after the window's last step, once `state` has been computed."""
        if step >= self._last:
            self.close(state)

    def close(self, state: Any = ()) -> None:
        """Write the trace if the window is still open."""
        if self._records:
            jax.block_until_ready(state)
            jax.profiler.stop_trace()
            self._records = False
