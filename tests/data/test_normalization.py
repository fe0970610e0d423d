import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from selection import tries

from cervix_jax.data.normalization import NORMALIZATIONS, normalize, unit_range
from cervix_jax.errors import InputError

EVERY_BYTE = np.arange(256, dtype=np.uint8)


@pytest.mark.parametrize("compiled", [False, True])
def test_unit_range_is_the_nearest_float_to_the_quotient(compiled):
    scale = jax.jit(unit_range) if compiled else unit_range
    expected = EVERY_BYTE.astype(np.float32) / np.float32(255)
    np.testing.assert_array_equal(scale(EVERY_BYTE), expected)


def test_unit_range_only_casts_floating_point():
    pixels = jnp.linspace(0, 1, 7, dtype=jnp.bfloat16)
    scaled = unit_range(pixels)
    assert scaled.dtype == jnp.float32
    np.testing.assert_array_equal(scaled, pixels.astype(jnp.float32))


@settings(max_examples=tries(20))
@given(
    hnp.arrays(np.uint8, (2, 4, 3)),
    st.sampled_from(sorted(NORMALIZATIONS)),
)
def test_uint8_and_unit_floats_agree_and_invert(images, name):
    mean, deviation = (np.asarray(values) for values in NORMALIZATIONS[name])
    normalized = normalize(images, name)
    assert normalized.dtype == jnp.float32
    assert normalized.shape == images.shape
    np.testing.assert_allclose(normalized, normalize(images / np.float32(255), name), atol=1e-6)
    np.testing.assert_allclose(np.asarray(normalized) * deviation + mean, images / 255, atol=1e-6)


def test_published_values():
    pixel = np.array([[255, 127, 0]], np.uint8)
    lite = (np.array([[255, 127, 0]]) - 127) / 128
    np.testing.assert_allclose(normalize(pixel, "efficientnet_lite"), lite, atol=1e-6)
    np.testing.assert_allclose(normalize(pixel, "inception"), [[1, 127 / 127.5 - 1, -1]], atol=1e-6)
    np.testing.assert_allclose(
        normalize(pixel, "imagenet"),
        [[(1 - 0.485) / 0.229, (127 / 255 - 0.456) / 0.224, -0.406 / 0.225]],
        atol=1e-6,
    )


@pytest.mark.parametrize(
    ("images", "name", "message"),
    [
        (np.zeros((2, 3), np.uint8), "imagnet", "'imagnet'.*imagenet"),
        (np.zeros((2, 3), np.int32), "none", "int32"),
        (np.zeros((2, 4), np.uint8), "none", r"\(2, 4\)"),
    ],
)
def test_bad_input_is_named(images, name, message):
    with pytest.raises(InputError, match=message):
        normalize(images, name)
