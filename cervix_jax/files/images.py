"""Reads image files with every check, and keeps or re-encodes them."""

import contextlib
import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

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
      The decoded image, upright, and the bytes of the file.

    Raises:
      InputError: the file is unreadable, no image, truncated, too large, of more than 8 bits a
        channel or of several pages; names the file.
    """
    require_file(path)
    with _named(path):
        data = path.read_bytes()
    return decode(data, path), data


def decode(data: bytes, name: Path | str) -> Image.Image:
    """Decode the bytes of an image file completely, and turn it as its EXIF orientation says.

    Args:
      data: the file.
      name: what to call it in an error.

    Raises:
      InputError: as `read_image`.
    """
    with _named(name), _open(name, io.BytesIO(data)) as image:
        if has_pages(image):
            raise InputError(f"{name}: holds several images; save the one that is meant by itself.")
        image.load()
        # A TIFF is turned when it is loaded, and then says so no more.
        upright = image.getexif().get(ExifTags.Base.Orientation, 1) in (0, 1)
        # The image itself otherwise: it knows the format that `encode` looks at.
        return image if upright else ImageOps.exif_transpose(image)


def image_size(path: Path) -> tuple[int, int]:
    """Width and height in pixels, upright, by the head of the file; raises as `read_image`."""
    require_file(path)
    with _named(path), path.open("rb") as stream:
        return upright_size(_open(path, stream))


def upright_size(image: Image.Image) -> tuple[int, int]:
    """Width and height in pixels of an opened image as it stands by its EXIF orientation."""
    width, height = image.size
    lies = image.getexif().get(ExifTags.Base.Orientation, 1) in (5, 6, 7, 8)
    # Pillow turns the size of a TIFF itself.
    return (height, width) if lies and image.format != "TIFF" else (width, height)


def require_file(path: Path) -> None:
    """Raises InputError unless `path` is a file; a pipe would keep its reader waiting forever."""
    if not os.path.isfile(path):  # False for every path that cannot be asked
        raise InputError(
            f"{path}: is no file (but a pipe, a device, or a link that leads nowhere); remove it."
        )


def _open(name: Path | str, stream: BinaryIO) -> Image.Image:
    image = Image.open(stream, formats=FORMATS)
    if image.width * image.height > MAX_PIXELS:
        raise InputError(
            f"{name}: {image.width} x {image.height} px is more than {MAX_PIXELS:,} pixels; "
            "cut or shrink it."
        )
    if image.mode not in MODES:
        raise InputError(
            f"{name}: has pixels of kind {image.mode} (more than 8 bits a channel?); save it "
            "with 8 bits a channel."
        )
    return image


def has_pages(image: Image.Image) -> bool:
    """Whether a PNG or TIFF holds several images; a phone's JPEG holds previews besides."""
    if image.format not in ("PNG", "TIFF"):
        return False
    try:
        image.seek(1)
    except EOFError:
        image.seek(0)
        return False
    return True


@contextlib.contextmanager
def _named(name: Path | str) -> Iterator[None]:
    """Turns whatever goes wrong with a file into one line that names it."""
    try:
        yield
    except InputError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise InputError(
            f"{name}: it claims more than {MAX_PIXELS:,} pixels ({error}); cut or shrink it."
        ) from error
    except Exception as error:  # Pillow's plug-ins raise many types for damaged files
        unknown = isinstance(error, UnidentifiedImageError)  # says no more than that
        raise InputError(
            f"{name}: not a readable BMP, PNG, JPEG or TIFF image"
            f"{'' if unknown else f' ({error})'}; copy or unpack it again."
        ) from error


def rgb(image: Image.Image) -> Image.Image:
    """The image in RGB; what is transparent shows white, as an empty slide does."""
    if not image.has_transparency_data:
        return image.convert("RGB")
    layer = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), layer).convert("RGB")


def encode(image: Image.Image, data: bytes) -> bytes:
    """The file as it is stored: RGB JPEG and PNG byte for byte, anything else as RGB PNG.

    Args:
      image: from `read_image`; one that was turned counts as anything else.
      data: its file.
    """
    kept = image.format in ("JPEG", "PNG") and image.mode == "RGB"
    if kept and not image.has_transparency_data:
        return data
    return png(rgb(image))


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
