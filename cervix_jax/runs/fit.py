"""Whether weights are those of a config's network."""

from pathlib import Path

import jax
import ml_collections
from flax import nnx

from cervix_jax.errors import InputError
from cervix_jax.models.build import build_model
from cervix_jax.runs.inference import Variables


def check_fits(
    path: Path, config: ml_collections.ConfigDict, num_classes: int, variables: Variables
) -> None:
    """See that weights are those of the config's model.

    Raises:
      InputError: they are not, or the model is unknown.
    """
    abstract = nnx.eval_shape(lambda: build_model(config, num_classes))
    _, params, stats = nnx.split(abstract, nnx.Param, ...)
    wanted = {"params": nnx.to_pure_dict(params), "stats": nnx.to_pure_dict(stats)}
    # By names, since a checkpoint has "0" where a model has 0.
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
