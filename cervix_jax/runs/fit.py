"""Fitting of a checkpoint's weights to the model of a config."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import ml_collections
from flax import nnx

from cervix_jax.errors import InputError
from cervix_jax.models.build import build_model
from cervix_jax.runs.inference import Variables


def fitted(
    path: Path, config: ml_collections.ConfigDict, num_classes: int, variables: Variables
) -> Variables:
    """Return the weights under the keys of the config's model, if they match it.

    A checkpoint names the items of a list "0", "1", "10", in this order, which would permute the
    layers of a list of more than ten.

    Raises:
      InputError: the weights do not match, or the model is unknown.
    """
    abstract = nnx.eval_shape(lambda: build_model(config, num_classes))
    _, params, stats = nnx.split(abstract, nnx.Param, ...)
    wanted = {"params": nnx.to_pure_dict(params), "stats": nnx.to_pure_dict(stats)}
    expected, found = (
        {
            jax.tree_util.keystr(name, simple=True, separator="/"): tuple(leaf.shape)
            for name, leaf in jax.tree.leaves_with_path(tree)
        }
        for tree in (wanted, dict(variables))
    )
    differing = [n for n in expected.keys() | found.keys() if expected.get(n) != found.get(n)]
    if differing:
        first = min(differing)
        raise InputError(
            f"{path}: these are not the weights of {config.model.name} with {num_classes} classes: "
            f"{first} has the shape {found.get(first, 'absent')}, not "
            f"{expected.get(first, 'absent')}; restore config.json and the checkpoint from one "
            "backup."
        )
    return keyed_as(wanted, variables)


def keyed_as(wanted: Any, found: Any) -> Any:
    """Return the leaves of `found` under the keys of `wanted`, which differ in type only."""
    if not isinstance(wanted, Mapping):
        return found
    by_text = {str(key): value for key, value in found.items()}
    return {key: keyed_as(value, by_text[str(key)]) for key, value in wanted.items()}
