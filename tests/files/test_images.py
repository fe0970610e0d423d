"""An image is read as a data set made of such files would have given it to training."""

import io
import re

import numpy as np
import pytest
from PIL import Image

from cervix_jax.data.decode import decode_square, resize_square
from cervix_jax.errors import InputError
from cervix_jax.files.images import (
    UnreadableImage,
    decode,
    encode,
    encoded_size,
    image_size,
    only_our_checks,
    read_image,
    read_rgb,
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
    "one_bit.png": (RGB.convert("1"), {}),
    "palette.bmp": (RGB.quantize(16), {}),
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


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("cut", r"is not a readable BMP, JPEG, PNG or TIFF image \(.*truncated"),
        ("empty", "is not a readable BMP, JPEG, PNG or TIFF image$"),
        ("text", "is not a readable BMP, JPEG, PNG or TIFF image$"),
        ("gif", "is not a readable BMP, JPEG, PNG or TIFF image$"),
        ("folder", "is no file"),
        ("missing", "there is no such file"),
        ("deep", ".*more than 8 bits a channel"),
        ("huge", "200 x 200 px is more than 1,000 pixels"),
        ("pages", "holds several images"),
    ],
)
def test_every_way_of_reading_gives_the_same_reason_in_one_line(tmp_path, kind, reason):
    path = tmp_path / "x.png"
    broken(kind, path)
    ways = [lambda: read_rgb(path, max_pixels=1000), lambda: read_image(path, max_pixels=1000)]
    if path.is_file():
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
    image = Image.new("RGB", (20, 10))
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
