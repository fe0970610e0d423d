"""Resolution in micrometres per pixel, of the images of a data set and of a model's input."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from cervix_jax.data.cric_nuclei import DEFAULT_SIDE, MICRONS_PER_PIXEL
from cervix_jax.data.decode import TWO_VIEWS, needs_scale
from cervix_jax.errors import InputError
from cervix_jax.files import images

# Micrometres per pixel. No cell is visible beyond this range: 0.05 is four times finer than the
# resolution of light, and at 10 a nucleus is smaller than a pixel.
LOWEST, HIGHEST = 0.05, 10.0
_PUBLISHED = ("cric", "herlev", "sipakmed")  # builders whose files all have one resolution
_LOOKED_AT = 16  # images whose sizes show whether a data set is a resized copy


def check_microns(name: str, value: float) -> float:
    """Check a resolution given by a user.

    Args:
      name: name of the value in an error.
      value: resolution in micrometres per pixel.

    Raises:
      InputError: the value is not a plausible microscope resolution.
    """
    if not LOWEST <= value <= HIGHEST:  # false for NaN too
        raise InputError(
            f"{name}={value!r}: give micrometres a pixel, from {LOWEST:g} to {HIGHEST:g}."
        )
    return float(value)


def sampled_sizes(source: Sequence[Mapping[str, Any]]) -> tuple[tuple[int, int], ...]:
    """Return width and height of a few images, evenly spread over a data set; skips damaged ones.

    Args:
      source: examples whose "image" holds the bytes of a file.
    """
    sizes = []
    with images.only_our_checks():
        for index in np.unique(np.linspace(0, max(len(source) - 1, 0), _LOOKED_AT).astype(int)):
            try:
                # Only the header: prepared images are upright, and metadata can be at the end.
                with Image.open(io.BytesIO(source[int(index)]["image"])) as image:
                    sizes.append(image.size)
            except Exception:  # Pillow raises many types; decoding reports a damaged image
                continue
    return tuple(sizes)


def same_size(sizes: Sequence[tuple[int, int]]) -> tuple[int, int] | None:
    """Return the common width and height; None if they differ, or if there are no sizes."""
    return sizes[0] if len(set(sizes)) == 1 else None


def microns_of_crops(published: float, sizes: Sequence[tuple[int, int]]) -> float | None:
    """Return the resolution in micrometres per pixel of cell crops of individual sizes.

    Copies that were all resized to one square size have lost their scale.

    Args:
      published: resolution of the original images.
      sizes: width and height of some of the crops.
    """
    return published if any(width != height for width, height in sizes) else None


def microns_of_fields(
    published: float, published_width: float, sizes: Sequence[tuple[int, int]]
) -> float | None:
    """Return the resolution in micrometres per pixel of fields of view of one physical width.

    Args:
      published: resolution of the original images.
      published_width: width of the original images in pixels; copies may have another.
      sizes: width and height of some of the fields.

    Returns:
      None if the widths differ.
    """
    widths = {width for width, _ in sizes}
    return published * published_width / widths.pop() if len(widths) == 1 else None


def network_scale(wanted: Any, microns_per_pixel: float | None, what: str) -> float | None:
    """Return pixels of the model's input per pixel of an image, for `decode.resize_square`.

    Args:
      wanted: the section `data` of a run's config.
      microns_per_pixel: resolution of the image; None if unknown.
      what: description of the image, for the message.

    Returns:
      None unless `data.resize` is "scale" or contains it.

    Raises:
      InputError: it is or contains "scale", and the image's resolution is unknown or implausible.
    """
    if not needs_scale(wanted.resize):
        return None
    if not microns_per_pixel:
        raise unknown_resolution(what)
    return check_microns("micrometres a pixel", microns_per_pixel) / wanted.microns_per_pixel


def unknown_resolution(what: str) -> InputError:
    """Return the error for a fixed resolution applied to images of unknown resolution."""
    if what.partition("/")[0] in _PUBLISHED:
        mend = "take the published files, or another data.resize"
    else:
        mend = (
            "give the setting, e.g. data.settings.microns_per_pixel=0.25 in a config, or "
            "--setting=microns_per_pixel=0.25 together with --on"
        )
    return InputError(
        f"{what}: the pixel size of its images in micrometres is unknown, and "
        f"data.resize=scale needs it; {mend}."
    )


def field_of_view(config: Any, recorded: Mapping[str, Any]) -> float | None:
    """Return the side in micrometres of the square of tissue that a model receives.

    Args:
      config: the run's config.
      recorded: the checkpoint's description of the data set.

    Returns:
      None if the training images covered squares of several sizes, or of an unknown size.
    """
    wanted = config.data
    if wanted.resize in TWO_VIEWS:
        return None  # one of its squares shows the whole image, of any size
    if wanted.resize == "scale":
        return config.image_size * wanted.microns_per_pixel
    if wanted.dataset == "cric/cell":  # runs of earlier versions recorded no size
        return (wanted.settings.get("side") or DEFAULT_SIDE) * MICRONS_PER_PIXEL
    microns, sides = recorded.get("microns_per_pixel"), recorded.get("image_size")
    if not microns or not sides or (wanted.resize == "stretch" and sides[0] != sides[1]):
        return None
    return float(microns) * (max(sides) if wanted.resize == "pad" else min(sides))
