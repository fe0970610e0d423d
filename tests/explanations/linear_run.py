"""A run whose network is linear, so that its maps are known, as the explanations use runs."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
from jax.tree_util import Partial

from cervix_jax.data.normalization import InputRange


def _linear(weights, images):
    return jnp.einsum("bhwi,chwi->bc", images, weights, precision="highest")


@dataclasses.dataclass
class LinearRun:
    """Logits are `weights` [C, S, S, 3] times the image, whose pixels are 0 to 1."""

    weights: np.ndarray
    class_names: tuple[str, ...] = ("normal", "abnormal")
    field_of_view: float | None = 4.0
    dataset: dict = dataclasses.field(default_factory=dict)

    def __post_init__(self):
        self.config = ml_collections.ConfigDict(
            {"image_size": self.weights.shape[1], "data": {"resize": "scale"}}
        )
        self.logits_fn = self.features_fn = Partial(_linear, jnp.asarray(self.weights))
        self.input_range = InputRange(np.zeros(3, np.float32), np.ones(3, np.float32))

    def preprocess(self, squares):
        return np.asarray(squares, np.float32) / 255

    def logits(self, squares, batch_size):
        assert len(squares) == batch_size
        return np.asarray(jax.jit(self.logits_fn)(self.preprocess(squares)))


def seeing(place, size=8, classes=2) -> Any:
    """Whose last class is the brightness of the pixel `place` (row, column), and nothing else."""
    weights = np.zeros((classes, size, size, 3), np.float32)
    weights[(-1, *place)] = 1
    return LinearRun(weights)


def seeing_all(size=8) -> Any:
    """Whose last class is the brightness of all pixels."""
    weights = np.zeros((2, size, size, 3), np.float32)
    weights[-1] = 1
    return LinearRun(weights)
