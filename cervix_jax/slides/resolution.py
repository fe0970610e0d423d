"""Pixel size in micrometres, from the metadata of a slide."""

import math
from collections.abc import Mapping
from pathlib import Path

from cervix_jax.data.resolution import HIGHEST, LOWEST
from cervix_jax.errors import InputError

_SQUARE = 1.05  # pixels with a greater ratio of sides are not square
_PROPERTIES = ("openslide.mpp-x", "openslide.mpp-y")


def mpp_of(path: Path, properties: Mapping[str, str]) -> float | None:
    """Micrometres per pixel from the properties of OpenSlide, the mean of both sides of a pixel.

    Args:
      path: name of the slide in errors.
      properties: properties of OpenSlide, which reads the scanner's metadata or the resolution tags
        of a TIFF.

    Returns:
      None if the file has no such metadata.

    Raises:
      InputError: the value is outside 0.05 to 10, or the sides differ by more than 5 %.
    """
    sides = [side for name in _PROPERTIES if (side := _number(properties.get(name))) is not None]
    for side in sides:
        if not LOWEST <= side <= HIGHEST:
            raise InputError(
                f"{path}: states {side:g} micrometres per pixel, which is implausible for cells "
                f"({LOWEST:g} to {HIGHEST:g}); give the right value, e.g. --mpp=0.25."
            )
    if not sides:
        return None
    if max(sides) > _SQUARE * min(sides):
        raise InputError(
            f"{path}: pixels are not square ({sides[0]:g} x {sides[1]:g} micrometres); give "
            "one value for both sides, e.g. --mpp=0.25."
        )
    return math.fsum(sides) / len(sides)


def _number(text: str | None) -> float | None:
    try:
        return None if text is None else float(text)
    except ValueError:
        return None
