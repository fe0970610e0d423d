"""Reads image files with every check, and keeps or re-encodes them."""

import contextlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image

from cervix_jax.errors import InputError

# A field has 3 megapixels; a file that claims far more is damaged or hostile.
MAX_PIXELS = 64_000_000
# Pillow's plug-ins that may open a file, whatever its name says.
FORMATS = ("BMP", "JPEG", "PNG", "TIFF")
SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff")
# Pillow's modes with 8 bits a channel; other modes would be cut off on the way to RGB.
MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr")
# zlib level 1: a third larger than the default, five times as fast.
_COMPRESS_LEVEL = 1


def read_image(path: Path) -> tuple[Image.Image, bytes]:
    """Decode an image file completely.

    Returns:
      The decoded image, and the bytes of the file.

    Raises:
      InputError: the file is unreadable, no image, truncated, too large or of more than 8 bits a
        channel; names the file.
    """
    with _named(path):
        data = path.read_bytes()
        image = _open(path, io.BytesIO(data))
        image.load()
    return image, data


def image_size(path: Path) -> tuple[int, int]:
    """Width and height in pixels by the head of the file; raises as `read_image`."""
    with _named(path), path.open("rb") as stream:
        return _open(path, stream).size


def _open(path: Path, stream: BinaryIO) -> Image.Image:
    image = Image.open(stream, formats=FORMATS)
    if image.width * image.height > MAX_PIXELS:
        raise InputError(
            f"{path}: {image.width} x {image.height} px is more than {MAX_PIXELS:,} pixels; "
            "it cannot be an image of this data set."
        )
    if image.mode not in MODES:
        raise InputError(
            f"{path}: has pixels of kind {image.mode} (more than 8 bits a channel?); save it "
            "with 8 bits a channel."
        )
    return image


@contextlib.contextmanager
def _named(path: Path) -> Iterator[None]:
    """Turns whatever goes wrong with a file into one line that names it."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # Pillow's plug-ins raise many types for damaged files
        raise InputError(
            f"{path}: not a readable BMP, PNG, JPEG or TIFF image ({error}); copy or unpack it "
            "again."
        ) from error


def is_kept(image: Image.Image) -> bool:
    """Whether a file is stored byte for byte; then its EXIF orientation counts, else it is lost."""
    return image.format in ("JPEG", "PNG") and image.mode == "RGB"


def encode(image: Image.Image, data: bytes) -> bytes:
    """The file as it is stored: RGB JPEG and PNG byte for byte, anything else as RGB PNG."""
    if is_kept(image):
        return data
    return png(image.convert("RGB"))


def png(image: Image.Image) -> bytes:
    """The image as a quickly compressed PNG file."""
    stream = io.BytesIO()
    image.save(stream, "PNG", compress_level=_COMPRESS_LEVEL)
    return stream.getvalue()


def mask_png(mask: np.ndarray) -> bytes:
    """A boolean mask [height, width] as a PNG file, 1 inside and 0 outside."""
    return png(Image.fromarray(mask.astype(np.uint8)))


def squares_about(pixels: np.ndarray, positions: np.ndarray, side: int) -> Iterator[np.ndarray]:
    """A square about every position; beyond the border the image is mirrored.

    Args:
      pixels: uint8 [H, W, 3].
      positions: float [n, 2], x and y in pixels.
      side: of the squares in pixels.

    Yields:
      uint8 [side, side, 3].
    """
    margin = (side + 1) // 2
    padded = np.pad(pixels, ((margin, margin), (margin, margin), (0, 0)), mode="reflect")
    for left, top in (upper_left(positions, side) + margin).tolist():
        yield padded[top : top + side, left : left + side]


def upper_left(positions: np.ndarray, side: int) -> np.ndarray:
    """Corners int64 [n, 2], x and y, of the squares about the positions."""
    return np.floor(positions).astype(np.int64) - side // 2
