"""More than 8 bits a channel are refused, however a file stores them and Pillow reads them."""

import io

import numpy as np
import pytest
from hand_made import deep_png, png_chunks, tiff
from PIL import Image

from cervix_jax.files.depth import why_too_deep
from cervix_jax.files.images import UnreadableImage, decode, image_size, read_image, read_rgb

RNG = np.random.default_rng(0)


def deep(channels: int = 0) -> np.ndarray:
    shape = (6, 5, channels) if channels else (6, 5)
    return RNG.integers(0, 1 << 16, shape, np.uint16)


def saved(image: Image.Image, kind: str, **options) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def jpeg12() -> bytes:
    """A JPEG whose frame says 12 bits."""
    data = bytearray(saved(Image.fromarray(deep(3).astype(np.uint8)), "JPEG"))
    data[data.index(b"\xff\xc0") + 4] = 12
    return bytes(data)


FLOAT = RNG.normal(size=(6, 5)).astype(np.float32)
DEEP = {
    "png grey": (deep_png(deep()), "has 16 bits a channel"),
    "png grey and alpha": (deep_png(deep(2)), "has 16 bits a channel"),
    "png rgb": (deep_png(deep(3)), "has 16 bits a channel"),
    "png rgba": (deep_png(deep(4)), "has 16 bits a channel"),
    "png by pillow": (saved(Image.fromarray(deep()), "PNG"), "has 16 bits a channel"),
    "tiff by pillow": (saved(Image.fromarray(deep()), "TIFF"), "has 16 bits a channel"),
    "tiff packed": (
        saved(Image.fromarray(deep()), "TIFF", compression="tiff_lzw"),
        "has 16 bits a channel",
    ),
    "tiff float by pillow": (
        saved(Image.fromarray(FLOAT), "TIFF"),
        "has floating-point numbers of 32 bits as pixels",
    ),
    "jpeg 12": (jpeg12(), "has 12 bits a channel"),
    "tiff 12": (tiff(deep(), bits=12), "has 12 bits a channel"),
    "tiff 32": (tiff(deep().astype(np.uint32)), "has 32 bits a channel"),
    "tiff double": (
        tiff(FLOAT.astype(np.float64)),
        "has floating-point numbers of 64 bits as pixels",
    ),
    "tiff half": (tiff(FLOAT.astype(np.float16)), "has floating-point numbers of 16 bits as"),
    "tiff signed": (tiff(deep().astype(np.int16)), "has signed numbers of 16 bits as pixels"),
    "tiff signed byte": (tiff(deep().astype(np.int8)), "has signed numbers of 8 bits as pixels"),
} | {
    f"tiff {order}{channels}{' big' if big else ''}": (
        tiff(deep(channels), order=order, big=big),
        "has 16 bits a channel",
    )
    for order in "<>"
    for channels in (0, 3, 4)
    for big in (False, True)
    if (order, big) != (">", True)  # which Pillow does not read
}


@pytest.mark.parametrize("kind", DEEP)
def test_deep_files_are_refused_in_every_way_of_reading(kind, tmp_path):
    data, reason = DEEP[kind]
    path = tmp_path / "a.png"
    path.write_bytes(data)
    for read in (read_rgb, read_image, image_size, lambda path: decode(data, path)):
        with pytest.raises(UnreadableImage) as caught:
            read(path)
        assert caught.value.reason.startswith(reason)
        assert str(caught.value).endswith("; save it with 8 bits a channel.")


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("channels", [0, 3, 4])
@pytest.mark.parametrize("big", [False, True])
def test_8_bits_are_read(order, channels, big, tmp_path):
    if big and order == ">":
        pytest.skip("Pillow does not read it")
    pixels = (deep(channels) >> 8).astype(np.uint8)
    path = tmp_path / "a.tif"
    path.write_bytes(tiff(pixels, order=order, big=big))
    if channels != 4:
        expected = pixels if channels else np.dstack([pixels] * 3)
        np.testing.assert_array_equal(np.asarray(read_rgb(path)), expected)
    assert read_rgb(path).size == (5, 6)


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "CMYK"])
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "JPEG", "BMP"])
def test_every_mode_of_8_bits_passes(mode, kind):
    image = Image.fromarray((deep(3) >> 8).astype(np.uint8)).convert(mode)
    try:
        data = saved(image, kind)
    except OSError:
        pytest.skip(f"{kind} has no {mode}")
    stream = io.BytesIO(data)
    assert why_too_deep(stream) == ""
    assert stream.tell() == 0


@pytest.mark.parametrize(
    "data",
    [b"", b"II", b"II*\0", b"MM\0*\0\0\0\x08", b"\xff\xd8", b"\xff\xd8\xff", png_chunks(), b"BM"],
)
def test_damaged_heads_are_left_to_the_decoder(data):
    assert why_too_deep(io.BytesIO(data)) == ""
    with pytest.raises(UnreadableImage, match="is not a readable"):
        decode(data, "x")
