"""Where nuclei are, as a map that a detector learns: background, nucleus or not to be judged.

A map has a value for every pixel of its image. About the centre of a nucleus is a disc of
`NUCLEUS`, about that a ring of `UNJUDGED` as wide, as the border of the disc means nothing, and
everything else is `BACKGROUND`.

Experts mark the nuclei that matter and leave out others. Where a source is not exhaustive, an
unmarked nucleus counts as background all the same: a detector is to find what experts would mark
before it finds anything else.
"""

import numpy as np

BACKGROUND, NUCLEUS, UNJUDGED = 0, 1, 255
CLASS_NAMES = ("background", "nucleus")
# The feature of an example that holds its map.
FEATURE = "nucleus_map"


def draw_map(centres: np.ndarray, shape: tuple[int, int], radius: float) -> np.ndarray:
    """Draw the map of an image.

    Args:
      centres: float [n, 2], x and y of the nuclei in pixels, (0, 0) the upper left corner of the
        image; they may lie outside.
      shape: height and width of the image in pixels.
      radius: of the discs in pixels.

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
    """The class of every pixel of a map uint8 [H, W]: int8, -1 where it is not to be judged."""
    return np.where(drawn == UNJUDGED, -1, drawn.astype(np.int8)).astype(np.int8)
