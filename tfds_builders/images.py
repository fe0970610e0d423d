"""Reads image files with every check, and keeps or re-encodes them."""

import io
from pathlib import Path

import numpy as np
from PIL import Image

from cervix_jax.errors import InputError

# A field has 3 megapixels; a file that claims far more is damaged or hostile.
MAX_PIXELS = 64_000_000
# Pillow's plug-ins that may open a file, whatever its name says.
FORMATS = ("BMP", "JPEG", "PNG")
# zlib level 1: a third larger than the default, five times as fast.
_COMPRESS_LEVEL = 1


def read_image(path: Path) -> tuple[Image.Image, bytes]:
    """Decode an image file completely.

    Returns:
      The decoded image, and the bytes of the file.

    Raises:
      InputError: the file is unreadable, no image, truncated or too large; names the file.
    """
    try:
        data = path.read_bytes()
        image = Image.open(io.BytesIO(data), formats=FORMATS)
        if image.width * image.height > MAX_PIXELS:
            raise InputError(
                f"{path}: {image.width} x {image.height} px is more than {MAX_PIXELS:,} pixels; "
                "it cannot be an image of this data set."
            )
        image.load()
    except InputError:
        raise
    except Exception as error:  # Pillow's plug-ins raise many types for damaged files
        raise InputError(
            f"{path}: not a readable BMP, PNG or JPEG image ({error}); copy or unpack it again."
        ) from error
    return image, data


def encode(image: Image.Image, data: bytes) -> bytes:
    """The file as it is stored: RGB JPEG and PNG byte for byte, anything else as RGB PNG."""
    if image.format in ("JPEG", "PNG") and image.mode == "RGB":
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
