"""The strip below a picture: its text, and the legend of its colours."""

import numpy as np
import pytest

from cervix_jax.explain.caption import NARROWEST, captioned
from cervix_jax.explain.pictures import NEGATIVE, POSITIVE

TEXT = "Grad-CAM, stage2, 8 x 8; class HSIL 0.93"


def _coloured(strip, colour):
    """Pixels of the strip that lean to a colour as its strongest does."""
    red = colour[0] > colour[2]
    difference = strip[..., 0].astype(int) - strip[..., 2]
    return int(((difference if red else -difference) > 60).sum())


@pytest.mark.parametrize("side", [8, 256, 700])
def test_the_picture_stays_and_stands_in_the_middle(side):
    picture = np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)
    found = captioned(picture, TEXT, 0.5)
    width = max(side, NARROWEST)
    left = (width - side) // 2
    assert found.shape[1] == width
    np.testing.assert_array_equal(found[:side, left : left + side], picture)
    assert (found[side:] < 100).any()  # letters


def test_the_legend_goes_from_against_to_for():
    blank = np.zeros((256, 256, 3), np.uint8)
    strip = captioned(blank, TEXT, 0.5)[256:]
    half = strip.shape[1] // 2
    assert _coloured(strip[:, :half], NEGATIVE) > 100 < _coloured(strip[:, half:], POSITIVE)
    assert not _coloured(strip[:, half:], NEGATIVE)
    assert not _coloured(strip[:, :half], POSITIVE)
    unsigned = captioned(blank, TEXT, 0.5, signed=False)[256:]
    assert _coloured(unsigned, POSITIVE) > 100
    assert not _coloured(unsigned, NEGATIVE)


def test_a_map_of_zeros_has_no_legend():
    strip = captioned(np.zeros((256, 256, 3), np.uint8), TEXT, 0.0)[256:]
    assert not _coloured(strip, NEGATIVE)
    assert not _coloured(strip, POSITIVE)


def test_long_names_are_wrapped_and_signs_are_no_markup():
    blank = np.zeros((256, 256, 3), np.uint8)
    one = captioned(blank, "class A 0.9", 0.5)
    for text in ("class " + "very_long_name" * 8, "class $\\frac{1 0.9 and " + "more words " * 9):
        found = captioned(blank, text, 0.5)
        assert len(found) > len(one)
        assert (found[256:268, :3] == 255).all()
        assert (found[256:268, -3:] == 255).all()
