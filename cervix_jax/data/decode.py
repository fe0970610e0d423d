"""Encoded image bytes to square uint8 arrays, on the host."""

import io

import numpy as np
from PIL import Image, ImageOps

from cervix_jax.errors import InputError

RESIZE_MODES = ("stretch", "crop", "pad")


def resize_square(image: np.ndarray | Image.Image, size: int, mode: str = "stretch") -> np.ndarray:
    """Resize one image to a square, with antialiasing.

    Args:
      image: uint8 [H, W, 3], or a PIL image.
      size: side of the result in pixels.
      mode: "stretch" changes the aspect ratio; "crop" scales the shorter side and cuts the
        centre, as the paper does; "pad" scales the longer side and fills the rest with the
        median colour of the border, which hides neither aspect ratio nor size class.

    Returns:
      uint8 [size, size, 3].

    Raises:
      InputError: `mode` is unknown.
    """
    if not isinstance(image, Image.Image):
        image = Image.fromarray(image)
    if mode == "stretch":
        return np.asarray(image.resize((size, size), Image.Resampling.BILINEAR))
    if mode == "crop":
        return np.asarray(ImageOps.fit(image, (size, size), Image.Resampling.BILINEAR))
    if mode == "pad":
        pixels = np.asarray(image)
        border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
        colour = tuple(int(value) for value in np.median(border, axis=0))
        return np.asarray(
            ImageOps.pad(image, (size, size), Image.Resampling.BILINEAR, color=colour)
        )
    raise InputError(f"data.resize={mode!r} is unknown; choose one of {', '.join(RESIZE_MODES)}.")


def decode_square(
    encoded: bytes, size: int, mode: str = "stretch", *, name: str = ""
) -> np.ndarray:
    """Decode an encoded image (PNG, JPEG, BMP, ...) and resize it to a square.

    Args:
      encoded: the file's bytes.
      size: side of the result in pixels.
      mode: see `resize_square`.
      name: what to call the image in an error.

    Returns:
      uint8 [size, size, 3], RGB.

    Raises:
      InputError: the bytes are not an image, or are cut short.
    """
    try:
        with Image.open(io.BytesIO(encoded)) as image:
            upright = ImageOps.exif_transpose(image).convert("RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise InputError(f"{name or 'image'}: cannot be decoded ({error}).") from error
    return resize_square(upright, size, mode)
