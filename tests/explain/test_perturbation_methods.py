import numpy as np
import pytest
from explained_functions import CLASSES, linear, normal
from jax.tree_util import Partial

from cervix_jax import explain
from cervix_jax.errors import InputError

IMAGES, TARGETS = normal(3, 7, 6, 3), np.array([2, 0, 1])
WEIGHTS = normal(CLASSES, 7, 6, 3, seed=1)
COLOUR = np.float32([-2, -1, 0.5])


@pytest.mark.parametrize(
    ("window", "stride"),
    [((3, 2), (2, 1)), (4, None), (2, 2), ((7, 6), 1), (1, 1), (5, 3)],
)
def test_occlusion_of_a_linear_function(window, stride):
    found = explain.occlusion(
        linear(WEIGHTS), IMAGES, TARGETS, baselines=COLOUR, window=window, stride=stride
    )
    height, width = window if isinstance(window, tuple) else (window, window)
    down, across = (
        (-(-height // 2), -(-width // 2))
        if stride is None
        else stride
        if isinstance(stride, tuple)
        else (stride, stride)
    )
    parts = ((IMAGES - COLOUR) * WEIGHTS[TARGETS]).sum(-1)
    total, times = np.zeros((3, 7, 6)), np.zeros((7, 6))
    top = 0
    while True:
        left = 0
        while True:
            inside = np.s_[top : top + height, left : left + width]
            total[:, *inside] += parts[:, *inside].sum((1, 2))[:, None, None]
            times[inside] += 1
            if left + width >= 6:
                break
            left += across
        if top + height >= 7:
            break
        top += down
    np.testing.assert_allclose(found, total / times, rtol=1e-4, atol=1e-4)


def test_covering_with_a_baseline_of_each_image():
    own = explain.baselines.mean(IMAGES)
    found = explain.occlusion(linear(WEIGHTS), IMAGES, TARGETS, baselines=own, window=1, stride=1)
    expected = ((IMAGES - own) * WEIGHTS[TARGETS]).sum(-1)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_covering_with_several_baselines_is_the_mean_over_them():
    colours = np.stack([COLOUR, -COLOUR, 0 * COLOUR])[:, None, None]
    run = {"window": 3, "stride": 2}
    found = explain.occlusion(
        linear(WEIGHTS), IMAGES, TARGETS, baselines=explain.baselines.several(colours), **run
    )
    each = [explain.occlusion(linear(WEIGHTS), IMAGES, TARGETS, baselines=colour, **run)
            for colour in colours]  # fmt: skip
    np.testing.assert_allclose(found, np.mean(each, 0), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"window": 7}, "images have 7 x 6 pixels; give a window no larger than the image"),
        ({"window": 2, "stride": 3}, "a stride no larger than the window"),
        ({"window": 0}, "window=0: give a whole number"),
        ({"window": (1, 2, 3)}, r"window=\(1, 2, 3\): give one number of pixels, or two"),
    ],
)
def test_bad_windows_are_refused(options, message):
    run = {"baselines": COLOUR} | options
    with pytest.raises(InputError, match=message):
        explain.occlusion(linear(WEIGHTS), IMAGES, TARGETS, **run)


def _one_pixel(images):
    return images[:, 8:9, 5, 0] * np.float32([1, -1])


def test_rise_finds_the_pixel_that_counts_and_has_the_scale_of_the_score():
    images = np.ones((2, 16, 14, 3), np.float32)
    run = {"baselines": np.zeros(3), "samples": 2000, "grid": 4, "output": "logit"}
    found = explain.rise(_one_pixel, images, np.array([0, 1]), batch_size=500, **run)
    top = np.unravel_index(found[0].argmax(), (16, 14))
    assert np.abs(np.subtract(top, (8, 5))).max() <= 2
    np.testing.assert_allclose(found[1], -found[0], rtol=1e-5)
    # Far away mask and score are independent: the map is the mean score, half of the pixel's 1.
    assert found[0, 0, 13] == pytest.approx(0.5, abs=0.06)


def _constant(images):
    return 0 * images[:, 0, 0, :2] + 3.0


@pytest.mark.parametrize("keep", [0.2, 0.5])
def test_rise_of_a_constant_is_the_constant(keep):
    """So every pixel is seen in the share `keep` of the masks, at the border too."""
    images = np.ones((1, 16, 14, 3), np.float32)
    found = explain.rise(
        _constant, images, 0, baselines=np.zeros(3), samples=3000, grid=4, keep=keep,
        output="logit", batch_size=1000,
    )  # fmt: skip
    np.testing.assert_allclose(found, 3, rtol=0.2)
    assert found.mean() == pytest.approx(3, rel=0.03)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"keep": 0.0}, "keep=0.0"), ({"keep": 1.5}, "keep=1.5"), ({"grid": 0}, "grid=0:"),
     ({"samples": 0}, "samples=0:")],
)  # fmt: skip
def test_bad_masks_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        explain.rise(Partial(_constant), IMAGES, 0, baselines=COLOUR, **options)
