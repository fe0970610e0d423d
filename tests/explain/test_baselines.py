import jax.numpy as jnp
import numpy as np
import pytest
from explained_functions import linear, normal
from scipy.ndimage import gaussian_filter

from cervix_jax import explain
from cervix_jax.data.normalization import NORMALIZATIONS, input_range, normalize
from cervix_jax.errors import InputError
from cervix_jax.explain import baselines

IMAGES = normal(3, 20, 16, 3)
RANGE = input_range("imagenet")


@pytest.mark.parametrize("name", NORMALIZATIONS)
def test_black_and_white_are_what_the_normalisation_makes_of_them(name):
    found = input_range(name)
    for colour, value in (baselines.black(found), 0), (baselines.white(found), 255):
        pixel = normalize(np.full((1, 1, 3), value, np.uint8), name)
        np.testing.assert_array_equal(colour, pixel[0, 0])
        assert colour.dtype == np.float32


def test_black_is_not_zero():
    assert (baselines.black(RANGE) < -1.5).all()


def test_mean_is_each_image_s_own():
    np.testing.assert_allclose(
        baselines.mean(IMAGES)[:, 0, 0], IMAGES.reshape(3, -1, 3).mean(1), atol=1e-6
    )


def test_blur_equals_scipy_away_from_the_border():
    image = np.zeros((1, 61, 61, 3), np.float32)
    image[:, 25:35, 28:33] = normal(10, 5, 3)
    found = baselines.blur(image, 3.0)
    expected = gaussian_filter(image[0], (3, 3, 0), truncate=8)
    np.testing.assert_allclose(found[0], expected, atol=1e-5)


def test_blur_keeps_constant_images():
    np.testing.assert_allclose(baselines.blur(np.full((1, 9, 7, 3), 2.5), 5.0), 2.5, rtol=1e-5)


@pytest.mark.parametrize("sigma", [0, -1, np.nan])
def test_a_blur_of_nothing_is_refused(sigma):
    with pytest.raises(InputError, match="give a positive number of pixels"):
        baselines.blur(IMAGES, sigma)


def test_uniform_fills_the_range_and_depends_on_the_seed_only():
    many = baselines.uniform(RANGE, 10, seed=3)
    assert many.count == 10
    found = np.asarray(many.pick(jnp.arange(10), (20, 16, 3)))
    below, above = found.min((0, 1, 2)), found.max((0, 1, 2))
    span = RANGE.high - RANGE.low
    assert (RANGE.low <= below).all()
    assert (below < RANGE.low + 0.01 * span).all()
    assert (above <= RANGE.high + 1e-5).all()
    assert (above > RANGE.high - 0.01 * span).all()
    assert len(np.unique(found[:, 0, 0, 0])) == 10
    again = baselines.uniform(RANGE, 2, seed=3).pick(jnp.arange(2), (20, 16, 3))
    np.testing.assert_array_equal(again, found[:2])
    other = baselines.uniform(RANGE, 2, seed=4).pick(jnp.arange(2), (20, 16, 3))
    assert not np.allclose(other, found[:2])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: baselines.uniform(RANGE, 0), "count=0:"),
        (lambda: baselines.several(IMAGES[0]), r"give \[count, H, W, 3\]"),
        (lambda: baselines.several(IMAGES[:0]), r"give \[count, H, W, 3\]"),
        (lambda: baselines.several(np.full((1, 4, 4, 3), np.inf)), "not finite"),
    ],
)
def test_bad_baselines_are_refused(make, message):
    with pytest.raises(InputError, match=message):
        make()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("black", "baselines are 'black'; give one of explain.baselines"),
        (np.zeros(4), r"baselines have shape \[4\], images \[3, 20, 16, 3\]"),
        (np.zeros((2, 3, 20, 16, 3)), r"baselines have shape \[2, 3, 20, 16, 3\]"),
        (np.full(3, np.nan), "the baselines have values that are not finite"),
    ],
)
def test_what_does_not_fit_the_images_is_refused(given, message):
    fn = linear(normal(2, 20, 16, 3))
    with pytest.raises(InputError, match=message):
        explain.integrated_gradients(fn, IMAGES, 0, baselines=given)
