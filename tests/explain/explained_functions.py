"""Functions whose maps are known, and a small network, for the tests of the attribution methods."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.tree_util import Partial

CLASSES = 3


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def linear(weights, bias=0.0):
    """Logits `sum(weights[c] * image) + bias`, weights [C, H, W, 3]."""
    return Partial(_linear, jnp.asarray(weights), jnp.asarray(bias, jnp.float32))


def quadratic(weights):
    """Logits `sum(weights[c] * image**2)`."""
    return Partial(_quadratic, jnp.asarray(weights))


def _linear(weights, bias, images):
    return jnp.einsum("bhwi,chwi->bc", images, weights, precision="highest") + bias


def _quadratic(weights, images):
    return _linear(weights, 0.0, jnp.square(images))


def pooled_linear(kernel):
    """Its one feature map is the image; logits are its mean over the places times `kernel`."""
    return Partial(_pooled_linear, jnp.asarray(kernel))


def _pooled_linear(kernel, images, perturbations=None):
    features = images + (perturbations or {}).get("stem", 0)
    return jnp.matmul(features.mean((1, 2)), kernel, precision="highest"), {"stem": features}


def network_weights(seed=0):
    return {
        "first": 0.4 * normal(3, 3, 3, 8, seed=seed),
        "squeeze": normal(8, 8, seed=seed + 1),
        "second": 0.3 * normal(3, 3, 8, 6, seed=seed + 2),
        "last": normal(6, CLASSES, seed=seed + 3),
    }


def make_network(seen=None):
    """A convolutional network with ReLU and channel attention: `forward(weights, images)`.

    `seen` collects the batch size at every trace, and so of every program that is compiled.
    """

    def forward(weights, images, perturbations=None):
        if seen is not None:
            seen.append(len(images))
        added = perturbations or {}
        x = jax.nn.relu(_conv(images, weights["first"], 1)) + added.get("stage1", 0)
        gates = jax.nn.sigmoid(x.mean((1, 2)) @ weights["squeeze"])
        x = x * gates[:, None, None]
        y = jax.nn.relu(_conv(x, weights["second"], 2)) + added.get("stage4", 0)
        out = {"stage1": x, "stage4": y, "attention/stage1": gates}
        return y.mean((1, 2)) @ weights["last"], out

    return forward


def _conv(x, kernel, stride):
    return lax.conv_general_dilated(
        x, kernel, (stride, stride), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
