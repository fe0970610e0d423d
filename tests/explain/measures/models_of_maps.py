"""Networks with closed forms, and maps of them, that the tests of the measures share."""

import jax.numpy as jnp
import numpy as np

SIDE = 6
CLASSES = 3
_rng = np.random.default_rng(7)
WEIGHTS = _rng.normal(size=(SIDE, SIDE, 3, CLASSES)).astype(np.float32)
BIAS = _rng.normal(size=CLASSES).astype(np.float32)
IMAGES = _rng.normal(size=(4, SIDE, SIDE, 3)).astype(np.float32)
TARGETS = np.array([2, 0, 1, 2])


def linear(images):
    """Logits W . x + c."""
    return jnp.einsum("nhwd,hwdc->nc", images, WEIGHTS, precision="highest") + BIAS


def quadratic(images):
    """Logits W . x^2 / 2, whose gradient is W x."""
    return jnp.einsum("nhwd,hwdc->nc", images**2 / 2, WEIGHTS, precision="highest")


def gradients() -> np.ndarray:
    """Of `linear`, for the targets: float32 [4, S, S, 3]."""
    return np.moveaxis(WEIGHTS, -1, 0)[TARGETS]
