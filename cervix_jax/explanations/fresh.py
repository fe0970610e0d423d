"""Random, untrained weights of a run's network, for parameter randomisation."""

from collections.abc import Mapping
from typing import Any

import jax
from flax import nnx

from cervix_jax.models.build import build_model
from cervix_jax.runs.run import Run


def fresh_variables(run: Run, seed: int) -> dict[str, Any]:
    """Random variables of a run's network, drawn by its own initialiser.

    Returns:
      {"params", "stats"} with the keys of `run.variables`.
    """

    def draw():
        model = build_model(run.config, len(run.class_names), seed)
        _, params, stats = nnx.split(model, nnx.Param, ...)
        return {"params": nnx.to_pure_dict(params), "stats": nnx.to_pure_dict(stats)}

    return _keyed_like(jax.jit(draw)(), run.variables)


def _keyed_like(tree: Any, other: Any) -> Any:
    """The tree with the keys of `other`: checkpoints use the key "0" for a model's 0."""
    if not isinstance(other, Mapping):
        return tree
    return {
        key: _keyed_like(tree[key] if key in tree else tree[int(key)], below)
        for key, below in other.items()
    }
