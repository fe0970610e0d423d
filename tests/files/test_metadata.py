"""Damaged metadata never keep whole pixels from being read."""

import io
import struct
import unittest.mock

import numpy as np
import pytest
from hand_made import PNG, png_chunk
from PIL import Image

from cervix_jax.data.decode import decode_square, resize_square
from cervix_jax.files.images import (
    UnreadableImage,
    encode,
    image_size,
    only_our_checks,
    read_image,
    read_rgb,
)
from cervix_jax.files.metadata import without_metadata

PIXELS = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
RGB = Image.fromarray(PIXELS)
# One entry: orientation 1.
EXIF = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x01\0\0\0\0\0\0\0"
DAMAGED_EXIF = {
    "twice": b"Exif\0\0" + EXIF,
    "empty": b"",
    "header": b"IIU\0\x18\0\0\0",
    "short": EXIF[:14],
    "offset": b"II*\0\xff\xff\xff\x7f",
    "text": EXIF.replace(b"\x12\x01\x03\0\x01\0\0\0\x01", b"\x12\x01\x02\0\x02\0\0\x006"),
    "out of range": EXIF.replace(b"\x01\0\0\0\x01\0\0\0\0", b"\x01\0\0\0\x63\0\0\0\0"),
    "many entries": EXIF[:8] + b"\xff\xff" + EXIF[10:],
    "noise": bytes(range(256)),
}


def saved(kind: str, image: Image.Image = RGB, **options) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def jpeg_segment(marker: int, data: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(data) + 2) + data


def png_with(*extra: bytes, data: bytes = b"") -> bytes:
    data = data or saved("PNG")
    return data[:33] + b"".join(extra) + data[33:]


JPEG = saved("JPEG", quality=95)
FILES = {f"jpeg exif {name}": JPEG[:2] + jpeg_segment(0xE1, b"Exif\0\0" + exif) + JPEG[2:]
         for name, exif in DAMAGED_EXIF.items()}  # fmt: skip
FILES |= {
    f"png exif {name}": png_with(png_chunk(b"eXIf", exif)) for name, exif in DAMAGED_EXIF.items()
}
FILES |= {
    "jpeg jfif": JPEG[:2] + jpeg_segment(0xE0, b"JFIF") + JPEG[20:],
    "jpeg density": JPEG[:2] + jpeg_segment(0xE0, b"JFIF\0\1\1\7") + JPEG[20:],
    "jpeg profile": JPEG[:2] + jpeg_segment(0xE2, b"ICC_PROFILE\0\1\1" + b"?" * 99) + JPEG[2:],
    "jpeg profile in parts": JPEG[:2] + jpeg_segment(0xE2, b"ICC_PROFILE\0\3\\9?") + JPEG[2:],
    "jpeg profile short": JPEG[:2] + jpeg_segment(0xE2, b"ICC_PROFILE\0") + JPEG[2:],
    "jpeg photoshop": JPEG[:2] + jpeg_segment(0xED, b"Photoshop 3.0\x008BIM\x03\xed") + JPEG[2:],
    "jpeg pages": JPEG[:2] + jpeg_segment(0xE2, b"MPF\0II*\0\xff\0\0\0") + JPEG[2:],
    "jpeg xmp": JPEG[:2] + jpeg_segment(
        0xE1, b'http://ns.adobe.com/xap/1.0/\0<x tiff:Orientation="x"\xff') + JPEG[2:],
    "jpeg comment": JPEG[:2] + jpeg_segment(0xFE, b"\xff\xfe\0") + JPEG[2:],
    "jpeg adobe": JPEG[:2] + jpeg_segment(0xEE, b"Adobe") + JPEG[2:],
    "png text crc": png_with(png_chunk(b"tEXt", b"a\0b", crc=7)),
    "png time crc": png_with(png_chunk(b"tIME", b"\0" * 7, crc=7)),
    "png exif crc": png_with(png_chunk(b"eXIf", EXIF, crc=7)),
    "png text kind": png_with(png_chunk(b"zTXt", b"a\0\x09b")),
    "png text packed": png_with(png_chunk(b"zTXt", b"a\0\0?????")),
    "png text empty": png_with(png_chunk(b"iTXt", b"")),
    "png profile": png_with(png_chunk(b"iCCP", b"a\0\0?????")),
    "png profile kind": png_with(png_chunk(b"iCCP", b"a\0\x09?")),
    "png profile empty": png_with(png_chunk(b"iCCP", b"")),
    "png size": png_with(png_chunk(b"pHYs", b"")),
    "png gamma": png_with(png_chunk(b"gAMA", b"")),
    "png chromaticity": png_with(png_chunk(b"cHRM", b"\0")),
    "png background": png_with(png_chunk(b"bKGD", b"")),
    "png rendering": png_with(png_chunk(b"sRGB", b"")),
    "png unknown crc": png_with(png_chunk(b"prIv", b"?", crc=7)),
    "png text at the end": (
        saved("PNG")[:-12] + png_chunk(b"tEXt", b"?\0", crc=7) + saved("PNG")[-12:]
    ),
    "png animation": png_with(png_chunk(b"acTL", b"")),
    "tiff profile": saved("TIFF", icc_profile=b"?" * 99),
    "tiff resolution": saved("TIFF", dpi=(1, 1)).replace(
        struct.pack("<HHI", 282, 5, 1), struct.pack("<HHI", 282, 2, 3)),
    "tiff unit": saved("TIFF", dpi=(1, 1)).replace(
        struct.pack("<HHI", 296, 3, 1), struct.pack("<HHI", 296, 2, 1)),
    "tiff orientation": saved("TIFF", tiffinfo={274: 1}).replace(
        struct.pack("<HHI", 274, 3, 1), struct.pack("<HHI", 274, 2, 1)),
    "tiff orientation far": saved("TIFF", tiffinfo={274: 1}).replace(
        struct.pack("<HHI", 274, 3, 1), struct.pack("<HHI", 274, 3, 9999)),
    "tiff text far": saved("TIFF", tiffinfo={270: "?" * 40}).replace(
        struct.pack("<HHI", 270, 2, 41), struct.pack("<HHI", 270, 2, 99999)),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's about such metadata
@pytest.mark.parametrize("kind", FILES)
@pytest.mark.parametrize("quiet", [False, True])
def test_pixels_are_read_as_without_the_damage(kind, quiet, tmp_path):
    path = tmp_path / "x.bin"
    path.write_bytes(FILES[kind])
    with only_our_checks() if quiet else unittest.mock.MagicMock():
        found = np.asarray(read_rgb(path))
        expected = np.asarray(Image.open(io.BytesIO(JPEG))) if kind.startswith("jpeg") else PIXELS
        np.testing.assert_array_equal(found, expected)
        assert image_size(path) == RGB.size
        stored = encode(*read_image(path))
        np.testing.assert_array_equal(decode_square(stored, 16), resize_square(expected, 16))


def test_a_good_orientation_outlives_other_damage(tmp_path):
    turned = Image.Exif()
    turned[0x0112] = 6
    damaged = png_chunk(b"tEXt", b"a\0b", crc=7)
    for kind, data in (
        ("png", png_with(damaged, data=saved("PNG", exif=turned))),
        ("tif", saved("TIFF", exif=turned, dpi=(1, 1)).replace(
            struct.pack("<HHI", 282, 5, 1), struct.pack("<HHI", 282, 2, 3))),
    ):  # fmt: skip
        path = tmp_path / f"x.{kind}"
        path.write_bytes(data)
        np.testing.assert_array_equal(np.asarray(read_rgb(path)), np.rot90(PIXELS, -1))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF"])
def test_damaged_pixels_stay_refused(kind, tmp_path):
    path = tmp_path / "x"
    path.write_bytes(saved(kind)[:-200] if kind != "TIFF" else saved(kind)[:300])
    with pytest.raises(UnreadableImage, match="is not a readable"):
        read_rgb(path)
    broken = bytearray(saved("PNG"))
    broken[60] ^= 255  # a pixel, so that the check sum of its chunk is wrong
    path.write_bytes(broken)
    with pytest.raises(UnreadableImage, match="is not a readable"):
        read_rgb(path)


def test_metadata_are_taken_away_in_two_steps():
    exif = Image.Exif()
    exif[0x0112] = 6
    for kind in ("JPEG", "PNG", "TIFF"):
        data = saved(kind, exif=exif, dpi=(1, 1), icc_profile=b"?" * 200)
        if kind == "JPEG":
            data = data[:2] + jpeg_segment(0xFE, b"?") + data[2:]
        looks, bare = without_metadata(data)
        for found, keeps in ((looks, True), (bare, False)):
            with Image.open(io.BytesIO(found)) as image:
                assert (image.info.get("icc_profile") == b"?" * 200) == keeps
                assert (image.getexif().get(0x0112) == 6) == keeps
    assert list(without_metadata(b"BM?")) == []
    assert list(without_metadata(PNG)) == []
    assert list(without_metadata(b"\xff\xd8\xff\xe1\0\x04ab??")) == []
