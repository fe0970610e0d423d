import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st

from cervix_jax.models import layers
from cervix_jax.models.residual_attention import resize_bilinear


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@settings(max_examples=10)
@given(
    size=st.tuples(st.integers(3, 9), st.integers(3, 9)),
    kernel=st.sampled_from([1, 3, 7]),
    stride=st.sampled_from([1, 2]),
    bias=st.booleans(),
)
@pytest.mark.slow
def test_convolution_equals_flax(size, kernel, stride, bias):
    conv = layers.Conv(3, 4, kernel, stride=stride, use_bias=bias)
    layers.initialise(conv, jax.random.key(0))
    pad = kernel // 2
    reference = nnx.Conv(
        3, 4, (kernel, kernel), strides=stride, padding=pad, use_bias=bias, rngs=nnx.Rngs(0)
    )
    reference.kernel.set_value(conv.kernel[...])
    if bias:
        conv.bias.set_value(jnp.arange(4.0))
        reference.bias.set_value(jnp.arange(4.0))
    x = normal(2, *size, 3)
    np.testing.assert_allclose(conv(x), reference(x), rtol=1e-4, atol=1e-5)


def test_batch_norm_equals_flax_but_for_the_unbiased_running_variance():
    x = 2 + 3 * normal(4, 5, 6, 7)
    ours, reference = layers.BatchNorm(7), nnx.BatchNorm(7, momentum=0.9, rngs=nnx.Rngs(0))
    for norm in (ours, reference):
        norm.scale.set_value(jnp.linspace(0.5, 1.5, 7))
        norm.bias.set_value(jnp.linspace(-1, 1, 7))
    np.testing.assert_allclose(ours(x), reference(x), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(ours.mean[...], reference.mean[...], rtol=1e-5)
    expected = 0.9 + 0.1 * x.reshape(-1, 7).var(0, ddof=1)
    np.testing.assert_allclose(ours.var[...], expected, rtol=1e-4)
    ours.eval()
    before = np.asarray(ours.mean[...])
    gain = ours.scale[...] / np.sqrt(ours.var[...] + 1e-5)
    np.testing.assert_allclose(ours(x), (x - before) * gain + ours.bias[...], rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(ours.mean[...], before)


@pytest.mark.parametrize("mean", [0, 1, 10, 100])
def test_one_pass_loses_no_more_digits_than_its_docstring_says(mean):
    x = (normal(4, 24, 24, 8) + np.float32(mean)).astype(np.float32)
    found, exact = layers.batch_moments(jnp.asarray(x)), x.astype(np.float64)
    np.testing.assert_allclose(found.mean, exact.mean((0, 1, 2)), rtol=1e-5, atol=1e-5)
    bound = 1e-6 + 5e-7 * mean**2
    np.testing.assert_allclose(found.var, exact.var((0, 1, 2)), rtol=bound)
    constant = layers.batch_moments(jnp.full((2, 5, 5, 3), 1234.567))
    assert float(constant.var.min()) >= 0


@pytest.mark.slow
def test_shared_moments_change_neither_values_nor_gradients():
    parts = normal(2, 4, 4, 3), 1 + normal(2, 4, 4, 5, seed=1)
    weights = normal(2, 4, 4, 8, seed=2)

    def loss(a, b, shared):
        norm = layers.BatchNorm(8)
        moments = [layers.batch_moments(part) for part in (a, b)]
        both = jnp.concatenate([a, b], -1)
        return (weights * norm(both, layers.concatenate_moments(moments) if shared else None)).sum()

    gradient = jax.value_and_grad(loss, argnums=(0, 1))
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5),
        gradient(*parts, True),
        gradient(*parts, False),
    )


@given(source=st.integers(1, 9), target=st.integers(1, 20))
@settings(max_examples=15)
def test_resizing_keeps_the_corners_and_straight_lines(source, target):
    ramp = np.linspace(0, 1, source, dtype=np.float32) if source > 1 else np.zeros(1, np.float32)
    x = np.broadcast_to(ramp[None, :, None, None], (1, source, 3, 2))
    y = resize_bilinear(jnp.asarray(x), (target, 5))
    expected = np.linspace(0, 1, target) * (source > 1)
    assert y.shape == (1, target, 5, 2)
    np.testing.assert_allclose(y[0, :, 2, 1], expected, atol=1e-6)


def test_initialise_follows_each_convolution():
    model = nnx.List(
        [
            layers.Conv(64, 128, 3, init=init, init_scale=0.5)
            for init in ("fan_in", "fan_out", "torch")
        ]
    )
    layers.initialise(model, jax.random.key(0))
    variances = [2 / (9 * 64), 2 / (9 * 128), 1 / (3 * 9 * 64)]
    for conv, variance in zip(model, variances, strict=True):
        assert np.std(conv.kernel[...]) == pytest.approx(0.5 * np.sqrt(variance), rel=0.02)
