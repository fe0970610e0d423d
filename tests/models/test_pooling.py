"""The CPU's own form of max-pooling equals Flax's, and so does its gradient."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from selection import few

from cervix_jax import target
from cervix_jax.models.cpu import pooling


def flax_max_pool(x):
    return nnx.max_pool(x, (3, 3), (2, 2), ((1, 1), (1, 1)))


def gradient(pool, x):
    weight = np.random.default_rng(1).normal(size=jax.eval_shape(pool, x).shape)
    return jax.grad(lambda x: (pool(x) * weight).sum())(x)


@pytest.mark.parametrize("size", [(8, 8), (7, 10), (9, 9), (1, 2)])
@pytest.mark.parametrize("levels", few([None, 1], 1))
def test_max_pooling_has_the_same_value_and_gradient_also_among_equals(size, levels):
    x = np.random.default_rng(0).normal(size=(2, *size, 3)).astype(np.float32)
    x = np.round(x * levels) / levels if levels else x
    np.testing.assert_array_equal(pooling.max_pool_by_place(x), flax_max_pool(x))
    np.testing.assert_array_equal(
        jax.vjp(pooling.max_pool_by_place, x)[0], flax_max_pool(x), "forward of the gradient"
    )
    np.testing.assert_allclose(
        gradient(pooling.max_pool_by_place, x), gradient(flax_max_pool, x), atol=1e-6
    )


def test_pooling_keeps_bfloat16_and_takes_flax_form_for_other_platforms():
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 6, 6, 3)), jnp.bfloat16)
    for pool in (pooling.max_pool, pooling.average_pool):
        assert pool(x).dtype == jax.grad(lambda x, p=pool: p(x).sum())(x).dtype == jnp.bfloat16
    # A new function each time, since JAX keeps what it has traced.
    assert "reduce_window" not in str(jax.make_jaxpr(lambda x: pooling.max_pool(x))(x))
    with target.tracing_for("tpu"):
        assert "reduce_window" in str(jax.make_jaxpr(lambda x: pooling.max_pool(x))(x))
