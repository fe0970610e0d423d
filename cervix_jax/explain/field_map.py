"""The attribution map of a whole field or slide: the sum of its cells' maps at their positions.

    field = FieldMap(slide.size)
    for box, values in zip(boxes, maps, strict=True):     # maps float [S, S], one number a pixel
        field.add(values, box)
    layer = field.layer_png(side / SMOOTHING)             # for the page of a slide

Definition. The network classifies single cells, so a field has no score of its own. The map of a
field explains the sum of one class's scores (logits, if the maps explain logits) over the cells of
the field: S(field) = s(cell 1) + ... + s(cell n). The map of a sum is the sum of the maps: each
cell's map is added at the position of its crop, and its sum is preserved. If a crop extends beyond
the border, the network receives mirrored pixels, and the attribution of a mirrored pixel is added
to the pixel that it mirrors.

Limits. The map is a sum over cells: it shows no interaction between cells, and a field with more
cells has larger values. It explains the classifier, not the detector, so it does not show why a
nucleus was found or missed. For methods whose maps do not sum to a score (saliency: absolute
gradients), it is the sum of these values and refers to no score. Attributions of opposite sign
cancel where crops overlap.
"""

import math

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter

from cervix_jax.explain.pictures import colour, scale_of
from cervix_jax.files.images import png
from cervix_jax.slides.regions import Box, reflected

# Pictures smooth a map by a Gaussian with a standard deviation of side / SMOOTHING of a crop.
SMOOTHING = 32
_NOTHING = 1e-9
LONGEST = 2048  # maximum pixels of a map's longer side, as in `Slide.thumbnail`


class FieldMap:
    """Sums the maps of cells to the map of their field; memory depends on the field only.

    Attributes:
      scale: level-0 pixels for each pixel of the map, 1 or more.
      values: float64 [h, w], the sum of the added maps.

    Args:
      size: (width, height) of the field in level-0 pixels.
      longest: maximum pixels of the map's longer side; a smaller field keeps its size. The default
        equals that of `Slide.thumbnail`, so that both have the same size.
    """

    def __init__(self, size: tuple[int, int], longest: int = LONGEST):
        self._size = size
        self.scale = max(1.0, max(size) / longest)
        width, height = (max(1, round(side / self.scale)) for side in size)
        self.values = np.zeros((height, width))

    def add(self, values: np.ndarray, box: Box) -> None:
        """Add the map of a crop; its sum is preserved.

        Args:
          values: float [S, T], one number a pixel, see `measures.reduce_channels`.
          box: (left, top, right, bottom) of the crop in level-0 pixels; parts beyond the border are
            mirrored as in `Slide.read`.
        """
        height, width = self.values.shape
        first_x, across = _spread(box[0], box[2], values.shape[1], self._size[0], width, self.scale)
        first_y, down = _spread(box[1], box[3], values.shape[0], self._size[1], height, self.scale)
        rows = slice(first_y, first_y + len(down))
        columns = slice(first_x, first_x + len(across))
        self.values[rows, columns] += down @ np.asarray(values, np.float64) @ across.T

    def colours(self, sigma: float = 0.0) -> tuple[np.ndarray, float]:
        """Transparent red and blue, uint8 [h, w, 4], and the value of the strongest colour.

        Args:
          sigma: standard deviation in level-0 pixels of a Gaussian that smooths the map first and
            preserves its sum. Maps of pixels are speckled; smoothing shows the sum in a
            neighbourhood.
        """
        values = self.values
        if sigma > 0:
            values = gaussian_filter(values, sigma / self.scale, mode="reflect", truncate=3)
            values[np.abs(values) < _NOTHING * np.abs(values).max()] = 0  # rounding errors
        scale = scale_of(values[values != 0])
        return colour(values, scale), scale

    def layer_png(self, sigma: float = 0.0) -> bytes:
        """The map as a PNG file of the thumbnail's size; transparent where it is zero."""
        return png(Image.fromarray(self.colours(sigma)[0]))


def boxes_about(positions: np.ndarray, side: float) -> np.ndarray:
    """Squares around positions: float64 [n, 4] of left, top, right and bottom.

    Args:
      positions: float [n, 2], x and y.
      side: side of the squares, in the unit of the positions.
    """
    centres = np.asarray(positions, np.float64).reshape(-1, 2)
    return np.concatenate([centres - side / 2, centres + side / 2], axis=1)


def labels_in(labels: np.ndarray, box: Box, size: tuple[int, int]) -> np.ndarray:
    """A crop of a label image or mask, resampled to the nearest pixel.

    Args:
      labels: [H, W], any type, one value for each level-0 pixel.
      box: as for `FieldMap.add`.
      size: (width, height) of the result.

    Returns:
      [height, width] of the same type, mirrored beyond the border.
    """

    def shown(first: float, last: float, count: int, length: int) -> np.ndarray:
        middles = first + (np.arange(count) + 0.5) * (last - first) / count
        return reflected(np.floor(middles).astype(int), length)

    rows = shown(box[1], box[3], size[1], labels.shape[0])
    columns = shown(box[0], box[2], size[0], labels.shape[1])
    return labels[rows[:, None], columns]


def _spread(
    first: float, last: float, count: int, length: int, out: int, scale: float
) -> tuple[int, np.ndarray]:
    """Shares of each of `count` pixels from `first` to `last` that fall on the pixels of the map.

    Returns:
      Number of the first pixel of the map, and float64 [pixels of the map, count]; columns sum to
      1.
    """
    step = (last - first) / count
    # In level-0 pixels, because these are mirrored at the border.
    pixels = np.arange(math.floor(first), math.ceil(last))
    edges = first + np.arange(count) * step
    shares = np.minimum(pixels[:, None] + 1, edges + step) - np.maximum(pixels[:, None], edges)
    shares = np.maximum(shares, 0)
    shares /= shares.sum(0)
    places = reflected(pixels, length)
    # A level-0 pixel is no longer than a pixel of the map, so it overlaps one or two of them.
    low = np.minimum(np.floor(places / scale + 1e-9).astype(int), out - 1)
    high = np.minimum(low + 1, out - 1)
    beyond = np.clip(places + 1 - (low + 1) * scale, 0, 1)
    start = int(low.min())
    spread = np.zeros((int(high.max()) + 1 - start, count))
    np.add.at(spread, low - start, (1 - beyond)[:, None] * shares)
    np.add.at(spread, high - start, beyond[:, None] * shares)
    return start, spread
