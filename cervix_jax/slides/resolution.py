"""Micrometres a pixel as a slide says them."""

import math
from collections.abc import Mapping
from pathlib import Path

from cervix_jax.data.resolution import HIGHEST, LOWEST
from cervix_jax.errors import InputError

_SQUARE = 1.05  # pixels whose sides differ by more are no squares
_PROPERTIES = ("openslide.mpp-x", "openslide.mpp-y")


def mpp_of(path: Path, properties: Mapping[str, str]) -> float | None:
    """Micrometres a pixel by the properties of OpenSlide: the mean of both sides of a pixel.

    Args:
      path: what to call the slide in an error.
      properties: of OpenSlide, which reads the scanner's own words, or the resolution tags of a
        TIFF.

    Returns:
      None where the file does not say it.

    Raises:
      InputError: outside 0.05 to 10, or the sides differ by more than 5 %.
    """
    sides = [side for name in _PROPERTIES if (side := _number(properties.get(name))) is not None]
    for side in sides:
        if not LOWEST <= side <= HIGHEST:
            raise InputError(
                f"{path}: says {side:g} micrometres a pixel, which no scan of cells has "
                f"({LOWEST:g} to {HIGHEST:g}); give the right value, e.g. --mpp=0.25."
            )
    if not sides:
        return None
    if max(sides) > _SQUARE * min(sides):
        raise InputError(
            f"{path}: its pixels are no squares ({sides[0]:g} x {sides[1]:g} micrometres); give "
            "one value for both sides, e.g. --mpp=0.25."
        )
    return math.fsum(sides) / len(sides)


def _number(text: str | None) -> float | None:
    try:
        return None if text is None else float(text)
    except ValueError:
        return None
