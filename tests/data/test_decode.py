import io

import numpy as np
import pytest
from PIL import Image

from cervix_jax.data.decode import RESIZE_MODES, decode_square, resize_square
from cervix_jax.errors import InputError


def encode(image: np.ndarray, kind: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.fixture
def wide():
    """40 x 80, left half dark, right half bright, one bright column at the left edge."""
    image = np.full((40, 80, 3), 40, np.uint8)
    image[:, 40:] = 200
    return image


@pytest.mark.parametrize("mode", RESIZE_MODES)
def test_every_mode_gives_a_square(wide, mode):
    square = resize_square(wide, 32, mode)
    assert square.shape == (32, 32, 3)
    assert square.dtype == np.uint8


def test_stretch_keeps_both_halves_and_crop_cuts_the_sides(wide):
    wide[:, :10] = 255
    assert (resize_square(wide, 32, "stretch")[:, 0] > 240).all()
    assert (resize_square(wide, 32, "crop")[:, 0] < 60).all()


def test_pad_keeps_the_aspect_and_fills_with_the_border_colour(wide):
    square = resize_square(wide[:, :40].repeat(2, 1), 32, "pad")
    assert (square == 40).all()


def test_a_square_of_the_right_size_is_left_as_it_is():
    image = np.random.default_rng(0).integers(0, 256, (24, 24, 3), np.uint8)
    for mode in RESIZE_MODES:
        np.testing.assert_array_equal(resize_square(image, 24, mode), image)


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF"])
def test_lossless_formats_come_back_exactly(kind):
    image = np.random.default_rng(0).integers(0, 256, (24, 24, 3), np.uint8)
    np.testing.assert_array_equal(decode_square(encode(image, kind), 24), image)


def test_grey_and_alpha_become_rgb():
    grey = np.full((8, 8), 90, np.uint8)
    assert (decode_square(encode(grey), 8) == 90).all()
    alpha = np.dstack([np.full((8, 8, 3), 90, np.uint8), np.full((8, 8), 255, np.uint8)])
    assert (decode_square(encode(alpha), 8) == 90).all()


@pytest.mark.parametrize(
    "damage", [lambda b: b[: len(b) // 2], lambda b: b"not an image", lambda b: b""]
)
def test_damaged_bytes_are_bad_input_by_name(damage):
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    with pytest.raises(InputError, match=r"001_01\.bmp: cannot be decoded"):
        decode_square(damage(encode(image)), 32, name="001_01.bmp")


def test_unknown_mode_is_bad_input():
    with pytest.raises(InputError, match=r"data\.resize='zoom'"):
        resize_square(np.zeros((8, 8, 3), np.uint8), 8, "zoom")
