"""An image is read as a data set made of such files would have given it to training."""

import io

import numpy as np
import pytest
from PIL import Image

from cervix_jax.data.decode import decode_square
from cervix_jax.files.images import encode, read_image
from cervix_jax.predict.reading import (
    UnreadableImage,
    own_pixel_limit,
    read_rgb,
    read_size,
    read_squares,
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
    ((_, found),) = read_squares([str(path)], 16, resize, 1000)
    np.testing.assert_array_equal(found, decode_square(stored, 16, resize))
    assert read_size(path) == read_rgb(path).size


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
        ("cut", "cannot be read"),
        ("empty", "is no BMP, JPEG, PNG or TIFF image"),
        ("text", "is no BMP, JPEG, PNG or TIFF image"),
        ("gif", "is no BMP, JPEG, PNG or TIFF image"),
        ("folder", "is no regular file"),
        ("missing", "there is no such file"),
        ("deep", "more than 8 bits a channel"),
        ("huge", "200 x 200 pixels are more than --max_pixels=1000"),
        ("pages", "holds several images"),
    ],
)
def test_reasons_are_one_line(tmp_path, kind, reason):
    path = tmp_path / "x.png"
    broken(kind, path)
    with pytest.raises(UnreadableImage, match=reason) as caught:
        read_rgb(path, 1000)
    assert "\n" not in str(caught.value)


def test_the_limit_of_pixels_is_the_users(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    path = tmp_path / "x.png"
    RGB.save(path)
    with own_pixel_limit():
        assert read_rgb(path, 600).size == (30, 20)
        with pytest.raises(UnreadableImage, match="max_pixels"):
            read_rgb(path, 599)
    assert Image.MAX_IMAGE_PIXELS == 100
