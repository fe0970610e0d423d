"""One set of colours, one scale, one way to lay them over an image."""

import numpy as np

from cervix_jax.explain.pictures import (
    NEGATIVE,
    OPACITY,
    POSITIVE,
    SIGNED,
    colour,
    grey,
    lay_over,
    outline,
    paper_shade,
    scale_of,
    strength,
)

RANDOM = np.random.default_rng(0)


def test_scales():
    assert scale_of(np.zeros((2, 3, 3))) == 0
    assert scale_of(np.zeros((0, 3, 3))) == 0
    one = np.zeros((1, 40, 40))
    one[0, 0, 0] = -7  # too rare for the quantile
    assert scale_of(one) == 7
    values = RANDOM.normal(size=100_000)
    assert scale_of(values) == scale_of(-values)
    assert np.isclose(scale_of(values), 2.81, atol=0.05)  # of a normal |x| at 99.5 %


def test_colours_are_signed_and_one_scale_holds():
    found = colour(np.array([[2.0, -1.0], [0.5, 0.0]]), 1.0)
    assert found[..., 3].tolist() == [[255, 255], [128, 0]]
    assert found[0, 0, 0] > found[0, 0, 2]  # red
    assert found[0, 1, 0] < found[0, 1, 2]  # blue
    assert not colour(np.zeros((2, 2)), 0.0)[..., 3].any()


def test_over_white_the_colours_are_those_of_the_bar():
    values = np.linspace(-1, 1, 9)[None]
    drawn = lay_over(np.full((1, 9, 3), 255, np.uint8), colour(values, 1.0), opacity=1)
    bar = SIGNED((values + 1) / 2, bytes=True)[..., :3]
    np.testing.assert_allclose(drawn, bar, atol=3)
    assert tuple(drawn[0, 0]) == NEGATIVE
    assert tuple(drawn[0, -1]) == POSITIVE


def test_zero_leaves_the_image_and_the_strongest_colour_lets_it_through():
    image = RANDOM.integers(0, 256, (1, 2, 3), np.uint8)
    drawn = lay_over(image, colour(np.array([[0.0, 5.0]]), 1.0))
    np.testing.assert_array_equal(drawn[0, 0], image[0, 0])
    expected = (1 - OPACITY) * image[0, 1] + OPACITY * np.array(POSITIVE)
    np.testing.assert_allclose(drawn[0, 1], expected, atol=0.51)


def test_strength_grows_from_black_and_ignores_signs():
    drawn = strength(np.array([[0.0, 0.3, -0.3, 1.0, 9.0]]), 1.0)[0].astype(int)
    assert drawn[0].sum() < 10
    assert (drawn[1] == drawn[2]).all()
    assert drawn[0].sum() < drawn[1].sum() < drawn[3].sum()
    assert (drawn[3] == drawn[4]).all()
    assert strength(np.zeros((2, 2)), 0.0).max() < 10


def test_grey_keeps_brightness_and_drops_colour():
    image = np.array([[[255, 0, 0], [0, 255, 0], [7, 7, 7]]], np.uint8)
    found = grey(image)
    assert (found == found[..., :1]).all()
    assert found[0, 0, 0] < found[0, 1, 0]
    assert found[0, 2].tolist() == [7, 7, 7]


def test_outlines_are_those_of_nucleus_and_cell():
    cell, nucleus = np.zeros((9, 9), bool), np.zeros((9, 9), bool)
    cell[1:8, 1:8], nucleus[3:6, 3:6] = True, True
    drawn = outline({"background": ~cell, "cytoplasm": cell & ~nucleus, "nucleus": nucleus})
    opaque = drawn[..., 3] > 0
    assert opaque.sum() == 24 + 8  # the rims of 7 x 7 and 3 x 3
    assert tuple(drawn[3, 3, :3]) != tuple(drawn[1, 1, :3])
    assert not opaque[4, 4]


def test_the_papers_map_is_the_positive_mean_ending_at_its_99th_percentile():
    map_ = RANDOM.normal(size=(20, 20, 3))
    shade = paper_shade(map_)[..., 0]
    mean = map_.mean(-1)
    assert (shade[mean <= 0] == 0).all()
    top = np.percentile(np.maximum(mean, 0), 99)
    inside = (mean > 0) & (mean < top)
    np.testing.assert_allclose(shade[inside], mean[inside] / top)
    assert (shade[mean >= top] == 1).all()
    assert not paper_shade(-np.abs(map_)).any()
