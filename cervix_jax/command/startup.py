"""Setup of JAX and logging that every command performs first."""

import importlib.util
import os
import platform
import sys
from pathlib import Path

import jax
from absl import logging

from cervix_jax import jax_settings
from cervix_jax.errors import InputError

# Values that libtpu otherwise requests from the metadata server; without one it waits for minutes.
NO_TPU = {
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_ACCELERATOR_TYPE": "v5litepod-8",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "TPU_WORKER_ID": "0",
}


def start_jax() -> None:
    """Configure JAX identically for every command, whatever the environment; starts no device."""
    report_failures_once()
    cache_compilations()
    quieten_absent_tpu()
    if changed := jax_settings.reset():
        logging.warning(
            "Ignored: %s. All commands use JAX's default settings to keep runs comparable.",
            ", ".join(changed),
        )


def quieten_absent_tpu(buses: Path = Path("/sys/bus/pci/devices")) -> None:
    """Suppress libtpu's error messages if it is installed on a machine without a TPU.

    On such machines libtpu serves `cervix_jax.compile`. JAX loads it in every process, and libtpu
    prints errors when it finds no TPU metadata.
    """
    if importlib.util.find_spec("libtpu") is None:
        return
    if "0x1ae0" in {file.read_text().strip() for file in buses.glob("*/vendor")}:  # Google's
        return
    for name, value in NO_TPU.items():
        os.environ.setdefault(name, value)


def require_devices() -> None:
    """Start the devices if JAX_PLATFORMS requests a kind of device.

    Raises:
      InputError: no device of that kind is available.
    """
    wanted = os.environ.get("JAX_PLATFORMS", "")
    try:
        if wanted:
            jax.devices()
    except Exception as error:  # JAX asserts, or raises what the library of the devices raises
        reason = f" ({' '.join(str(error).split())[:200]})" if str(error) else ""
        raise InputError(
            f"JAX_PLATFORMS={wanted}: JAX finds no such device{reason}; unset JAX_PLATFORMS, or "
            "set JAX_PLATFORMS=cpu."
        ) from error


def cache_compilations() -> None:
    """Cache compiled programs in a per-user folder to speed up later starts.

    Each processor type has its own folder, since code compiled for one CPU may not run on another.
    The environment variable JAX_COMPILATION_CACHE_DIR overrides the location.
    """
    if "JAX_COMPILATION_CACHE_DIR" in os.environ:
        return
    root = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    jax.config.update("jax_compilation_cache_dir", str(root / "cervix_jax" / platform.machine()))


def report_failures_once() -> None:
    """Report a failure to read or write a checkpoint once, as the command's own error.

    Without this filter Orbax also logs its exceptions, with a traceback from each of its threads,
    and leaves coroutines and callbacks behind whose event loop is closed (seen in 0.12.8).
    """
    orbax = f"{os.sep}orbax{os.sep}"

    def keep(record) -> bool:
        repeats = orbax in record.pathname or record.name == "asyncio"
        return not (repeats and record.exc_info)

    logging.get_absl_handler().addFilter(keep)
    previous = sys.unraisablehook

    def hook(unraisable) -> None:
        code = getattr(unraisable.object, "cr_code", None)  # of an abandoned coroutine
        given_up = code is not None and orbax in code.co_filename
        if not given_up and "Event loop is closed" not in str(unraisable.exc_value):
            previous(unraisable)

    sys.unraisablehook = hook
