"""Maps as pictures: one set of colours, one scale, and one kind of overlay.

Red marks evidence for the class and blue evidence against it. Stronger values are more opaque, and
zero is transparent. `colour` returns RGBA; `SIGNED` is the same over white, for matplotlib.

    values = reduce_channels(maps)                    # [N, S, S]
    red_and_blue = colour(values[0], scale_of(values))
    picture = lay_over(grey(pixels[0]), red_and_blue)
"""

from collections.abc import Mapping

import matplotlib
import numpy as np
from matplotlib.colors import LinearSegmentedColormap
from PIL import Image
from skimage.segmentation import find_boundaries

# The strongest colour is this quantile of the absolute values of all maps that share a scale.
SCALE_QUANTILE = 0.995
POSITIVE, NEGATIVE = (178, 24, 43), (33, 102, 172)  # from ColorBrewer's RdBu
OPACITY = 0.7  # of the strongest colour over an image
OUTLINES = {"nucleus": (255, 230, 0), "cytoplasm": (0, 230, 118)}

SIGNED = LinearSegmentedColormap.from_list(
    "signed", ["#" + bytes(each).hex() for each in (NEGATIVE, (255, 255, 255), POSITIVE)]
)
ABSOLUTE = matplotlib.colormaps["magma"]
PAPER_PERCENTILE = 99


def scale_of(values: np.ndarray) -> float:
    """The absolute value of the strongest colour.

    Args:
      values: float, any shape; all values that share the scale.

    Returns:
      The quantile 0.995 of the absolute values, or the largest of them if that is 0. It is 0 for
      maps of zeros and for no maps.
    """
    if not values.size:
        return 0.0
    found = np.abs(values)
    return float(np.quantile(found, SCALE_QUANTILE)) or float(found.max())


def colour(values: np.ndarray, scale: float) -> np.ndarray:
    """A map as transparent colours: red above zero, blue below, opaque at `scale` and beyond.

    Args:
      values: float [S, S], signed.
      scale: value of the strongest colour; zero for a map of zeros.

    Returns:
      uint8 [S, S, 4], RGBA.
    """
    found = np.zeros((*values.shape, 4), np.uint8)
    found[..., :3] = np.where(values[..., None] > 0, POSITIVE, NEGATIVE)
    if scale > 0:
        found[..., 3] = np.rint(255 * np.minimum(np.abs(values) / scale, 1))
    return found


def strength(values: np.ndarray, scale: float) -> np.ndarray:
    """Absolute values from black over violet and red to pale yellow at `scale` and beyond.

    Args:
      values: float [S, S].
      scale: as for `colour`.

    Returns:
      uint8 [S, S, 3].
    """
    shares = np.abs(values) / scale if scale > 0 else np.zeros(values.shape)
    return ABSOLUTE(np.minimum(shares, 1), bytes=True)[..., :3]


def grey(image: np.ndarray) -> np.ndarray:
    """The image in grey, so that its colours are not mistaken for those of the map.

    Args:
      image: uint8 [H, W, 3].

    Returns:
      uint8 [H, W, 3].
    """
    return np.asarray(Image.fromarray(image).convert("L").convert("RGB"))


def lay_over(image: np.ndarray, over: np.ndarray, opacity: float = OPACITY) -> np.ndarray:
    """An image with an overlay.

    Args:
      image: uint8 [H, W, 3].
      over: uint8 [H, W, 4], from `colour` or `outline`.
      opacity: opacity of the most opaque colour, in [0, 1].

    Returns:
      uint8 [H, W, 3].
    """
    share = opacity / 255 * over[..., 3:].astype(np.float64)
    return np.rint((1 - share) * image + share * over[..., :3]).astype(np.uint8)


def outline(masks: Mapping[str, np.ndarray]) -> np.ndarray:
    """Outlines of nucleus and cell on a transparent background.

    Args:
      masks: region to bool [S, S]; the outlines of nucleus and cytoplasm are drawn.

    Returns:
      uint8 [S, S, 4], RGBA.
    """
    size = next(iter(masks.values())).shape
    found = np.zeros((*size, 4), np.uint8)
    nucleus = masks.get("nucleus", np.zeros(size, bool))
    cell = nucleus | masks.get("cytoplasm", np.zeros(size, bool))
    for name, mask in (("cytoplasm", cell), ("nucleus", nucleus)):
        found[find_boundaries(mask, mode="inner")] = (*OUTLINES[name], 255)
    return found


def paper_shade(map_: np.ndarray) -> np.ndarray:
    """A map as drawn by the published code of arXiv 2106.00557, with a scale for each image.

    Args:
      map_: float [S, S, 3].

    Returns:
      float64 [S, S, 1]: the positive part of the mean over the channels, 1 at its 99th percentile
      and beyond.
    """
    positive = np.maximum(map_.mean(-1, dtype=np.float64), 0)
    top = np.percentile(positive, PAPER_PERCENTILE) or positive.max() or 1.0
    return np.clip(positive / top, 0, 1)[..., None]
