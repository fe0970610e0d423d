"""Nucleus maps for training a detector: each pixel is background, nucleus or not judged.

A map has a value for every pixel of its image. Each nucleus centre has a disc of `NUCLEUS`,
surrounded by a ring of `UNJUDGED` of the same width, because the border of the disc is arbitrary.
All other pixels are `BACKGROUND`.

Experts mark the relevant nuclei and leave out others. In a source that is not exhaustive an
unmarked nucleus still counts as background: a detector should find the nuclei that experts would
mark before any others.
"""

import numpy as np

BACKGROUND, NUCLEUS, UNJUDGED = 0, 1, 255
CLASS_NAMES = ("background", "nucleus")
# The feature of an example that stores its map.
FEATURE = "nucleus_map"


def draw_map(centres: np.ndarray, shape: tuple[int, int], radius: float) -> np.ndarray:
    """Draw the map of an image.

    Args:
      centres: float [n, 2], x and y of the nuclei in pixels, (0, 0) the upper left corner of the
        image; they may lie outside the image.
      shape: height and width of the image in pixels.
      radius: radius of the discs in pixels.

    Returns:
      uint8 [height, width] of `BACKGROUND`, `NUCLEUS` and `UNJUDGED`.
    """
    found = np.full(shape, BACKGROUND, np.uint8)
    for reach, value in ((2 * radius, UNJUDGED), (radius, NUCLEUS)):
        for x, y in np.asarray(centres, np.float64).reshape(-1, 2):
            top, left = (max(0, int(value - reach)) for value in (y, x))
            rows = np.arange(top, min(shape[0], int(y + reach) + 1))
            columns = np.arange(left, min(shape[1], int(x + reach) + 1))
            if len(rows) and len(columns):
                away = np.hypot(*np.meshgrid(columns + 0.5 - x, rows + 0.5 - y))
                patch = found[top : rows[-1] + 1, left : columns[-1] + 1]
                patch[away <= reach] = value
    return found


def as_labels(drawn: np.ndarray) -> np.ndarray:
    """Return the class of every pixel of a map uint8 [H, W] as int8; -1 for pixels not judged."""
    return np.where(drawn == UNJUDGED, -1, drawn.astype(np.int8)).astype(np.int8)
