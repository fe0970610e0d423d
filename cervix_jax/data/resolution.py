"""Micrometres a pixel: of the images of a data set, and of what a network sees of them."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from cervix_jax.data.cric_nuclei import DEFAULT_SIDE, MICRONS_PER_PIXEL
from cervix_jax.data.decode import TWO_VIEWS, needs_scale
from cervix_jax.errors import InputError
from cervix_jax.files import images

# Micrometres a pixel. What lies beyond shows no cell: 0.05 is finer than light resolves by four,
# and at 10 a nucleus is less than a pixel.
LOWEST, HIGHEST = 0.05, 10.0
_PUBLISHED = ("cric", "herlev", "sipakmed")  # builders whose files all have one resolution
_LOOKED_AT = 16  # images of a data set, whose sizes say whether it is a copy of another size


def check_microns(name: str, value: float) -> float:
    """A resolution as it may be given.

    Args:
      name: what it is called in an error.
      value: in micrometres a pixel.

    Raises:
      InputError: it is no resolution of a microscope.
    """
    if not LOWEST <= value <= HIGHEST:  # false for NaN too
        raise InputError(
            f"{name}={value!r}: give micrometres a pixel, from {LOWEST:g} to {HIGHEST:g}."
        )
    return float(value)


def sampled_sizes(source: Sequence[Mapping[str, Any]]) -> tuple[tuple[int, int], ...]:
    """Width and height of a few images, evenly spread over a data set; damaged ones left out.

    Args:
      source: examples whose "image" are the bytes of a file.
    """
    sizes = []
    with images.only_our_checks():
        for index in np.unique(np.linspace(0, max(len(source) - 1, 0), _LOOKED_AT).astype(int)):
            try:
                # The head alone: prepared images are upright, and metadata can lie at the end.
                with Image.open(io.BytesIO(source[int(index)]["image"])) as image:
                    sizes.append(image.size)
            except Exception:  # Pillow's many types; whoever decodes a damaged image says so
                continue
    return tuple(sizes)


def same_size(sizes: Sequence[tuple[int, int]]) -> tuple[int, int] | None:
    """The width and height of all of them; None where they differ, or where there are none."""
    return sizes[0] if len(set(sizes)) == 1 else None


def microns_of_crops(published: float, sizes: Sequence[tuple[int, int]]) -> float | None:
    """Micrometres a pixel of cells that were cut out by hand, each to its own size.

    Copies that were all made squares have lost their scale.

    Args:
      published: of the original images.
      sizes: width and height of some of them.
    """
    return published if any(width != height for width, height in sizes) else None


def microns_of_fields(
    published: float, published_width: float, sizes: Sequence[tuple[int, int]]
) -> float | None:
    """Micrometres a pixel of fields of view that all show the same width of the slide.

    Args:
      published: of the original images.
      published_width: of these, in pixels; copies may have another.
      sizes: width and height of some of them.

    Returns:
      None where the widths differ.
    """
    widths = {width for width, _ in sizes}
    return published * published_width / widths.pop() if len(widths) == 1 else None


def network_scale(wanted: Any, microns_per_pixel: float | None, what: str) -> float | None:
    """Pixels of the network's square per pixel of an image; what `decode.resize_square` asks for.

    Args:
      wanted: the section `data` of a run's config.
      microns_per_pixel: of the image; None where it is unknown.
      what: what the image is of, for the message.

    Returns:
      None unless `data.resize` is "scale" or contains it.

    Raises:
      InputError: it is or does, and the image's micrometres a pixel are unknown or absurd.
    """
    if not needs_scale(wanted.resize):
        return None
    if not microns_per_pixel:
        raise unknown_resolution(what)
    return check_microns("micrometres a pixel", microns_per_pixel) / wanted.microns_per_pixel


def unknown_resolution(what: str) -> InputError:
    """What to say where a fixed resolution is asked of images whose own is unknown."""
    if what.partition("/")[0] in _PUBLISHED:
        mend = "take the published files, or another data.resize"
    else:
        mend = (
            "give the setting, e.g. data.settings.microns_per_pixel=0.25 in a config or "
            "--setting=microns_per_pixel=0.25 beside --on"
        )
    return InputError(
        f"{what}: nobody says how many micrometres a pixel of its images measures, which "
        f"data.resize=scale needs; {mend}."
    )


def field_of_view(config: Any, recorded: Mapping[str, Any]) -> float | None:
    """Side of the square of tissue that a network sees, in micrometres.

    Args:
      config: of a run.
      recorded: what its checkpoint says of its data set.

    Returns:
      None where its training images showed squares of many sizes, or of an unknown one.
    """
    wanted = config.data
    if wanted.resize in TWO_VIEWS:
        return None  # one of its squares shows the whole image, of whatever size
    if wanted.resize == "scale":
        return config.image_size * wanted.microns_per_pixel
    if wanted.dataset == "cric/cell":  # runs of earlier versions recorded no size
        return (wanted.settings.get("side") or DEFAULT_SIDE) * MICRONS_PER_PIXEL
    microns, sides = recorded.get("microns_per_pixel"), recorded.get("image_size")
    if not microns or not sides or (wanted.resize == "stretch" and sides[0] != sides[1]):
        return None
    return float(microns) * (max(sides) if wanted.resize == "pad" else min(sides))
