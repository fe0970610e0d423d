import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from selection import tries

from cervix_jax.data.normalization import (
    NORMALIZATIONS,
    input_range,
    normalization_names,
    normalize,
    unit_range,
)
from cervix_jax.data.optical_density import (
    GREATEST_GAIN,
    REFERENCE_DEVIATION,
    REFERENCE_MEAN,
    match_reference,
    optical_density,
)
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


def test_reinhard_gives_every_image_the_moments_of_the_reference():
    rng = np.random.default_rng(0)
    # Densities between those of white and black, so that nothing is clipped.
    density = rng.uniform(0.1, 0.9, (3, 8, 9, 3)) * rng.uniform(0.3, 1, (3, 1, 1, 3))
    images = ((256 * np.exp(-density) - 1) / 255).astype(np.float32)
    matched = np.asarray(jax.jit(match_reference)(images))
    found = np.asarray(optical_density(matched))
    np.testing.assert_allclose(found.mean((1, 2)), np.tile(REFERENCE_MEAN, (3, 1)), atol=2e-3)
    np.testing.assert_allclose(found.std((1, 2)), np.tile(REFERENCE_DEVIATION, (3, 1)), atol=2e-3)
    # Another lamp and more of the stain give the same image; each image is matched by itself.
    other = ((256 * np.exp(-(0.1 + 1.3 * density)) - 1) / 255).astype(np.float32)
    np.testing.assert_allclose(match_reference(other[:1])[0], matched[0], atol=1e-4)
    expected = normalize(matched, "imagenet")
    np.testing.assert_allclose(normalize(images, "imagenet+reinhard"), expected, atol=1e-5)


def test_images_without_contrast_stay_so():
    grey = np.full((1, 6, 6, 3), 128, np.uint8)
    grey[0, 0, 0] = 129
    matched = np.asarray(normalize(grey, "none+reinhard"))
    assert np.isfinite(matched).all()
    assert np.ptp(matched[0, 1:]) < 0.2  # the channels' means differ
    assert np.ptp(matched[..., 0]) < 2 * GREATEST_GAIN / 255
    assert input_range("none+reinhard").high.tolist() == [1, 1, 1]


def test_every_choice_of_the_config_can_be_applied():
    for name in normalization_names():
        assert normalize(np.zeros((1, 2, 2, 3), np.uint8), name).shape == (1, 2, 2, 3)


@pytest.mark.parametrize(
    ("images", "name", "message"),
    [
        (np.zeros((2, 3), np.uint8), "imagnet", "'imagnet'.*imagenet"),
        (np.zeros((2, 3), np.int32), "none", "int32"),
        (np.zeros((2, 4), np.uint8), "none", r"\(2, 4\)"),
        (np.zeros((2, 3), np.uint8), "none+reinhard", r"\(2, 3\).*whole images"),
    ],
)
def test_bad_input_is_named(images, name, message):
    with pytest.raises(InputError, match=message):
        normalize(images, name)
