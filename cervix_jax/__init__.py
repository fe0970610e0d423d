"""cervix_jax: interpretable classifiers of cervical cells in JAX.

  from cervix_jax import evaluate_run, explain_run, load_run, predict_images, train_and_evaluate

Attributes are imported on first use, so that `import cervix_jax` takes little time.
"""

import importlib
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cervix_jax import data, explain, models
    from cervix_jax.errors import InputError
    from cervix_jax.evaluate.external import evaluate_on
    from cervix_jax.evaluate.workflow import evaluate_run
    from cervix_jax.explanations.workflow import explain_run
    from cervix_jax.predict.finish import merge_shards
    from cervix_jax.predict.workflow import predict_images
    from cervix_jax.runs.run import load_run
    from cervix_jax.training.run import train_and_evaluate

__version__ = "0.2.0"

_HOME = {
    "InputError": "errors",
    "evaluate_on": "evaluate.external",
    "evaluate_run": "evaluate.workflow",
    "explain_run": "explanations.workflow",
    "load_run": "runs.run",
    "merge_shards": "predict.finish",
    "predict_images": "predict.workflow",
    "train_and_evaluate": "training.run",
}
_ROOMS = ("data", "explain", "models")

__all__ = [
    "InputError",
    "__version__",
    "data",
    "evaluate_on",
    "evaluate_run",
    "explain",
    "explain_run",
    "load_run",
    "merge_shards",
    "models",
    "predict_images",
    "train_and_evaluate",
]


def __getattr__(name: str) -> Any:
    if name in _ROOMS:
        return importlib.import_module(f"cervix_jax.{name}")
    if name in _HOME:
        return getattr(importlib.import_module(f"cervix_jax.{_HOME[name]}"), name)
    raise AttributeError(f"module 'cervix_jax' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)


if sys.argv[:1] == ["-m"]:  # Python looks for the module of `python -m cervix_jax.<name>`
    from cervix_jax.command.entry import check_module

    check_module(sys.orig_argv)
