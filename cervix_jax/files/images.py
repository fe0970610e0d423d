"""The reader of image files with all checks; it also stores or re-encodes them.

Images are rotated to the orientation of their EXIF data. `rgb` converts them to sRGB, with white in
place of transparency. Damaged metadata are ignored. The builders, the pipeline and `predict` use
the same reader, so an image on disk gives exactly the same pixels as in training.
"""

import contextlib
import io
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, TypeVar

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from cervix_jax.errors import InputError
from cervix_jax.files.colour import (
    MIN_COLOURS,
    is_plain,
    is_transparent_everywhere,
    rgb,
    why_no_picture,
)
from cervix_jax.files.depth import why_too_deep
from cervix_jax.files.metadata import without_metadata
from cervix_jax.files.paths import on_disk, why_no_file

__all__ = [
    "FORMATS", "MAX_PIXELS", "MIN_COLOURS", "SUFFIXES", "UnreadableImage", "decode", "encode",
    "encoded_size", "image_size", "is_image", "mask_png", "only_our_checks", "png", "read_image",
    "read_rgb", "rgb", "squares_about", "upper_left", "why_no_picture",
]  # fmt: skip

# A field has 3 megapixels; a file that claims far more is damaged or malicious.
MAX_PIXELS = 64_000_000
# Pillow's plug-ins that may open a file, independent of its name.
FORMATS = ("BMP", "JPEG", "PNG", "TIFF")
SUFFIXES = (".bmp", ".dib", ".jfif", ".jif", ".jpe", ".jpeg", ".jpg", ".png", ".tif", ".tiff")
# Pillow's modes with a conversion to RGB that preserves every colour.
MODES = ("1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr")
# zlib level 1: a third larger than the default, five times as fast.
_COMPRESS_LEVEL = 1
_DEEP_MODES = ("I", "F")
# The transposition that turns an image upright, by its EXIF orientation.
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

_Found = TypeVar("_Found")


class UnreadableImage(InputError):
    """An unusable image file: unreadable, no image, truncated, too large, of more than 8 bits per
    channel, of several pages, without pixels, fully transparent or almost of one colour.

    Attributes:
      reason: the reason, in one line without the name of the file.
    """

    def __init__(self, name: Path | str, reason: str, way_out: str):
        super().__init__(f"{name}: {reason}; {way_out}.")
        self.reason = " ".join(reason.split())


def is_image(path: Path | str) -> bool:
    """Whether a file is read as an image, by its suffix."""
    return str(path).lower().endswith(SUFFIXES)


def read_image(
    path: Path, *, max_pixels: int = MAX_PIXELS, min_colours: int = MIN_COLOURS
) -> tuple[Image.Image, bytes]:
    """Decode an image file completely.

    Args:
      path: the file.
      max_pixels: images with more pixels are rejected before decoding.
      min_colours: images with fewer colours are rejected; 2 if the names show that they are no
        masks, 1 for masks.

    Returns:
      The decoded image, upright, in its own mode, and the bytes of the file, without metadata if
      these are damaged.

    Raises:
      UnreadableImage: it cannot be used; the message names the file.
    """
    with _named(path, max_pixels), _file(path) as stream:
        data = stream.read()
        image, data = _tolerant(data, lambda file: _decoded(path, file, max_pixels))
        if min_colours > 1:
            _require_picture(path, image, rgb(image), min_colours)
    return image, data


def decode(data: bytes, name: Path | str, *, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Decode the bytes of an image file completely, upright and in their own mode.

    Prepared images are read by this function: an image of few colours, such as a crop, is allowed.

    Args:
      data: the bytes of the file.
      name: name of the image in an error.
      max_pixels: see `read_image`.

    Raises:
      UnreadableImage: as `read_image`.
    """
    with _named(name, max_pixels):
        return _tolerant(data, lambda file: _decoded(name, file, max_pixels))[0]


def read_rgb(path: Path | str, *, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Decode an image file to upright sRGB, white where it is transparent.

    `np.asarray` converts the result to uint8 [height, width, 3].

    Args:
      path: the file.
      max_pixels: see `read_image`.

    Raises:
      UnreadableImage: as `read_image`.
    """
    with _named(path, max_pixels), _file(path) as stream:
        image, _ = _tolerant(stream, lambda file: _decoded(path, file, max_pixels))
        shown = rgb(image)
        _require_picture(path, image, shown)
        return shown


def image_size(path: Path | str, *, max_pixels: int = MAX_PIXELS) -> tuple[int, int]:
    """Return upright width and height in pixels, from the header; raises as `read_image`."""
    with _named(path, max_pixels), _file(path) as stream:
        return _tolerant(stream, lambda file: _upright_size(_opened(path, file, max_pixels)))[0]


def orientation(path: Path | str, *, max_pixels: int = MAX_PIXELS) -> int:
    """Return the orientation of a file, 1 to 8 as in EXIF; raises as `read_image`."""
    with _named(path, max_pixels), _file(path) as stream:
        return _tolerant(stream, lambda file: _orientation(_opened(path, file, max_pixels)))[0]


def encoded_size(data: bytes, name: Path | str, *, max_pixels: int = MAX_PIXELS) -> tuple[int, int]:
    """As `image_size`, for the bytes of a file; arguments and errors are those of `decode`."""
    with _named(name, max_pixels):
        return _tolerant(data, lambda file: _upright_size(_opened(name, file, max_pixels)))[0]


def _require_picture(
    name: Path | str, image: Image.Image, shown: Image.Image, min_colours: int = MIN_COLOURS
) -> None:
    reason = why_no_picture(shown, min_colours)
    if reason and is_transparent_everywhere(image):
        raise UnreadableImage(
            name, "is transparent everywhere", "save it without its alpha channel"
        )
    if reason:
        raise UnreadableImage(
            name, reason, "it may be a mask or an empty picture: move it out of the images"
        )


def _orientation(image: Image.Image) -> int:
    """Return the EXIF orientation, 1 to 8; 1 if the metadata are damaged or lack it."""
    try:
        value = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # Pillow's many types for damaged metadata
        return 1
    return value if isinstance(value, int) and value in _TURNS else 1


def _upright_size(image: Image.Image) -> tuple[int, int]:
    """Return width and height in pixels of an opened image after its EXIF orientation."""
    width, height = image.size
    lies = _orientation(image) in (5, 6, 7, 8)
    # Pillow already reports the rotated size of a TIFF.
    return (height, width) if lies and image.format != "TIFF" else (width, height)


@contextlib.contextmanager
def only_our_checks() -> Iterator[None]:
    """A block in which Pillow's own checks are off, in all threads.

    These are its pixel limit, which is fixed while `max_pixels` is not, and its warnings about
    irrelevant metadata.
    """
    previous, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="PIL")
            yield
    finally:
        Image.MAX_IMAGE_PIXELS = previous


def _file(path: Path | str) -> BinaryIO:
    path = on_disk(path)
    if reason := why_no_file(path):
        raise UnreadableImage(path, reason, "remove it from the list or the folder")
    return open(path, "rb")


def _tolerant(source: bytes | BinaryIO, read: Callable[[BinaryIO], _Found]) -> tuple[_Found, bytes]:
    """Return the result of `read` and the file, without metadata if reading fails with them.

    The file is b"" if it was given as a stream and nothing failed.
    """
    stream = io.BytesIO(source) if isinstance(source, bytes) else source
    whole = source if isinstance(source, bytes) else b""
    try:
        return read(stream), whole
    except (UnreadableImage, MemoryError):
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise
    except Exception:
        stream.seek(0)
        for bare in without_metadata(whole or stream.read()):
            try:
                return read(io.BytesIO(bare)), bare
            except UnreadableImage:
                raise
            except Exception:
                continue  # damage of the file itself is raised below
        raise


def _decoded(name: Path | str, stream: BinaryIO, max_pixels: int) -> Image.Image:
    with _opened(name, stream, max_pixels) as image:
        if _has_pages(image):
            raise UnreadableImage(
                name, "holds several images", "save the wanted image as a separate file"
            )
        image.load()
        # A TIFF is rotated when it is loaded, and then no longer has an orientation.
        turn = _TURNS.get(_orientation(image))
        # Otherwise the image itself: it stores the format that `encode` checks.
        return image if turn is None else image.transpose(turn)


def _opened(name: Path | str, stream: BinaryIO, max_pixels: int) -> Image.Image:
    if reason := why_too_deep(stream):
        reason += ", and more than 8 bits a channel are not read"
        raise UnreadableImage(name, reason, "save it with 8 bits a channel")
    image = Image.open(stream, formats=FORMATS)
    if image.width * image.height > max_pixels:
        raise UnreadableImage(
            name,
            f"{image.width} x {image.height} px is more than {max_pixels:,} pixels (max_pixels)",
            "cut or shrink it",
        )
    if not image.width * image.height:
        raise UnreadableImage(name, "has no pixels", "make or copy it again")
    if image.mode not in MODES:
        if image.mode.startswith(_DEEP_MODES):
            raise UnreadableImage(
                name, "has more than 8 bits a channel", "save it with 8 bits a channel"
            )
        raise UnreadableImage(name, f"has colours of kind {image.mode}", "save it as RGB")
    return image


def _has_pages(image: Image.Image) -> bool:
    """Whether a PNG or TIFF holds several images; a phone's JPEG may hold additional previews."""
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
    """Convert any error of a file to one line that names the file."""
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
            name, "requires more memory than is available", "cut or shrink it"
        ) from error
    except Exception as error:  # Pillow's plug-ins raise many types for damaged files
        unknown = isinstance(error, UnidentifiedImageError)  # it gives no reason
        said = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise UnreadableImage(
            name,
            f"is not a readable BMP, JPEG, PNG or TIFF image{'' if unknown else f' ({said})'}",
            "copy or unpack it again",
        ) from error


def encode(image: Image.Image, data: bytes) -> bytes:
    """Return the file to store: sRGB JPEG and PNG byte for byte, anything else as sRGB PNG.

    Args:
      image: from `read_image`; a rotated image counts as anything else.
      data: the bytes of its file.
    """
    kept = image.format in ("JPEG", "PNG") and is_plain(image)
    return data if kept else png(rgb(image))


def png(image: Image.Image) -> bytes:
    """Return the image as a fast-compressed PNG file."""
    stream = io.BytesIO()
    image.save(stream, "PNG", compress_level=_COMPRESS_LEVEL)
    return stream.getvalue()


def mask_png(mask: np.ndarray) -> bytes:
    """Return a boolean mask [height, width] as a PNG file, 1 inside and 0 outside."""
    return png(Image.fromarray(mask.astype(np.uint8)))


def squares_about(pixels: np.ndarray, positions: np.ndarray, side: int) -> Iterator[np.ndarray]:
    """Yield a square around every position; beyond the border the image is mirrored.

    Args:
      pixels: uint8 [H, W, 3].
      positions: float [n, 2], x and y in pixels.
      side: side of the squares in pixels.

    Yields:
      uint8 [side, side, 3].
    """
    margin = (side + 1) // 2
    padded = np.pad(pixels, ((margin, margin), (margin, margin), (0, 0)), mode="reflect")
    for left, top in (upper_left(positions, side) + margin).tolist():
        yield padded[top : top + side, left : left + side]


def upper_left(positions: np.ndarray, side: int) -> np.ndarray:
    """Return the corners int64 [n, 2], x and y, of the squares around the positions."""
    return np.floor(positions).astype(np.int64) - side // 2
