"""What the pictures show: scales, colours, and the paper's normalisation."""

import numpy as np
from PIL import Image

from cervix_jax.explanations import paper_figure
from cervix_jax.explanations.paper_figure import Side, normalised
from cervix_jax.explanations.sheets import (
    GAP,
    _strip,
    contact_sheet,
    scale_of,
    signed_and_absolute,
)

RANDOM = np.random.default_rng(0)


def test_channels_cancel_in_the_signed_map_only():
    maps = np.zeros((1, 2, 2, 3))
    maps[0, 0, 0] = 1, -3, 1
    signed, absolute = signed_and_absolute(maps)
    assert signed[0, 0, 0] == -1
    assert absolute[0, 0, 0] == 5
    cam = RANDOM.normal(size=(2, 4, 4))
    np.testing.assert_array_equal(signed_and_absolute(cam), [cam, np.abs(cam)])


def test_scales():
    assert scale_of(np.zeros((2, 3, 3))) == 1
    one = np.zeros((1, 40, 40))
    one[0, 0, 0] = -7  # too rare for the quantile
    assert scale_of(one) == 7
    values = RANDOM.normal(size=100_000)
    assert scale_of(values) == scale_of(-values)
    assert np.isclose(scale_of(values), 2.81, atol=0.05)  # of a normal |x| at 99.5 %


def test_red_is_for_and_blue_against_and_zero_leaves_the_image():
    image = np.full((2, 3, 3), 100, np.uint8)
    signed = np.array([[1.0, 0.5, 0.0], [0.5, 0.5, 0.5]])  # scaled: 0.5 is zero
    strip = _strip(image, [signed, np.abs(2 * signed - 1)])
    step = 3 + GAP
    drawn, overlay = strip[:, step : step + 3], strip[:, 3 * step :]
    assert drawn[0, 0, 0] > drawn[0, 0, 2]
    assert drawn[0, 2, 2] > drawn[0, 2, 0]
    np.testing.assert_allclose(overlay[1], 100 / 255, atol=0.02)
    assert overlay[0, 0, 0] > overlay[0, 0, 2]
    np.testing.assert_array_equal(strip[:, :3] * 255, image)


def test_a_sheet_is_drawn_for_one_image_and_for_a_map_of_zeros(tmp_path):
    for count, path in ((1, tmp_path / "one.png"), (5, tmp_path / "five.png")):
        pixels = RANDOM.integers(0, 256, (count, 16, 16, 3), np.uint8)
        maps = np.zeros((count, 16, 16, 3), np.float32)
        contact_sheet(pixels, maps, ["x"] * count, "zeros", path)
        with Image.open(path) as picture:
            assert min(picture.size) > 100


def test_the_papers_map_is_the_positive_mean_ending_at_its_99th_percentile():
    map_ = RANDOM.normal(size=(20, 20, 3))
    shade = normalised(map_)[..., 0]
    mean = map_.mean(-1)
    assert (shade[mean <= 0] == 0).all()
    top = np.percentile(np.maximum(mean, 0), 99)
    inside = (mean > 0) & (mean < top)
    np.testing.assert_allclose(shade[inside], mean[inside] / top)
    assert (shade[mean >= top] == 1).all()
    assert not normalised(-np.abs(map_)).any()


def test_two_models_stand_side_by_side(tmp_path):
    pixels = RANDOM.integers(0, 256, (2, 16, 16, 3), np.uint8)
    maps = RANDOM.normal(size=(2, 16, 16, 3))
    side = Side("a model", pixels, maps, maps, ["x; p(x) = 1", "y; p(x) = 0.5"])
    sizes = []
    for number in (1, 2):
        paper_figure.draw([side] * number, tmp_path / "figure.png")
        with Image.open(tmp_path / "figure.png") as picture:
            sizes.append(picture.size)
    assert sizes[1] == (2 * sizes[0][0], sizes[0][1])
