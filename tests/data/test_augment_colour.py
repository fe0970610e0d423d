import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage

from cervix_jax.data.augment import AugmentSettings, colour
from cervix_jax.data.augment.draws import uniform_per_example
from cervix_jax.data.optical_density import from_optical_density, optical_density

# Compiled whole: operation by operation most of the time goes into compiling.
random_stain = jax.jit(colour.random_stain, static_argnums=(1, 2))
random_blur = jax.jit(colour.random_blur, static_argnums=2)
stain = jax.jit(colour.stain)

STRONG = AugmentSettings(stain_jitter=0.3, hue=0.2, brightness=0.2, contrast=0.3)


def random_images(batch=4, height=9, width=9):
    return np.random.default_rng(3).random((batch, height, width, 3), np.float32)


def test_optical_density_inverts_over_every_grey_level():
    values = jnp.arange(256, dtype=jnp.float32) / 255
    density = optical_density(values)
    assert float(density[255]) == 0
    assert float(density[0]) == pytest.approx(np.log(256))
    np.testing.assert_allclose(from_optical_density(density), values, atol=1e-6)


def test_no_jitter_is_the_identity():
    matrix, offset = random_stain(jax.random.key(0), 6, AugmentSettings())
    np.testing.assert_array_equal(matrix, np.tile(np.eye(3), (6, 1, 1)))
    np.testing.assert_array_equal(offset, np.zeros((6, 3)))
    images = random_images(6)
    np.testing.assert_allclose(stain(images, matrix, offset), images, atol=2e-6)


def test_jitter_fills_its_range_channel_by_channel():
    matrix, offset = random_stain(jax.random.key(0), 3000, AugmentSettings(stain_jitter=0.1))
    gain = np.asarray(matrix)[:, range(3), range(3)]
    np.testing.assert_array_equal(matrix, gain[:, :, None] * np.eye(3))
    for values, middle in ((gain, 1), (np.asarray(offset), 0)):
        assert abs(values.min() - (middle - 0.1)) < 2e-3
        assert abs(values.max() - (middle + 0.1)) < 2e-3
        assert np.abs(np.corrcoef(values.T) - np.eye(3)).max() < 0.1


def test_stain_equals_the_formula():
    images = random_images(2)
    matrix, offset = (np.asarray(part) for part in random_stain(jax.random.key(5), 2, STRONG))
    density = -np.log((255 * images + 1) / 256)
    density = np.einsum("bck,bhwk->bhwc", matrix, density) + offset[:, None, None]
    expected = np.clip((256 * np.exp(-density) - 1) / 255, 0, 1)
    np.testing.assert_allclose(stain(images, matrix, offset), expected, atol=1e-5)


def test_hue_and_contrast_keep_clear_glass_white_and_grey_grey():
    grey = np.repeat(np.linspace(0, 1, 6, dtype=np.float32), 3).reshape(1, 2, 3, 3)
    images = np.tile(grey, (16, 1, 1, 1))
    moved = np.asarray(
        stain(images, *random_stain(jax.random.key(2), 16, AugmentSettings(hue=0.3, contrast=0.4)))
    )
    np.testing.assert_allclose(np.ptp(moved, axis=-1), 0, atol=1e-5)
    np.testing.assert_allclose(moved[:, -1, -1], 1, atol=1e-5)
    assert np.ptp(moved[:, 0, 1, 0]) > 0.1


def test_brightness_is_one_factor_on_transmitted_light():
    images = np.full((8, 2, 2, 3), 0.5, np.float32) * np.array([1, 0.8, 0.6], np.float32)
    moved = stain(images, *random_stain(jax.random.key(2), 8, AugmentSettings(brightness=0.3)))
    factor = np.asarray((255 * moved + 1) / (255 * images + 1)).reshape(8, -1)
    assert np.ptp(factor, axis=1).max() < 1e-5
    assert np.exp(-0.3) <= factor.min() < factor.max() <= np.exp(0.3)


def test_grey_has_its_probability_and_no_colour():
    images = random_images(500, 2, 2)
    settings = AugmentSettings(grey=0.25, stain_jitter=0.1)
    moved = np.asarray(stain(images, *random_stain(jax.random.key(0), 500, settings)))
    colourless = np.ptp(moved, axis=-1).max(axis=(1, 2)) < 1e-5
    assert 0.15 < colourless.mean() < 0.35


@pytest.mark.parametrize("greatest", [0.2, 0.8, 2.5])
def test_blur_equals_scipy(greatest):
    images = random_images(5, 12, 17)
    key = jax.random.key(7)
    sigmas = np.asarray(uniform_per_example(key, 5, 1))[:, 0] * greatest
    blurred = random_blur(key, images, greatest)
    for image, sigma, result in zip(images, sigmas, blurred, strict=True):
        expected = scipy.ndimage.gaussian_filter(
            image,
            max(sigma, 0.05),
            axes=(0, 1),
            mode="nearest",
            radius=max(1, int(np.ceil(3 * greatest))),
        )
        np.testing.assert_allclose(result, expected, atol=1e-5)
