"""What every command sets up before it begins."""

import importlib.util
import os
import platform
import sys
from pathlib import Path

import jax
from absl import logging

from cervix_jax import jax_settings
from cervix_jax.errors import InputError

# What libtpu asks the metadata of a TPU's machine for, and for minutes where there is none.
NO_TPU = {
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_ACCELERATOR_TYPE": "v5litepod-8",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "TPU_WORKER_ID": "0",
}


def start_jax() -> None:
    """Have JAX as every command has it, whatever the environment says; starts no device."""
    report_failures_once()
    cache_compilations()
    quieten_absent_tpu()
    if changed := jax_settings.reset():
        logging.warning(
            "Not used: %s. Every command has JAX's defaults, so that runs can be compared.",
            ", ".join(changed),
        )


def quieten_absent_tpu(buses: Path = Path("/sys/bus/pci/devices")) -> None:
    """Keep libtpu from complaining, where it is installed on a machine without a TPU.

    It serves `cervix_jax.compile` there. JAX loads it all the same, and it prints errors on what it
    cannot learn of machines that are not there.
    """
    if importlib.util.find_spec("libtpu") is None:
        return
    if "0x1ae0" in {file.read_text().strip() for file in buses.glob("*/vendor")}:  # Google's
        return
    for name, value in NO_TPU.items():
        os.environ.setdefault(name, value)


def require_devices() -> None:
    """Start the devices, where the environment asks for a kind of them.

    Raises:
      InputError: there is none of that kind.
    """
    wanted = os.environ.get("JAX_PLATFORMS", "")
    try:
        if wanted:
            jax.devices()
    except Exception as error:  # JAX asserts, or raises what the library of the devices raises
        reason = f" ({' '.join(str(error).split())[:200]})" if str(error) else ""
        raise InputError(
            f"JAX_PLATFORMS={wanted}: JAX finds no such device here{reason}; unset JAX_PLATFORMS, "
            "or give JAX_PLATFORMS=cpu."
        ) from error


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
