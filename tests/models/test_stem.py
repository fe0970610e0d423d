"""The stem that pools before it normalises is the stem that normalises before it pools."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from cervix_jax import target
from cervix_jax.models.layers import BatchNorm, Conv, initialise
from cervix_jax.models.stem import pooled_stem


class Stem(nnx.Module):
    """Half of its channels are mirrored by their normalisation."""

    def __init__(self, norm_groups: int, dtype=jnp.float32):
        self.conv = Conv(3, 8, 7, stride=2, dtype=dtype)
        self.norm = BatchNorm(8, dtype=dtype)
        self.norm.norm_groups = norm_groups
        initialise(self, jax.random.key(0))
        scales = np.float32([1, -1, 0.5, -0.5, 2, -2, 0.2, -0.1])
        self.norm.scale.set_value(jnp.asarray(scales))
        self.norm.bias.set_value(jnp.linspace(-0.5, 0.5, 8))
        self.norm.mean.set_value(jnp.linspace(-0.1, 0.1, 8))

    def __call__(self, images):
        return pooled_stem(self.conv, self.norm, images)


def outcome(norm_groups, training, platform, size):
    stem = Stem(norm_groups)
    stem.train() if training else stem.eval()
    graphdef, *state = nnx.split(stem, nnx.Param, ...)
    params, stats = map(nnx.to_pure_dict, state)
    rng = np.random.default_rng(0)
    images = rng.normal(size=(4, *size, 3)).astype(np.float32)
    weights = rng.normal(size=(4, *(-(-n // 4) for n in size), 8)).astype(np.float32)

    def loss(params, images):
        model = nnx.merge(graphdef, params, stats)
        out = model(images)
        return (out * weights).sum(), (out, nnx.to_pure_dict(nnx.state(model, nnx.BatchStat)))

    with target.tracing_for(platform):
        return jax.value_and_grad(loss, (0, 1), has_aux=True)(params, images)


@pytest.mark.parametrize("platform", ["gpu", "tpu"])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("norm_groups", [0, 2])
@pytest.mark.parametrize("size", [(16, 16), (21, 18)])
def test_values_gradients_and_statistics_are_the_same(norm_groups, training, platform, size):
    expected = outcome(norm_groups, training, "cpu", size)
    found = outcome(norm_groups, training, platform, size)
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=2e-4)
    if platform == "gpu":  # whose convolution of this size is the CPU's
        (_, (values, _)), _ = found
        (_, (expected_values, _)), _ = expected
        np.testing.assert_array_equal(values, expected_values)


def test_only_pooled_values_are_normalised():
    stem = Stem(0)
    stem.eval()

    def normalised(platform):
        with target.tracing_for(platform):
            program = jax.make_jaxpr(lambda x: stem(x))(np.zeros((2, 16, 16, 3), np.float32))
        biased = [each for each in program.eqns if each.primitive.name == "add"][-1]
        return biased.outvars[0].aval.shape

    assert normalised("cpu") == (2, 8, 8, 8)
    assert normalised("tpu") == (2, 4, 4, 8)
