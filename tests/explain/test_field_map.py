"""The map of a field: where a cell's map is laid, that its sum stays, and what mirrors do."""

import io

import numpy as np
import pytest
from PIL import Image

from cervix_jax.explain.field_map import FieldMap, boxes_about, labels_in
from cervix_jax.slides import as_slide


def values(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


@pytest.mark.parametrize("longest", [2048, 37, 8])
@pytest.mark.parametrize(
    "box",
    [
        (10, 20, 42, 52), (10.3, 5.7, 21.1, 16.4), (-20.3, -5.2, 20.1, 35.2), (70, 40, 110, 80.5),
        (-300.5, -200.25, 400.75, 500), (0.25, 0.25, 0.75, 0.75),
    ],
)  # fmt: skip
def test_the_sum_is_preserved(box, longest):
    field, given = FieldMap((90, 60), longest), values(7, 5)
    field.add(given, box)
    assert field.values.sum() == pytest.approx(given.sum(), abs=1e-9)


def test_a_map_lies_where_its_square_lies_and_overlaps_are_added():
    field, given = FieldMap((12, 9)), values(4, 4)
    field.add(given, (5, 2, 9, 6))
    expected = np.zeros((9, 12))
    expected[2:6, 5:9] = given
    np.testing.assert_allclose(field.values, expected, atol=1e-12)
    field.add(given, (6, 2, 10, 6))
    expected[2:6, 6:10] += given
    np.testing.assert_allclose(field.values, expected, atol=1e-12)


def test_an_enlarged_map_is_spread_evenly_over_the_pixels_that_it_shows():
    field, given = FieldMap((20, 20)), values(2, 3)
    field.add(given, (3, 4, 12, 10))  # 3 x 3 pixels of the field each
    expected = np.repeat(np.repeat(given, 3, 0), 3, 1) / 9
    np.testing.assert_allclose(field.values[4:10, 3:12], expected, atol=1e-12)


@pytest.mark.parametrize("corner", [(-3, 4), (-3, -5), (8, 6), (0, 0), (-14, -20)])
def test_what_is_mirrored_belongs_to_the_pixel_that_it_mirrors(corner):
    """Adjoint to NumPy's reflection: both give the same sum of map times image."""
    image, side = values(13, 11, seed=1), 26 if min(corner) < -10 else 8
    x, y = corner
    padded = np.pad(image, 40, mode="reflect")
    square = padded[y + 40 : y + 40 + side, x + 40 : x + 40 + side]
    given, field = values(side, side), FieldMap((11, 13))
    field.add(given, (x, y, x + side, y + side))
    assert (field.values * image).sum() == pytest.approx((given * square).sum(), abs=1e-9)
    labels = (image * 100).astype(int)
    shown = labels_in(labels, (x, y, x + side, y + side), (side, side))
    np.testing.assert_array_equal(shown, (square * 100).astype(int))


def test_a_large_field_has_a_smaller_map_of_the_same_sums():
    whole, small = FieldMap((40, 20)), FieldMap((40, 20), longest=10)
    for seed, box in enumerate(boxes_about(values(6, 2) * 8 + 15, 7.5).tolist()):
        whole.add(values(5, 5, seed=seed), box)
        small.add(values(5, 5, seed=seed), box)
    assert small.values.shape == (5, 10)
    assert small.scale == 4
    blocks = whole.values.reshape(5, 4, 10, 4).sum((1, 3))
    np.testing.assert_allclose(small.values, blocks, atol=1e-9)


@pytest.mark.parametrize("size", [(300, 151), (70, 50)])
def test_the_layer_has_the_size_of_the_thumbnail_and_is_empty_where_nothing_lies(size, tmp_path):
    slide = as_slide(Image.new("RGB", size), tmp_path, None)
    thumbnail, scale = slide.thumbnail(100)
    field = FieldMap(slide.size, 100)
    assert field.scale == scale
    field.add(np.array([[2.0, -2.0]]), (30, 30, 40, 40))
    layer = np.asarray(Image.open(io.BytesIO(field.layer_png())))
    assert layer.shape == (*thumbnail.shape[:2], 4)
    np.testing.assert_array_equal(layer[..., 3] > 0, field.values != 0)
    red, blue = (layer[field.values * sign > 0][:, :3] for sign in (1, -1))
    assert (red[:, 0] > red[:, 2]).all()
    assert (blue[:, 2] > blue[:, 0]).all()
    smooth = np.asarray(Image.open(io.BytesIO(field.layer_png(sigma=4.0))))
    assert (field.values != 0).sum() < (smooth[..., 3] > 0).sum() < 0.5 * smooth[..., 3].size
    empty = FieldMap(slide.size, 100).layer_png(2.0)
    assert not np.asarray(Image.open(io.BytesIO(empty)))[..., 3].any()
