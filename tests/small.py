"""A config of a run of seconds for tests that start real processes: `--config=tests/small.py`.

Loading it makes the model "small" known, which compiles in a second. Its activations are smooth,
so that its gradients are continuous and rounding stays rounding: see test_devices.py.
"""

import jax
import ml_collections
from flax import nnx

from cervix_jax import models
from cervix_jax.config.base import base_config
from cervix_jax.models.classifier import Classifier, Perturb
from cervix_jax.models.layers import BatchNorm, Conv, Linear

CLASSES = 5


class Small(Classifier):
    """Two strided convolutions with batch statistics, dropout and a linear layer."""

    def __init__(self, *, num_classes: int, dtype, dropout_rate: float):
        super().__init__(num_classes=num_classes, dropout_rate=dropout_rate, dtype=dtype)
        self.conv1, self.norm1 = Conv(3, 8, 5, stride=4, dtype=dtype), BatchNorm(8, dtype=dtype)
        self.conv2, self.norm2 = Conv(8, 16, 3, stride=2, dtype=dtype), BatchNorm(16, dtype=dtype)
        self.classifier = Linear(16, num_classes)

    @property
    def linear(self) -> Linear:
        return self.classifier

    def endpoints(self, images: jax.Array, perturb: Perturb) -> dict[str, jax.Array]:
        stem = nnx.silu(self.norm1(self.conv1(images)))
        last = nnx.silu(self.norm2(self.conv2(stem)))
        return {"stem": stem} | dict.fromkeys(
            ("stage1", "stage2", "stage3", "stage4", "pre_logits_2d"), last
        )


def small(*, dropout_rate: float = 0.0, **fixed) -> Small:
    return Small(dropout_rate=dropout_rate, **fixed)


def get_config(arg: str = "") -> ml_collections.ConfigDict:
    """40 phantom cells of 32 pixels in 4 epochs of 3 steps; dropout and augmentation are on.

    Args:
      arg: folder of prepared data.
    """
    models.register("small", small)
    config = base_config("cervix_phantom/single_cell")
    config.model.update({"name": "small", "dropout": 0.2})
    config.update({"batch_size": 8, "eval_batch_size": 8, "num_epochs": 4, "image_size": 32})
    config.data.data_dir = arg
    config.data.settings.update({"clusters_per_class": 4, "cells_per_cluster": 2})
    config.split.folds = 4
    return config
