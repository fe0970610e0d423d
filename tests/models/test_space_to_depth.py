"""The stem as a TPU has it: the same convolution, for even and odd sizes and both paddings."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax import lax
from selection import few

from cervix_jax import models, target
from cervix_jax.models.efficientnet import StemConv
from cervix_jax.models.layers import Conv, initialise
from cervix_jax.models.space_to_depth import conv_by_depth


@pytest.mark.parametrize("size", [(8, 8), (9, 8), (8, 11), (13, 9)])
@pytest.mark.parametrize(("side", "before"), [(7, 3), (3, 1), (3, 0), (5, 2), (1, 0)])
def test_equals_the_strided_convolution(size, side, before):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, *size, 3)).astype(np.float32)
    kernel = rng.normal(size=(side, side, 3, 4)).astype(np.float32)
    weights = rng.normal(size=(2, *(-(-n // 2) for n in size), 4)).astype(np.float32)

    def strided(x, kernel):
        pads = [(before, 2 * (-(-n // 2) - 1) + side - n - before) for n in size]
        numbers = ("NHWC", "HWIO", "NHWC")
        return lax.conv_general_dilated(x, kernel, (2, 2), pads, dimension_numbers=numbers)

    def by_depth(x, kernel):
        return conv_by_depth(x, kernel, before)

    def with_gradients(convolve):
        loss = jax.grad(lambda *given: (weights * convolve(*given)).sum(), (0, 1))
        return convolve(x, kernel), *loss(x, kernel)

    found, expected = with_gradients(by_depth), with_gradients(strided)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)


def stems():
    return [Conv(3, 8, 7, stride=2), StemConv(8, dtype=jnp.float32)]


@pytest.mark.parametrize("stem", stems(), ids=["torch", "same"])
@pytest.mark.parametrize("size", [(32, 32), (34, 36), (35, 33)])
def test_stems_give_the_same_for_a_tpu(stem, size):
    initialise(stem, jax.random.key(0))
    x = np.random.default_rng(1).normal(size=(2, *size, 3)).astype(np.float32)
    expected = stem(x)
    with target.tracing_for("tpu"):
        program = str(jax.make_jaxpr(lambda x: stem(x))(x))
        np.testing.assert_allclose(stem(x), expected, rtol=1e-4, atol=1e-4)
    assert "window_strides=(1, 1)" in program
    assert "window_strides=(2, 2)" not in program


@pytest.mark.parametrize("name", few(["resnet50", "efficientnet_lite0", "ran92", "densenet121"], 1))
def test_no_network_convolves_an_image_at_stride_2_on_a_tpu(name):
    model = nnx.eval_shape(lambda: models.create(name, num_classes=5))
    model.eval()
    graphdef, state = nnx.split(model)
    images = jax.ShapeDtypeStruct((2, 64, 64, 3), jnp.float32)
    with target.tracing_for("tpu"):
        program = jax.make_jaxpr(lambda s, x: nnx.merge(graphdef, s)(x)[0])(state, images)
    widths = {
        equation.invars[1].aval.shape[2]
        for equation in program.eqns
        if equation.primitive.name == "conv_general_dilated"
    }
    assert 12 in widths
    assert 3 not in widths
