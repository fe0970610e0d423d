"""Profiles are applied as Pillow's ImageCms applies them; transparent pixels show white."""

import io

import numpy as np
import pytest
from PIL import Image, ImageCms

from cervix_jax.data.decode import decode_square, resize_square
from cervix_jax.files.colour import is_plain, is_transparent_everywhere, rgb
from cervix_jax.files.images import encode, read_image, read_rgb

PIXELS = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
RGB = Image.fromarray(PIXELS)
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))


def wide() -> bytes:
    """A profile of RGB whose red and green primaries are swapped: a strong change of colours."""
    data = bytearray(SRGB.tobytes())
    table = {bytes(data[132 + 12 * i : 136 + 12 * i]): 132 + 12 * i for i in range(data[131])}
    red, green = table[b"rXYZ"], table[b"gXYZ"]
    data[red + 4 : red + 12], data[green + 4 : green + 12] = (
        data[green + 4 : green + 12],
        data[red + 4 : red + 12],
    )
    return bytes(data)


WIDE = wide()


def converted(image: Image.Image) -> np.ndarray:
    source = ImageCms.ImageCmsProfile(io.BytesIO(WIDE))
    return np.asarray(ImageCms.profileToProfile(image, source, SRGB, outputMode="RGB"))


def test_the_profile_of_the_test_swaps_red_and_green():
    np.testing.assert_allclose(converted(RGB), PIXELS[..., [1, 0, 2]], atol=2)


@pytest.mark.parametrize("kind", ["jpg", "png", "tif"])
def test_a_profile_is_applied_once_and_alike_on_disk_and_in_prepared_data(tmp_path, kind):
    path = tmp_path / f"a.{kind}"
    RGB.save(path, icc_profile=WIDE, quality=95)
    with Image.open(path) as image:
        expected = converted(image.convert("RGB"))
    np.testing.assert_array_equal(np.asarray(read_rgb(path)), expected)
    stored = encode(*read_image(path))
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(stored))), expected)
    np.testing.assert_array_equal(decode_square(stored, 16), resize_square(expected, 16))


@pytest.mark.parametrize(
    "profile", [SRGB.tobytes(), b"", b"?", b"?" * 500, WIDE[:300], WIDE[:36] + b"?" * 400]
)
def test_srgb_and_damaged_profiles_change_nothing(tmp_path, profile):
    path = tmp_path / "a.png"
    RGB.save(path, icc_profile=profile)
    image, data = read_image(path)
    assert is_plain(image)
    assert encode(image, data) == data
    np.testing.assert_array_equal(np.asarray(read_rgb(path)), PIXELS)


def test_transparency_and_profile_together(tmp_path):
    alpha = np.random.default_rng(1).integers(0, 256, (20, 30, 1), np.uint8)
    path = tmp_path / "a.png"
    Image.fromarray(np.concatenate([PIXELS, alpha], -1)).save(path, icc_profile=WIDE)
    share = alpha / 255
    expected = converted(RGB) * share + 255 * (1 - share)
    np.testing.assert_allclose(np.asarray(read_rgb(path)), expected, atol=1)


@pytest.mark.parametrize("mode", ["1", "L", "LA"])
def test_a_profile_of_rgb_says_nothing_of_grey(mode):
    image = RGB.convert(mode)
    expected = np.asarray(image.convert("L").convert("RGB"))
    image.info["icc_profile"] = WIDE
    np.testing.assert_array_equal(np.asarray(rgb(image)), expected)


def test_a_palette_has_its_profile(tmp_path):
    image = RGB.quantize(16)
    expected = converted(image.convert("RGB"))
    image.save(tmp_path / "a.png", icc_profile=WIDE)
    np.testing.assert_array_equal(np.asarray(read_rgb(tmp_path / "a.png")), expected)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr"])
def test_opaque_images_of_every_mode_are_pillows(mode):
    image = RGB.quantize(64) if mode == "P" else RGB.convert(mode)
    shown = rgb(image)
    assert shown.mode == "RGB"
    assert shown.info == {}
    assert image is not shown
    np.testing.assert_array_equal(np.asarray(shown), np.asarray(image.convert("RGB")))


def test_premultiplied_grey():
    grey, alpha = np.uint8([[0, 50, 100]]), np.uint8([[0, 100, 255]])
    image = Image.merge("LA", [Image.fromarray(grey), Image.fromarray(alpha)]).convert("La")
    expected = 255 - alpha + np.uint8([[0, 20, 100]])
    np.testing.assert_allclose(np.asarray(rgb(image))[..., 0], expected, atol=2)


def test_where_nothing_shows():
    hidden = RGB.copy()
    hidden.putalpha(0)
    assert is_transparent_everywhere(hidden)
    hidden.putpixel((0, 0), (1, 2, 3, 1))
    assert not is_transparent_everywhere(hidden)
    assert not is_transparent_everywhere(RGB)
