import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from selection import tries
from skimage.color import rgb2lab

from cervix_jax.audit import perturbations
from cervix_jax.audit.perturbations import StainStatistics


def noise(shape=(40, 50), low=0, high=256, seed=0):
    return np.random.default_rng(seed).integers(low, high, (*shape, 3)).astype(np.uint8)


TARGET = StainStatistics(np.array([60.0, 10.0, -8.0]), np.array([8.0, 4.0, 3.0]))


def test_grey_has_the_luminance_of_red_green_and_blue():
    image = np.array([[(255, 0, 0), (0, 255, 0), (0, 0, 255), (90, 90, 90)]], np.uint8)
    found = perturbations.to_grey(image)
    assert found.shape == image.shape
    assert (found == found[..., :1]).all()
    assert found[0, :, 0].tolist() == [54, 182, 18, 90]


def test_stain_is_that_of_the_target():
    image = noise(low=100, high=160)
    found = rgb2lab(perturbations.normalise_stain(image, TARGET)).reshape(-1, 3)
    np.testing.assert_allclose(found.mean(axis=0), TARGET.mean, atol=0.3)
    np.testing.assert_allclose(found.std(axis=0), TARGET.deviation, rtol=0.05)


def test_an_image_in_its_own_stain_stays():
    image = noise(low=60, high=200)
    own = perturbations.stain_statistics([image])
    assert np.abs(perturbations.normalise_stain(image, own).astype(int) - image).max() <= 1


def test_two_stains_of_one_cell_become_alike():
    plain = noise(low=80, high=150).astype(np.float64)
    tinted = np.clip(plain * (0.9, 1.1, 1.05) + (5, -3, 10), 0, 255)
    first, second = (
        perturbations.normalise_stain(np.rint(image).astype(np.uint8), TARGET).astype(int)
        for image in (plain, tinted)
    )
    before = np.abs(plain - tinted).mean()
    assert np.abs(first - second).mean() < before / 2


def test_a_flat_image_gets_the_mean_colour_only():
    found = perturbations.normalise_stain(np.full((5, 6, 3), 200, np.uint8), TARGET)
    assert np.ptp(found.reshape(-1, 3), axis=0).max() == 0
    np.testing.assert_allclose(rgb2lab(found)[0, 0], TARGET.mean, atol=0.5)


@settings(max_examples=tries(30))
@given(
    st.integers(0, 1000),
    st.tuples(*[st.floats(-120, 120)] * 3),
    st.tuples(*[st.floats(0, 80)] * 3),
)
def test_even_odd_stains_give_images(seed, mean, deviation):
    """Warnings are errors here, so colours that no light has would show."""
    target = StainStatistics(np.array(mean), np.array(deviation))
    found = perturbations.normalise_stain(noise((8, 9), seed=seed), target)
    assert found.dtype == np.uint8
    assert found.shape == (8, 9, 3)


def test_statistics_are_means_over_images():
    dark, bright = np.full((4, 4, 3), 40, np.uint8), np.full((9, 9, 3), 220, np.uint8)
    found = perturbations.stain_statistics([dark, bright])
    each = [rgb2lab(image)[0, 0] for image in (dark, bright)]
    np.testing.assert_allclose(found.mean, np.mean(each, axis=0))
    np.testing.assert_allclose(found.deviation, 0, atol=1e-6)


def test_only_the_frame_is_kept():
    image = noise((30, 60))
    found = perturbations.keep_border(image)
    inner = found[3:-3, 3:-3]
    assert (inner == inner[0, 0]).all()
    for kept, whole in ((found[:3], image[:3]), (found[-3:], image[-3:])):
        np.testing.assert_array_equal(kept, whole)
    np.testing.assert_array_equal(found[:, :3], image[:, :3])
    np.testing.assert_array_equal(found[:, -3:], image[:, -3:])


def test_the_interior_does_not_shine_through():
    image = noise()
    changed = image.copy()
    changed[4:-4, 4:-4] = 0
    np.testing.assert_array_equal(
        perturbations.keep_border(image), perturbations.keep_border(changed)
    )


def test_patches_move_whole_and_by_seed():
    image = np.repeat(np.arange(16, dtype=np.uint8).reshape(4, 4), 5, axis=0)
    image = np.repeat(np.repeat(image, 6, axis=1)[..., None], 3, axis=-1)
    found = perturbations.shuffle_patches(image, seed=1)
    blocks = found[..., 0].reshape(4, 5, 4, 6).swapaxes(1, 2).reshape(16, 30)
    assert (blocks == blocks[:, :1]).all()
    assert sorted(blocks[:, 0].tolist()) == list(range(16))
    assert blocks[:, 0].tolist() != list(range(16))
    np.testing.assert_array_equal(found, perturbations.shuffle_patches(image, seed=1))
    assert not np.array_equal(found, perturbations.shuffle_patches(image, seed=2))


@settings(max_examples=tries(20))
@given(st.integers(1, 30), st.integers(1, 30), st.integers(0, 1000))
def test_shuffling_keeps_every_pixel(height, width, seed):
    image = noise((height, width), seed=seed)
    found = perturbations.shuffle_patches(image, seed)
    rows, columns = height // 4 * 4, width // 4 * 4
    np.testing.assert_array_equal(found[rows:], image[rows:])
    np.testing.assert_array_equal(found[:, columns:], image[:, columns:])
    np.testing.assert_array_equal(
        np.sort(found.reshape(-1, 3), axis=0), np.sort(image.reshape(-1, 3), axis=0)
    )


@pytest.mark.parametrize("shape", [(1, 1), (2, 7), (5, 5)])
def test_tiny_images_survive(shape):
    image = noise(shape)
    for change in (perturbations.to_grey, perturbations.keep_border):
        assert change(image).shape == image.shape
    assert perturbations.normalise_stain(image, TARGET).shape == image.shape
