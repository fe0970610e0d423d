"""The CPU's own forms of convolution equal XLA's."""

import jax
import numpy as np
import pytest
from selection import few

from cervix_jax.models.cpu import convolution


def random(*shape, levels=None):
    values = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    return np.round(values * levels) / levels if levels else values


@pytest.mark.parametrize("form", [convolution.conv_by_patches, convolution.conv_fastest])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("side", few([1, 3, 7], 2))
@pytest.mark.parametrize("size", [(1, 1), (2, 2), (1, 4), (4, 3), (5, 4), (8, 9), (29, 28)])
def test_every_form_of_convolution_has_the_same_value_and_gradients(size, side, stride, form):
    x, kernel = random(2, *size, 3), random(side, side, 3, 4)
    weight = random(2, *(-(-n // stride) for n in size), 4)

    def loss(convolve, x, kernel):
        return (convolve(x, kernel, stride) * weight).sum()

    ours, theirs = (
        jax.value_and_grad(lambda x, k, c=convolve: loss(c, x, k), argnums=(0, 1))(x, kernel)
        for convolve in (form, convolution.conv)
    )
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)
