"""A case of bad input: what lies on disk, which command meets it, and what must come of it."""

import contextlib
import dataclasses
import hashlib
import importlib
import io
import os
import signal
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

from absl import flags

from cervix_jax.command.run import run_command

MODULES = {
    "main": "cervix_jax.main",
    "evaluate": "cervix_jax.evaluate.__main__",
    "prepare": "cervix_jax.prepare",
    "audit": "cervix_jax.audit.__main__",
    "reproduce": "cervix_jax.reproduce.__main__",
    "export": "cervix_jax.export.__main__",
    "report": "cervix_jax.report.__main__",
    "explain": "cervix_jax.explain.__main__",
    "predict": "cervix_jax.predict.__main__",
}
POSITIONAL = ("evaluate", "predict", "report")


@dataclasses.dataclass(frozen=True)
class Done:
    """How a command ended.

    Attributes:
      code: exit code.
      out: standard output.
      err: standard error.
      folder: the case's folder.
      data: folder of the prepared data that all cases share.
    """

    code: int
    out: str
    err: str
    folder: Path
    data: Path


@dataclasses.dataclass(frozen=True)
class Case:
    """One row of the table.

    Attributes:
      id: what is wrong, in words.
      command: a key of `MODULES`.
      args: its arguments; `{tmp}` is the case's folder, `{data}` that of prepared data, `{root}`
        the checkout, `{run}` a copy of a finished run, `{tmp}/run`, and `{prepared}` a copy of its
        prepared data, `{tmp}/prepared`.
      expected: parts of the one line that refuses it.
      make: lays the files in the case's folder, or damages the copies.
      handled: instead of `expected`, where the command must cope: looks at what came of it.
      around: what the command runs in, e.g. a full disk.
    """

    id: str
    command: str
    args: tuple[str, ...]
    expected: tuple[str, ...] = ()
    make: Callable[[Path], object] | None = None
    handled: Callable[[Done], None] | None = None
    around: Callable[[], contextlib.AbstractContextManager] = contextlib.nullcontext

    def __post_init__(self):
        assert bool(self.expected) != bool(self.handled), self.id

    def wants(self, *names: str) -> bool:
        """Whether an argument holds one of these placeholders."""
        return any(f"{{{name}}}" in argument for argument in self.args for name in names)


def call(command: str, arguments: list[str]) -> tuple[int, str, str]:
    """Run a command in this process as its `__main__` block does; exit code, stdout and stderr."""
    module = importlib.import_module(MODULES[command])
    before, argv, hook = set(flags.FLAGS), sys.argv, sys.unraisablehook
    out, err = io.StringIO(), io.StringIO()
    try:
        module.define_flags()
        flags.FLAGS.set_gnu_getopt(command in POSITIONAL)
        sys.argv = [command, *arguments]
        with (
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
            warnings.catch_warnings(),
        ):
            warnings.resetwarnings()  # as in a process of its own, not errors as in tests
            for quiet in (DeprecationWarning, PendingDeprecationWarning, ResourceWarning):
                warnings.simplefilter("ignore", quiet)
            try:
                run_command(
                    module.main, positional=command in POSITIONAL, alone=command != "predict"
                )
            except SystemExit as end:
                code = end.code if isinstance(end.code, int) else int(end.code is not None)
    finally:
        sys.argv, sys.unraisablehook = argv, hook
        sys.modules.pop("config_config", None)  # ml_collections loads the next config into it
        for name in set(flags.FLAGS) - before:
            delattr(flags.FLAGS, name)
        flags.FLAGS.set_gnu_getopt(False)
    return code, out.getvalue(), err.getvalue()


@contextlib.contextmanager
def deadline(seconds: float):
    """Raises TimeoutError in a block that hangs: computes for so long, or waits for ten times that.

    Others may keep the machine busy, so a clock on the wall alone would fail what only waits its
    turn. The clock of computing is that of SIGVTALRM: libtpu, where a test of this process loaded
    it, profiles its threads by SIGPROF.
    """

    def stop(signum, frame):
        raise TimeoutError(f"still running after {seconds} s of computing, or ten times that")

    timers = (
        (signal.SIGVTALRM, signal.ITIMER_VIRTUAL, 1),
        (signal.SIGALRM, signal.ITIMER_REAL, 10),
    )
    before = [signal.signal(number, stop) for number, _, _ in timers]
    for _, timer, factor in timers:
        signal.setitimer(timer, factor * seconds)
    try:
        yield
    finally:
        for (number, timer, _), handler in zip(timers, before, strict=True):
            signal.setitimer(timer, 0)
            signal.signal(number, handler)


def contents(folder: Path) -> dict[str, str]:
    """What lies in a folder: path to kind and digest; folders count when they are not empty.

    Without what TFDS notes of a data set before it prepares it.
    """
    found = {}
    for place, _, files in os.walk(folder):
        if place.endswith("/.config"):
            continue
        for name in files:
            path = os.path.join(place, name)
            if os.path.islink(path):
                found[path] = f"link {os.readlink(path)}"
            elif os.path.isfile(path):
                with open(path, "rb") as file:
                    found[path] = hashlib.file_digest(file, "sha256").hexdigest()
            else:
                found[path] = "special"
    return found
