"""The platform that a program is traced for: "cpu", "gpu" or "tpu".

The platform selects between forms of one computation that are equal up to rounding, and defines
a `model.dtype` of "auto". It may differ from the platform of this machine: an exported program runs
on all three, and `python -m cervix_jax.compile` compiles for a TPU without having one.
"""

import contextlib
import contextvars
from collections.abc import Iterator

import jax

PLATFORMS = ("cpu", "gpu", "tpu")

_given: contextvars.ContextVar[str | None] = contextvars.ContextVar("given", default=None)


def platform() -> str:
    """Return the platform of the current trace; JAX's default backend if none is set."""
    return _given.get() or jax.default_backend()


@contextlib.contextmanager
def tracing_for(platform: str) -> Iterator[None]:
    """A block in which functions are traced for that platform, one of `PLATFORMS`.

    JAX does not track this choice: it does not trace a jitted function again when the platform
    changes. So a jitted function of the package whose form depends on the platform takes
    `platform()` as a static argument.
    """
    token = _given.set(platform)
    try:
        yield
    finally:
        _given.reset(token)
