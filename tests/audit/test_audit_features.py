import numpy as np
import pytest

from cervix_jax.audit import features


def test_colour_percentiles_are_those_of_each_channel():
    image = np.zeros((10, 10, 3), np.uint8)
    image[..., 0] = np.arange(100).reshape(10, 10)
    image[..., 2] = 7
    found = features.colour_percentiles(image).reshape(9, 3)
    np.testing.assert_allclose(found[:, 0], 0.99 * np.asarray(features.PERCENTILES))
    assert (found[:, 1] == 0).all()
    assert (found[:, 2] == 7).all()


def test_border_sees_nothing_of_the_interior():
    image = np.full((9, 8, 3), (10, 20, 30), np.uint8)
    changed = image.copy()
    changed[2:-2, 2:-2] = 255
    assert features.border_percentiles(changed).tolist() == [10, 20, 30] * 3
    changed[1, 4] = 0
    changed[:, 0] = 0
    assert features.border_percentiles(changed)[0] == 0


@pytest.mark.parametrize("side", [1, 3, 4])
def test_images_that_are_all_border(side):
    image = np.full((side, side, 3), 5, np.uint8)
    assert (features.border_percentiles(image) == 5).all()


def test_grey_forgets_brightness_and_contrast():
    random = np.random.default_rng(0)
    grey = np.repeat(random.integers(0, 100, (20, 30, 1)), 3, axis=-1).astype(np.uint8)
    found = features.grey_percentiles(grey)
    np.testing.assert_allclose(features.grey_percentiles(2 * grey + 13), found, atol=1e-9)
    assert (np.diff(found) > 0).all()
    values = (grey[..., 0] - grey.mean()) / grey[..., 0].std()
    np.testing.assert_allclose(found, np.percentile(values, features.PERCENTILES), atol=1e-9)
    assert (features.grey_percentiles(np.full((5, 5, 3), 9, np.uint8)) == 0).all()


def test_size_is_width_height_area():
    assert features.size_features(np.zeros((4, 6, 3), np.uint8)).tolist() == [6, 4, 24]


def test_large_images_are_thinned_evenly():
    image = np.zeros((2048, 1536, 3), np.uint8)
    image[:, 768:] = 100
    found = features.colour_percentiles(image).reshape(9, 3)
    assert found[:4].max() == 0
    assert found[5:].min() == 100


def test_shape_of_two_discs():
    y, x = np.mgrid[:100, :100]
    cell = (y - 50) ** 2 + (x - 50) ** 2 < 40**2
    nucleus = (y - 50) ** 2 + (x - 60) ** 2 < 10**2
    masks = {"nucleus_mask": nucleus[..., None], "cytoplasm_mask": (cell & ~nucleus)[..., None]}
    area, inner, halo, share, halo_share, offset = features.shape_features(masks)
    assert area == cell.sum()
    assert inner == nucleus.sum()
    assert share == pytest.approx(1 / 16, rel=0.05)
    assert offset == pytest.approx(10 / 40, rel=0.05)
    assert halo == halo_share == 0
    with_halo = features.shape_features(masks | {"halo_mask": nucleus[..., None]})
    assert with_halo[2] == inner


def test_masks_count_only_where_they_hold_something():
    full, empty = np.ones((2, 2, 1), np.uint8), np.zeros((2, 2, 1), np.uint8)
    both = {"nucleus_mask": full, "cytoplasm_mask": full}
    assert features.has_masks(both)
    assert not features.has_masks({"image": full})
    assert not features.has_masks(both | {"cytoplasm_mask": empty})
    assert not features.has_masks(both | {"has_masks": False})


class Images:
    """A stand-in for a data set: images only."""

    def __init__(self, images):
        self.decoded_source = [{"image": image} for image in images]

    def __len__(self):
        return len(self.decoded_source)


def test_measuring_keeps_the_order_with_any_number_of_threads():
    random = np.random.default_rng(0)
    images = [random.integers(0, 256, (8 + i % 5, 9, 3), np.uint8) for i in range(70)]
    one, three = (features.measure(Images(images), jobs=j, progress=False) for j in (1, 3))
    assert set(one.features) == {"colour", "border", "grey", "size"}
    np.testing.assert_array_equal(one.features["size"][:, 1], [8 + i % 5 for i in range(70)])
    np.testing.assert_array_equal(one.sizes[:, 1], one.features["size"][:, 1])
    for name, values in one.features.items():
        np.testing.assert_array_equal(values, three.features[name])


def test_shape_is_measured_only_if_every_image_has_masks():
    image = np.zeros((6, 6, 3), np.uint8)
    mask = np.ones((6, 6, 1), np.uint8)
    source = [{"image": image, "nucleus_mask": mask, "cytoplasm_mask": mask}] * 2
    images = Images([])
    images.decoded_source = source
    assert "shape" in features.measure(images, progress=False).features
    images.decoded_source = [*source, {"image": image}]
    assert "shape" not in features.measure(images, progress=False).features
