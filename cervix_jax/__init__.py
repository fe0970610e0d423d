"""cervix_jax: interpretable classifiers of cervical cells in JAX.

Attributes are imported on first use, so that `import cervix_jax` is light.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cervix_jax import data, explain, models
    from cervix_jax.errors import InputError
    from cervix_jax.runs.run import load_run

__version__ = "0.1.0"

_HOME = {"load_run": "cervix_jax.runs.run", "InputError": "cervix_jax.errors"}
_MODULES = ("data", "explain", "models")

__all__ = ["InputError", "__version__", "data", "explain", "load_run", "models"]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"cervix_jax.{name}")
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    raise AttributeError(f"module 'cervix_jax' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
