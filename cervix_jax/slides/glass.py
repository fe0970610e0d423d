"""Where a slide has cells, and where it has bare glass only."""

import numpy as np
from scipy import ndimage

from cervix_jax.slides.slide import Slide

# The thumbnail's pixel in micrometres: a nucleus has about as much.
_PIXEL = 8.0
_LONGEST = (1024, 4096)
# Optical densities. Pale cytoplasm has about 0.1 more than the glass about it, glass in uneven
# light 0.02. Otsu's threshold would divide nuclei from cytoplasm where cells cover the slide.
ABOVE_NEIGHBOURS = 0.05
ABOVE_SLIDE = 0.2
# What the scanner never saw is stored as white; the glass itself is rarely so.
_WHITE = 254
_GLASS = 95.0  # percentile that shows the glass
_BLOCK = 32


def covered(slide: Slide) -> tuple[np.ndarray, float]:
    """Find what absorbs light, on a thumbnail.

    A pixel is covered where its optical density in some channel exceeds by 0.05 that of the glass
    near it (the brightest 5 % of a block of 32 x 32 pixels or of one of its neighbours), or by 0.2
    that of the slide's glass. So uneven light and glass of two colours count as glass, while dirt
    and ink count as cells: a tile too many costs time, one too few loses cells.

    Args:
      slide: of known micrometres a pixel.

    Returns:
      bool [h, w], and the level-0 pixels a pixel of it.

    Raises:
      InputError: the micrometres a pixel are unknown.
    """
    across = max(slide.size) * slide.require_mpp() / _PIXEL
    thumbnail, scale = slide.thumbnail(int(np.clip(np.ceil(across), *_LONGEST)))
    return is_covered(thumbnail), scale


def is_covered(pixels: np.ndarray) -> np.ndarray:
    """As `covered`, of uint8 [h, w, 3]; gives bool [h, w]."""
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
    """The glass about every pixel: uint8 [h, w], 0 where nothing was scanned."""
    height, width = values.shape
    rows, columns = -(-height // _BLOCK), -(-width // _BLOCK)
    whole = np.pad(values, ((0, rows * _BLOCK - height), (0, columns * _BLOCK - width)), "edge")
    blocks = whole.reshape(rows, _BLOCK, columns, _BLOCK).swapaxes(1, 2).reshape(rows, columns, -1)
    glass = np.percentile(blocks, _GLASS, axis=-1).astype(np.uint8)
    near = ndimage.maximum_filter(glass, 3, mode="nearest")
    return near.repeat(_BLOCK, 0).repeat(_BLOCK, 1)[:height, :width]


def _limit(glass: np.ndarray | float, above: float) -> np.ndarray:
    """Where the values begin whose optical density exceeds the glass's by less than `above`."""
    return np.ceil((np.asarray(glass, np.float32) + 1) * 10**-above - 1).astype(np.uint8)
