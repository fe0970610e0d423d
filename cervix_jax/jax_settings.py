"""The JAX settings that affect numerical results, with the values of every run of this package."""

import contextlib
from collections.abc import Iterator
from typing import Any

import jax

SETTINGS: dict[str, Any] = {
    "jax_enable_x64": False,
    "jax_numpy_dtype_promotion": "standard",
    "jax_numpy_rank_promotion": "allow",
    "jax_default_matmul_precision": None,
    "jax_default_prng_impl": "threefry2x32",
    "jax_threefry_partitionable": True,
    "jax_random_seed_offset": 0,
    "jax_enable_custom_prng": False,
    "jax_legacy_prng_key": "allow",
    "jax_debug_key_reuse": False,
    "jax_disable_jit": False,
    "jax_debug_nans": False,
    "jax_debug_infs": False,
    "jax_check_tracer_leaks": False,
    "jax_no_tracing": False,
    "jax_no_execution": False,
    "jax_default_device": None,
    "jax_transfer_guard": "allow",
    "jax_transfer_guard_host_to_device": "allow",
    "jax_transfer_guard_device_to_device": "allow",
    "jax_transfer_guard_device_to_host": "allow",
}
"""JAX's own defaults. Another value gives other numbers, or ends a network that is sound."""


def differing() -> dict[str, Any]:
    """Return names and values of the settings that differ from `SETTINGS`."""
    found = {}
    for name, wanted in SETTINGS.items():
        value = getattr(jax.config, name, wanted)  # versions of JAX have different settings
        unset = value is None and wanted == "allow"  # the initial state of transfer guards
        if value != wanted and not unset:
            found[name] = value
    return found


def reset() -> list[str]:
    """Set JAX to the values of `SETTINGS` for the rest of the process.

    Returns:
      The settings that had another value, in the form of the environment: JAX_ENABLE_X64=True.
    """
    found = differing()
    for name in found:
        jax.config.update(name, SETTINGS[name])
    return [f"{name.upper()}={value}" for name, value in found.items()]


@contextlib.contextmanager
def as_in_every_run() -> Iterator[None]:
    """A block, or with `@` a function, in which JAX has the values of `SETTINGS`.

    A caller who uses 64 bits or checks for NaNs therefore gets the same numbers as a command.
    """
    found = differing()
    with contextlib.ExitStack() as stack:
        for name in found:
            context = getattr(jax, name.removeprefix("jax_"), None)
            if context is not None:  # for this thread
                stack.enter_context(context(SETTINGS[name]))
            else:
                stack.callback(jax.config.update, name, getattr(jax.config, name))
                jax.config.update(name, SETTINGS[name])
        yield
