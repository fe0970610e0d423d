"""The platform that a program is traced for: "cpu", "gpu" or "tpu".

It decides between forms of one computation that are equal up to rounding, and what a `model.dtype`
of "auto" is. It is not always the platform of this machine: an exported program runs on all three,
and `python -m cervix_jax.compile` compiles for a TPU that is not there.
"""

import contextlib
import contextvars
from collections.abc import Iterator

import jax

PLATFORMS = ("cpu", "gpu", "tpu")

_given: contextvars.ContextVar[str | None] = contextvars.ContextVar("given", default=None)


def platform() -> str:
    """The platform that what is traced now will run on; JAX's default backend if none is given."""
    return _given.get() or jax.default_backend()


@contextlib.contextmanager
def tracing_for(platform: str) -> Iterator[None]:
    """In the block, functions are traced for that platform, one of `PLATFORMS`.

    JAX does not know of this choice: a jitted function that it has traced before is not traced
    again because of it. So a jitted function of the package whose form depends on the platform
    takes `platform()` as a static argument.
    """
    token = _given.set(platform)
    try:
        yield
    finally:
        _given.reset(token)
