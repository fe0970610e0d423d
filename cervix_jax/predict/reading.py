"""Reads image files as a data set of such files would have been read for training."""

import contextlib
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from cervix_jax.data.decode import resize_square
from cervix_jax.files.images import (
    FORMATS,
    MAX_PIXELS,
    MODES,
    has_pages,
    rgb,
    upright_size,
)
from cervix_jax.files.threads import map_in_order

KINDS = "BMP, JPEG, PNG or TIFF image"


class UnreadableImage(Exception):
    """An image that cannot be used; `str()` is the reason, in a line, without its name."""


@contextlib.contextmanager
def own_pixel_limit() -> Iterator[None]:
    """Leaves the limit of pixels to `read_rgb`; Pillow's is fixed, and it warns on stderr."""
    previous, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = previous


def read_rgb(path: str | Path, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Decode an image file to upright RGB.

    What comes back is what training saw of such a file, to the bit: upright, and white where it is
    transparent.

    Args:
      path: the file.
      max_pixels: more than this many pixels are refused before they are decoded.

    Raises:
      UnreadableImage: there is no such file, or it is no whole image of at most 8 bits a channel.
    """
    path = Path(path)
    try:
        if not path.is_file():
            reason = "is no regular file" if path.exists() else "there is no such file"
            raise UnreadableImage(reason)
        with warnings.catch_warnings(), path.open("rb") as stream:
            warnings.simplefilter("ignore")  # about tags of TIFF that do not matter
            image = Image.open(stream, formats=FORMATS)
            _check(image, max_pixels)
            if has_pages(image):
                raise UnreadableImage("holds several images")
            image.load()
            return rgb(ImageOps.exif_transpose(image))
    except UnreadableImage:
        raise
    except UnidentifiedImageError as error:
        raise UnreadableImage(f"is no {KINDS}") from error
    except MemoryError as error:
        raise UnreadableImage("takes more memory than there is") from error
    except Exception as error:  # Pillow's plug-ins raise many types for damaged files
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise UnreadableImage(f"cannot be read ({' '.join(reason.split())})") from error


def _check(image: Image.Image, max_pixels: int) -> None:
    if image.width * image.height > max_pixels:
        raise UnreadableImage(
            f"{image.width} x {image.height} pixels are more than --max_pixels={max_pixels}"
        )
    if image.mode not in MODES:
        raise UnreadableImage(f"has pixels of kind {image.mode} (more than 8 bits a channel?)")


def read_size(path: str | Path, max_pixels: int = MAX_PIXELS) -> tuple[int, int] | None:
    """Width and height of the upright image by the head of its file; None if it is unreadable."""
    try:
        with warnings.catch_warnings(), Path(path).open("rb") as stream:
            warnings.simplefilter("ignore")
            image = Image.open(stream, formats=FORMATS)
            _check(image, max_pixels)
            return upright_size(image)
    except Exception:
        return None


def read_squares(
    paths: Iterable[str], size: int, resize: str, max_pixels: int
) -> Iterator[tuple[str, np.ndarray | UnreadableImage]]:
    """The images as the network takes them, in order, decoded a few ahead in threads.

    Args:
      paths: files; taken from their iterator as they are needed.
      size: side of the result in pixels.
      resize: see `cervix_jax.data.decode.resize_square`.
      max_pixels: see `read_rgb`.

    Yields:
      The path with uint8 [size, size, 3], or with what is wrong with it.
    """

    def load(path: str) -> tuple[str, np.ndarray | UnreadableImage]:
        try:
            return path, resize_square(read_rgb(path, max_pixels), size, resize)
        except UnreadableImage as error:
            return path, error

    return map_in_order(load, paths)
