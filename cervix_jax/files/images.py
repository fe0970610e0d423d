"""The one reader of image files, with every check; it also keeps or re-encodes them.

What is read stands upright as its EXIF data say; `rgb` shows it on white where it is transparent.
Builders, the pipeline and `predict` read alike, so that an image on disk is to the bit what
training saw of it.
"""

import contextlib
import io
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from cervix_jax.errors import InputError
from cervix_jax.files.paths import why_no_file

# A field has 3 megapixels; a file that claims far more is damaged or hostile.
MAX_PIXELS = 64_000_000
# Pillow's plug-ins that may open a file, whatever its name says.
FORMATS = ("BMP", "JPEG", "PNG", "TIFF")
SUFFIXES = (".bmp", ".dib", ".jfif", ".jif", ".jpe", ".jpeg", ".jpg", ".png", ".tif", ".tiff")
# Pillow's modes with 8 bits a channel; other modes would be cut off on the way to RGB.
MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr")
# zlib level 1: a third larger than the default, five times as fast.
_COMPRESS_LEVEL = 1


class UnreadableImage(InputError):
    """An image file that cannot be used: unreadable, no image, truncated, too large, of more than
    8 bits a channel or of several pages.

    Attributes:
      reason: why, in a line without the name of the file.
    """

    def __init__(self, name: Path | str, reason: str, way_out: str):
        super().__init__(f"{name}: {reason}; {way_out}.")
        self.reason = " ".join(reason.split())


def read_image(path: Path, *, max_pixels: int = MAX_PIXELS) -> tuple[Image.Image, bytes]:
    """Decode an image file completely.

    Args:
      path: the file.
      max_pixels: more than this many pixels are refused before they are decoded.

    Returns:
      The decoded image, upright, in its own mode, and the bytes of the file.

    Raises:
      UnreadableImage: it cannot be used; names the file.
    """
    with _named(path, max_pixels), _file(path) as stream:
        data = stream.read()
    return decode(data, path, max_pixels=max_pixels), data


def decode(data: bytes, name: Path | str, *, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Decode the bytes of an image file completely, upright and in their own mode.

    Args:
      data: the file.
      name: what to call it in an error.
      max_pixels: see `read_image`.

    Raises:
      UnreadableImage: as `read_image`.
    """
    with _named(name, max_pixels):
        return _decoded(name, io.BytesIO(data), max_pixels)


def read_rgb(path: Path | str, *, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Decode an image file to upright RGB, white where it is transparent.

    `np.asarray` makes uint8 [height, width, 3] of it.

    Args:
      path: the file.
      max_pixels: see `read_image`.

    Raises:
      UnreadableImage: as `read_image`.
    """
    with _named(path, max_pixels), _file(path) as stream:
        return rgb(_decoded(path, stream, max_pixels))


def image_size(path: Path | str, *, max_pixels: int = MAX_PIXELS) -> tuple[int, int]:
    """Width and height in pixels, upright, by the head of the file; raises as `read_image`."""
    with _named(path, max_pixels), _file(path) as stream:
        return _upright_size(_opened(path, stream, max_pixels))


def encoded_size(data: bytes, name: Path | str, *, max_pixels: int = MAX_PIXELS) -> tuple[int, int]:
    """As `image_size`, of the bytes of a file; arguments and errors are those of `decode`."""
    with _named(name, max_pixels):
        return _upright_size(_opened(name, io.BytesIO(data), max_pixels))


def _upright_size(image: Image.Image) -> tuple[int, int]:
    """Width and height in pixels of an opened image as it stands by its EXIF orientation."""
    width, height = image.size
    lies = image.getexif().get(ExifTags.Base.Orientation, 1) in (5, 6, 7, 8)
    # Pillow turns the size of a TIFF itself.
    return (height, width) if lies and image.format != "TIFF" else (width, height)


@contextlib.contextmanager
def only_our_checks() -> Iterator[None]:
    """Turns off what Pillow does besides, in all threads, while the block lasts.

    That is its own limit of pixels, which is fixed while `max_pixels` is not, and its warnings
    about tags of TIFF that do not matter.
    """
    previous, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="PIL")
            yield
    finally:
        Image.MAX_IMAGE_PIXELS = previous


def _file(path: Path | str) -> BinaryIO:
    if reason := why_no_file(path):
        raise UnreadableImage(path, reason, "remove it from the list or the folder")
    return open(path, "rb")


def _decoded(name: Path | str, stream: BinaryIO, max_pixels: int) -> Image.Image:
    with _opened(name, stream, max_pixels) as image:
        if _has_pages(image):
            raise UnreadableImage(
                name, "holds several images", "save the one that is meant by itself"
            )
        image.load()
        # A TIFF is turned when it is loaded, and then says so no more.
        upright = image.getexif().get(ExifTags.Base.Orientation, 1) in (0, 1)
        # The image itself otherwise: it knows the format that `encode` looks at.
        return image if upright else ImageOps.exif_transpose(image)


def _opened(name: Path | str, stream: BinaryIO, max_pixels: int) -> Image.Image:
    image = Image.open(stream, formats=FORMATS)
    if image.width * image.height > max_pixels:
        raise UnreadableImage(
            name,
            f"{image.width} x {image.height} px is more than {max_pixels:,} pixels (max_pixels)",
            "cut or shrink it",
        )
    if image.mode not in MODES:
        raise UnreadableImage(
            name,
            f"has pixels of kind {image.mode} (more than 8 bits a channel?)",
            "save it with 8 bits a channel",
        )
    return image


def _has_pages(image: Image.Image) -> bool:
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
def _named(name: Path | str, max_pixels: int) -> Iterator[None]:
    """Turns whatever goes wrong with a file into one line that names it."""
    try:
        yield
    except UnreadableImage:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise UnreadableImage(
            name, f"claims more than {max_pixels:,} pixels ({error})", "cut or shrink it"
        ) from error
    except MemoryError as error:
        raise UnreadableImage(
            name, "takes more memory than there is", "cut or shrink it"
        ) from error
    except Exception as error:  # Pillow's plug-ins raise many types for damaged files
        unknown = isinstance(error, UnidentifiedImageError)  # says no more than that
        said = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise UnreadableImage(
            name,
            f"is not a readable BMP, JPEG, PNG or TIFF image{'' if unknown else f' ({said})'}",
            "copy or unpack it again",
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
