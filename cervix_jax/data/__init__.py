"""Data sets, splits, batches and augmentation.

Attributes are imported on first use, so that `import cervix_jax.data` starts no JAX backend.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cervix_jax.data.builders import register
    from cervix_jax.data.catalog import load
    from cervix_jax.data.divide import split_table
    from cervix_jax.data.pipeline import Pipeline
    from cervix_jax.data.splits import leakage

_HOME = {
    "Pipeline": "pipeline",
    "leakage": "splits",
    "load": "catalog",
    "register": "builders",
    "split_table": "divide",
}

__all__ = ["Pipeline", "leakage", "load", "register", "split_table"]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(f"cervix_jax.data.{_HOME[name]}"), name)
    raise AttributeError(f"module 'cervix_jax.data' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
