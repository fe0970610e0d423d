"""Encoded image bytes to square uint8 arrays, on the host; where masks and points lie on them."""

import dataclasses

import numpy as np
from PIL import Image, ImageOps

from cervix_jax.errors import check_choice
from cervix_jax.files import images

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
    colour = None
    if mode == "pad":
        pixels = np.asarray(image)
        border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
        colour = tuple(int(value) for value in np.median(border, axis=0))
    return _squared(image, size, mode, Image.Resampling.BILINEAR, colour)


def resize_labels(labels: np.ndarray, size: int, mode: str = "stretch") -> np.ndarray:
    """Resize a map of labels to lie over the image that `resize_square` gives.

    Args:
      labels: uint8 [H, W].
      size: side of the result in pixels.
      mode: as for the image; "pad" fills the rest with 0.

    Returns:
      uint8 [size, size], each pixel the label nearest to its middle.

    Raises:
      InputError: `mode` is unknown.
    """
    return _squared(Image.fromarray(labels), size, mode, Image.Resampling.NEAREST, 0)


@dataclasses.dataclass(frozen=True)
class Frame:
    """Where `resize_square` puts a point: at `point * scale + offset`, in pixels.

    Points are (x, y) from the upper left corner of the image, which is (0, 0); the middle of the
    first pixel is (0.5, 0.5).

    Attributes:
      scale: float64 [2].
      offset: float64 [2].
    """

    scale: np.ndarray
    offset: np.ndarray

    @classmethod
    def of(cls, image_size: tuple[int, int], size: int, mode: str = "stretch") -> "Frame":
        """The frame of an image.

        Args:
          image_size: its width and height in pixels.
          size: side of the resized image in pixels.
          mode: see `resize_square`.

        Raises:
          InputError: `mode` is unknown.
        """
        check_mode(mode)
        sides = np.asarray(image_size, np.float64)
        if mode == "stretch":
            scaled = np.full(2, float(size))
        elif mode == "crop":
            scaled = sides * size / sides.min()
        else:  # Pillow pads whole pixels.
            scaled = np.array([max(1, round(s / sides.max() * size)) for s in sides], np.float64)
        margin = (size - scaled) / 2
        offset = np.array([round(m) for m in margin], np.float64) if mode == "pad" else margin
        return cls(scaled / sides, offset)


def _squared(image: Image.Image, size: int, mode: str, resampling, colour) -> np.ndarray:
    check_mode(mode)
    if mode == "stretch":
        return np.asarray(image.resize((size, size), resampling))
    if mode == "crop":
        return np.asarray(ImageOps.fit(image, (size, size), resampling))
    return np.asarray(ImageOps.pad(image, (size, size), resampling, color=colour))


def check_mode(mode: str) -> None:
    """Raises InputError unless `mode` is one of `RESIZE_MODES`."""
    check_choice("data.resize", mode, RESIZE_MODES)


def decode_square(
    encoded: bytes, size: int, mode: str = "stretch", *, name: str = ""
) -> np.ndarray:
    """Decode an encoded image (PNG, JPEG, BMP or TIFF) and resize it to a square.

    Args:
      encoded: the file's bytes.
      size: side of the result in pixels.
      mode: see `resize_square`.
      name: what to call the image in an error.

    Returns:
      uint8 [size, size, 3], RGB.

    Raises:
      InputError: the bytes cannot be used, see `cervix_jax.files.images.decode`.
    """
    upright = images.rgb(images.decode(encoded, name or "image"))
    return resize_square(upright, size, mode)
