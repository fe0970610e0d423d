"""Conversion of a decoded image to sRGB on white, for any mode, profile and transparency."""

import functools
import io

import numpy as np
from PIL import Image, ImageCms

# A profile that changes no colour by more than this, of 255, counts as sRGB: the sRGB profiles of
# several vendors differ by rounding.
_TOLERANCE = 2
# Images with fewer colours are masks, or contain nothing to classify.
MIN_COLOURS = 9
_GREY_MODES = ("1", "L", "LA", "La")
# If all alpha bytes are zero, they are unused: many programs write them so.
_UNUSED_ALPHA = ("BMP", "DIB")


def rgb(image: Image.Image) -> Image.Image:
    """Convert an image to sRGB; transparent pixels become white, like an empty slide.

    A damaged ICC profile counts as none, and an image without one as sRGB.

    Args:
      image: an image of a mode that `files.images` accepts.

    Returns:
      Mode RGB, without metadata.
    """
    colours, alpha = _parts(image)
    transform = _transform_of(image, colours.mode)
    if transform is not None:
        colours = ImageCms.applyTransform(colours, transform) or colours
    shown = colours.convert("RGB")
    if alpha is not None:
        shown.putalpha(alpha)
        white = Image.new("RGBA", image.size, "white")
        shown = Image.alpha_composite(white, shown).convert("RGB")
    shown = shown.copy() if shown is image else shown
    shown.info = {}  # a remaining profile would be applied twice
    return shown


def is_plain(image: Image.Image) -> bool:
    """Whether `rgb` changes no pixel."""
    if image.mode != "RGB" or image.has_transparency_data:
        return False
    return _transform_of(image, "RGB") is None


def is_transparent_everywhere(image: Image.Image) -> bool:
    """Whether no pixel of an image is visible."""
    alpha = _parts(image)[1]
    return alpha is not None and alpha.getextrema() == (0, 0)


def why_no_picture(image: Image.Image | np.ndarray, min_colours: int = MIN_COLOURS) -> str:
    """Return why an image contains nothing to classify, e.g. "has one colour only"; else "".

    The rule is the same for files and for arrays.

    Args:
      image: an RGB image, or uint8 [H, W, 3].
      min_colours: minimum number of distinct colours.
    """
    if isinstance(image, np.ndarray):
        if not image.size:
            return "has no pixels"
        image = Image.fromarray(np.ascontiguousarray(image))
    colours = image.getcolors(min_colours - 1)
    if colours is None:
        return ""
    return "has one colour only" if len(colours) == 1 else f"has only {len(colours)} colours"


def _parts(image: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    """Return the colours as L, CMYK or RGB, and alpha as L if there is any."""
    grey = image.mode in _GREY_MODES
    if image.has_transparency_data:
        whole = image.convert("LA") if image.mode == "La" else image
        layer = whole.convert("RGBA")
        alpha = layer.getchannel("A")
        colours = layer.getchannel("R") if grey else layer.convert("RGB")
        unused = image.format in _UNUSED_ALPHA and alpha.getextrema() == (0, 0)
        return colours, None if unused else alpha
    if image.mode == "CMYK":
        return image, None
    return image.convert("L" if grey else "RGB"), None


def _transform_of(image: Image.Image, mode: str) -> ImageCms.ImageCmsTransform | None:
    profile = image.info.get("icc_profile")
    return _transform(profile, mode) if isinstance(profile, bytes) and profile else None


@functools.lru_cache(maxsize=16)
def _transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """Return the transform from a profile to sRGB; None if damaged, of another mode, or sRGB."""
    try:
        transform = ImageCms.buildTransform(
            ImageCms.ImageCmsProfile(io.BytesIO(profile)),
            ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")),
            mode,
            "RGB",
        )
    except (ImageCms.PyCMSError, OSError, TypeError, ValueError):
        return None
    if mode == "CMYK":
        return transform
    levels = np.linspace(0, 255, 18 if mode == "RGB" else 256).round().astype(np.uint8)
    if mode == "RGB":
        levels = np.stack(np.meshgrid(levels, levels, levels), -1).reshape(-1, 18, 3)
    sample = Image.fromarray(levels if mode == "RGB" else levels[None])
    changed = np.asarray(ImageCms.applyTransform(sample, transform), int)
    difference = np.abs(changed - np.asarray(sample.convert("RGB"), int)).max()
    return transform if difference > _TOLERANCE else None
