"""An image is read as a data set made of such files would have given it to training."""

import io
import re
import unicodedata

import numpy as np
import pytest
from hand_made import bmp32, png_chunks
from PIL import Image, ImageOps

from cervix_jax.data.decode import decode_square, resize_square
from cervix_jax.errors import InputError
from cervix_jax.files.images import (
    UnreadableImage,
    decode,
    encode,
    encoded_size,
    image_size,
    is_image,
    only_our_checks,
    read_image,
    read_rgb,
    why_no_picture,
)

PIXELS = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
RGB = Image.fromarray(PIXELS)
TURNED = Image.Exif()
TURNED[0x0112] = 6  # a quarter turn
KINDS = {
    "rgb.png": (RGB, {}),
    "rgb.bmp": (RGB, {}),
    "rgb.tif": (RGB, {}),
    "turned.jpg": (RGB, {"exif": TURNED}),
    "turned.tif": (RGB, {"exif": TURNED}),
    "turned_grey.jpg": (RGB.convert("L"), {"exif": TURNED}),
    "grey.png": (RGB.convert("L"), {}),
    "palette.bmp": (RGB.quantize(16), {}),
    "four_bits.png": (RGB.quantize(16), {"bits": 4}),
    "palette_hole.png": (RGB.quantize(16), {"transparency": 3}),
    "palette_veil.png": (RGB.quantize(16), {"transparency": bytes(range(0, 256, 16))}),
    "grey_hole.png": (RGB.convert("L"), {"transparency": 3}),
    "rgb_hole.png": (RGB, {"transparency": (1, 2, 3)}),
    "grey_alpha.tif": (RGB.convert("LA"), {}),
    "alpha.png": (RGB.convert("RGBA"), {}),
    "cmyk.jpg": (RGB.convert("CMYK"), {}),
}


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("resize", ["stretch", "pad"])
def test_pixels_are_those_of_training(tmp_path, name, resize):
    image, options = KINDS[name]
    path = tmp_path / name
    image.save(path, **options)
    stored = encode(*read_image(path))  # as the builders keep it
    found = read_rgb(path, max_pixels=1000)
    np.testing.assert_array_equal(
        resize_square(found, 16, resize), decode_square(stored, 16, resize)
    )
    assert image_size(path) == found.size


def broken(kind: str, path):
    stream = io.BytesIO()
    RGB.save(stream, "PNG")
    if kind == "cut":
        path.write_bytes(stream.getvalue()[:-400])
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "text":
        path.write_text("not an image")
    elif kind == "folder":
        path.mkdir()
    elif kind == "gif":
        RGB.save(path, "GIF")
    elif kind == "deep":
        Image.fromarray(np.zeros((4, 4), np.uint16)).save(path, "PNG")
    elif kind == "huge":
        RGB.resize((200, 200)).save(path, "PNG")
    elif kind == "pages":
        RGB.save(path, "TIFF", save_all=True, append_images=[RGB])
    elif kind == "lab":
        RGB.convert("LAB").save(path, "TIFF")
    elif kind == "no pixels":
        path.write_bytes(png_chunks((b"IHDR", b"\0\0\0\0" + stream.getvalue()[20:29])))
    elif kind == "one colour":
        Image.new("RGB", (30, 20), "white").save(path, "PNG")
    elif kind == "two colours":
        RGB.convert("1").save(path, "PNG")
    elif kind == "transparent":
        Image.fromarray(np.dstack([PIXELS, np.zeros((20, 30), np.uint8)])).save(path, "PNG")
    elif kind == "transparent palette":
        RGB.quantize(16).save(path, "PNG", transparency=bytes(256))


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("cut", r"is not a readable BMP, JPEG, PNG or TIFF image \(.*truncated"),
        ("empty", "is not a readable BMP, JPEG, PNG or TIFF image$"),
        ("text", "is not a readable BMP, JPEG, PNG or TIFF image$"),
        ("gif", "is not a readable BMP, JPEG, PNG or TIFF image$"),
        ("folder", "is not a file"),
        ("missing", "there is no such file"),
        ("deep", "has 16 bits a channel, and more than 8 bits a channel are not read$"),
        ("lab", "has colours of kind LAB$"),
        ("no pixels", "has no pixels$|is not a readable"),
        ("one colour", "has one colour only$"),
        ("two colours", "has only 2 colours$"),
        ("transparent", "is transparent everywhere$"),
        ("transparent palette", "is transparent everywhere$"),
        ("huge", "200 x 200 px is more than 1,000 pixels"),
        ("pages", "holds several images"),
    ],
)
def test_every_way_of_reading_gives_the_same_reason_in_one_line(tmp_path, kind, reason):
    path = tmp_path / "x.png"
    broken(kind, path)
    ways = [lambda: read_rgb(path, max_pixels=1000), lambda: read_image(path, max_pixels=1000)]
    shows_nothing = ("one colour", "two colours", "transparent", "transparent palette")
    if path.is_file() and kind not in shows_nothing:  # which a stored crop may
        ways.append(lambda: decode(path.read_bytes(), path, max_pixels=1000))
    for read in ways:
        with pytest.raises(UnreadableImage) as caught:
            read()
        assert re.match(reason, caught.value.reason)
        assert isinstance(caught.value, InputError)
        assert str(caught.value).startswith(f"{path}: {caught.value.reason}; ")
        assert "\n" not in str(caught.value)


def test_the_limit_of_pixels_is_the_users(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    path = tmp_path / "x.png"
    RGB.save(path)
    with pytest.raises(UnreadableImage, match="claims more than 600 pixels"):
        read_rgb(path, max_pixels=600)
    with only_our_checks():
        assert read_rgb(path, max_pixels=600).size == (30, 20)
        with pytest.raises(UnreadableImage, match="max_pixels"):
            read_rgb(path, max_pixels=599)
    assert Image.MAX_IMAGE_PIXELS == 100


@pytest.mark.parametrize("orientation", range(1, 9))
def test_size_by_the_head_is_that_of_the_pixels(tmp_path, orientation):
    image = RGB.resize((20, 10))
    exif = Image.Exif()
    exif[0x0112] = orientation
    for ending in ("jpg", "png", "tif"):
        path = tmp_path / f"a.{ending}"
        image.save(path, exif=exif)
        assert image_size(path) == read_rgb(path).size == encoded_size(path.read_bytes(), path)
    with pytest.raises(UnreadableImage, match="20 x 10 px"):
        image_size(tmp_path / "a.jpg", max_pixels=199)
    with pytest.raises(UnreadableImage, match="no such file"):
        image_size(tmp_path / "none.jpg")


@pytest.mark.parametrize("orientation", range(1, 9))
def test_images_are_turned_as_pillow_turns_them(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "a.png"
    RGB.save(path, exif=exif)
    with Image.open(path) as image:
        expected = np.asarray(ImageOps.exif_transpose(image))
    np.testing.assert_array_equal(np.asarray(read_rgb(path)), expected)


@pytest.mark.parametrize("top_down", [False, True])
@pytest.mark.parametrize("masks", [False, True])
def test_a_bmp_whose_alpha_bytes_are_zero_is_not_transparent(tmp_path, top_down, masks):
    path = tmp_path / "a.bmp"
    path.write_bytes(bmp32(PIXELS, top_down=top_down, masks=masks))
    np.testing.assert_array_equal(np.asarray(read_rgb(path)), PIXELS)
    np.testing.assert_array_equal(decode_square(encode(*read_image(path)), 16),
                                  resize_square(PIXELS, 16))  # fmt: skip


def test_arrays_show_nothing_by_the_rule_of_files():
    assert why_no_picture(PIXELS) == why_no_picture(RGB) == why_no_picture(PIXELS[:, ::-1]) == ""
    assert why_no_picture(np.full((5, 5, 3), 7, np.uint8)) == "has one colour only"
    assert why_no_picture(np.zeros((0, 5, 3), np.uint8)) == "has no pixels"
    assert why_no_picture(PIXELS[:2, :4]) == "has only 8 colours"
    assert why_no_picture(PIXELS[:3, :3]) == ""


def test_a_mask_may_have_few_colours(tmp_path):
    path = tmp_path / "mask.png"
    RGB.convert("1").save(path)
    assert read_image(path, min_colours=1)[0].mode == "1"
    assert read_image(path, min_colours=2)[0].mode == "1"
    Image.new("RGB", (9, 9)).save(path)
    assert read_image(path, min_colours=1)[0].size == (9, 9)
    with pytest.raises(UnreadableImage, match=r"one colour only; it may be a mask or .*: move"):
        read_image(path, min_colours=2)


@pytest.mark.parametrize("suffix", [".jfif", ".JPE", ".jpeg", ".dib", ".tif"])
def test_suffixes_of_the_same_formats_are_read(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    RGB.save(path, {"j": "JPEG", "d": "BMP", "t": "TIFF"}[suffix[1].lower()])
    assert is_image(path)
    assert read_rgb(path).size == RGB.size
    assert not is_image(path.with_suffix(".webp"))


def test_a_name_is_found_whatever_its_form_in_unicode(tmp_path):
    RGB.save(tmp_path / unicodedata.normalize("NFD", "Zelle ü.png"))
    listed = tmp_path / unicodedata.normalize("NFC", "Zelle ü.png")
    np.testing.assert_array_equal(np.asarray(read_rgb(listed)), PIXELS)
    assert image_size(listed) == RGB.size
