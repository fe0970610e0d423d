"""The model of a config, and the floating-point type of its arithmetic."""

import jax
import jax.numpy as jnp
import ml_collections
from flax import nnx

from cervix_jax import models, target
from cervix_jax.errors import check_choice
from cervix_jax.models.classifier import Classifier

DTYPES = ("auto", "float32", "bfloat16")


def build_model(
    config: ml_collections.ConfigDict, num_classes: int, seed: int | jax.Array = 0
) -> Classifier:
    """Create the untrained model of a config, with random weights drawn from `seed`.

    Works under `jax.jit` and `nnx.eval_shape`.

    Raises:
      InputError: the model, or one of its options, is unknown.
    """
    options = {"attention": config.model.attention} if config.model.attention else {}
    return models.create(
        config.model.name,
        num_classes=num_classes,
        rngs=nnx.Rngs(jax.random.key(seed)),
        dtype=compute_dtype(config.model.dtype),
        dropout_rate=config.model.dropout,
        remat=config.model.remat,
        norm_groups=config.model.norm_groups,
        views=config.data.resize.count("+") + 1,  # "stretch+scale" stands for two squares
        **options,
    )


def compute_dtype(name: str) -> jnp.dtype:
    """Return the dtype of the model's arithmetic; parameters and statistics are always float32.

    Args:
      name: "float32", "bfloat16", or "auto" for bfloat16 on accelerators and float32 on the CPU.

    Raises:
      InputError: the name is none of these.
    """
    check_choice("model.dtype", name, DTYPES)
    if name == "auto":
        name = "float32" if target.platform() == "cpu" else "bfloat16"
    return jnp.dtype(name)
