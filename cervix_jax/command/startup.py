"""What commands that train set up before they begin."""

import os
import platform
import sys
from pathlib import Path

import jax
from absl import logging


def cache_compilations() -> None:
    """Keep compiled programs in a per-user folder, so that a second start is faster.

    One folder a processor model, since code compiled for one CPU may not run on another. The
    environment variable JAX_COMPILATION_CACHE_DIR overrides it.
    """
    if "JAX_COMPILATION_CACHE_DIR" in os.environ:
        return
    root = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    jax.config.update("jax_compilation_cache_dir", str(root / "cervix_jax" / platform.machine()))


def report_failures_once() -> None:
    """Leave it to this command to say what failed in reading or writing a checkpoint.

    Orbax also logs what it raises, with a traceback from each of its threads, and leaves
    coroutines and callbacks behind whose event loop is closed (seen in 0.12.8).
    """
    orbax = f"{os.sep}orbax{os.sep}"

    def keep(record) -> bool:
        repeats = orbax in record.pathname or record.name == "asyncio"
        return not (repeats and record.exc_info)

    logging.get_absl_handler().addFilter(keep)
    previous = sys.unraisablehook

    def hook(unraisable) -> None:
        code = getattr(unraisable.object, "cr_code", None)  # of a coroutine that was given up
        given_up = code is not None and orbax in code.co_filename
        if not given_up and "Event loop is closed" not in str(unraisable.exc_value):
            previous(unraisable)

    sys.unraisablehook = hook
