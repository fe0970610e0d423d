"""Separation of the covered parts of a slide from bare glass."""

import numpy as np
from scipy import ndimage

from cervix_jax.slides.slide import Slide

# Pixel size of the thumbnail in micrometres, about the size of a nucleus.
_PIXEL = 8.0
_LONGEST = (1024, 4096)
# Optical densities. Pale cytoplasm has about 0.1 more than the glass around it, glass in uneven
# light 0.02. Otsu's threshold would separate nuclei from cytoplasm if cells cover the slide.
ABOVE_NEIGHBOURS = 0.05
ABOVE_SLIDE = 0.2
# Parts that were not scanned are stored as white; glass itself rarely is.
_WHITE = 254
_GLASS = 95.0  # percentile of brightness that represents glass
_BLOCK = 32


def covered(slide: Slide) -> tuple[np.ndarray, float]:
    """Find the parts that absorb light, on a thumbnail.

    A pixel is covered if its optical density in some channel exceeds that of the glass near it (the
    brightest 5 % of a block of 32 x 32 pixels or of one of its neighbours) by 0.05, or that of the
    slide's glass by 0.2. So uneven light and glass of two colours count as glass, while dirt and
    ink count as covered: an unnecessary tile costs time, a missing tile loses cells.

    Args:
      slide: a slide with known pixel size.

    Returns:
      bool [h, w], and the number of level-0 pixels per pixel of it.

    Raises:
      InputError: the pixel size is unknown.
    """
    across = max(slide.size) * slide.require_mpp() / _PIXEL
    thumbnail, scale = slide.thumbnail(int(np.clip(np.ceil(across), *_LONGEST)))
    return is_covered(thumbnail), scale


def is_covered(pixels: np.ndarray) -> np.ndarray:
    """Apply `covered` to an image uint8 [h, w, 3]; returns bool [h, w]."""
    scanned = (pixels < _WHITE).any(-1)
    found = np.zeros_like(scanned)
    if scanned.any():
        for channel in range(3):
            values = pixels[..., channel]
            glass = np.percentile(values[scanned], _GLASS)
            found |= values < _limit(glass, ABOVE_SLIDE)
            found |= values < _limit(_glass_near(np.where(scanned, values, 0)), ABOVE_NEIGHBOURS)
    return found & scanned


def _glass_near(values: np.ndarray) -> np.ndarray:
    """Brightness of the glass around every pixel: uint8 [h, w], 0 where nothing was scanned."""
    height, width = values.shape
    rows, columns = -(-height // _BLOCK), -(-width // _BLOCK)
    whole = np.pad(values, ((0, rows * _BLOCK - height), (0, columns * _BLOCK - width)), "edge")
    blocks = whole.reshape(rows, _BLOCK, columns, _BLOCK).swapaxes(1, 2).reshape(rows, columns, -1)
    glass = np.percentile(blocks, _GLASS, axis=-1).astype(np.uint8)
    near = ndimage.maximum_filter(glass, 3, mode="nearest")
    return near.repeat(_BLOCK, 0).repeat(_BLOCK, 1)[:height, :width]


def _limit(glass: np.ndarray | float, above: float) -> np.ndarray:
    """Smallest values whose optical density exceeds that of the glass by less than `above`."""
    return np.ceil((np.asarray(glass, np.float32) + 1) * 10**-above - 1).astype(np.uint8)
