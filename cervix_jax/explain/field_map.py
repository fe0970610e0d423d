"""The attribution of a whole field or slide: the maps of its cells, put together at their places.

    field = FieldMap(slide.size)
    for box, values in zip(boxes, maps, strict=True):     # maps float [S, S], one number a pixel
        field.add(values, box)
    layer = field.layer_png(side / SMOOTHING)             # for the page of a slide

The definition. A network of cells gives a field no score of its own. What is explained is the sum
over the field's cells of one class's score (the logit, where the maps explain logits):
S(field) = s(cell 1) + ... + s(cell n). The map of a sum is the sum of the maps, so each cell's map
is laid where its square lies, with its sum preserved, and what overlaps is added. Where a square
reaches beyond the border the network saw a mirrored field, and the attribution of a mirrored pixel
belongs to the pixel that it mirrors.

Its limits. The map is additive over cells: it knows no interaction of cells, and a field with more
cells has more of everything. It does not cross the detector: where the cells are is given, so it
cannot say why a nucleus was found or was missed. Of methods whose maps are no shares of a score
(saliency: absolute gradients) it is the sum of these absolute values, which sums to no score. And
where squares overlap, attributions of opposite sign cancel.
"""

import math

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter

from cervix_jax.explain.pictures import colour, scale_of
from cervix_jax.files.images import png
from cervix_jax.slides.regions import Box, reflected

# Pictures smooth a map by a Gaussian whose deviation is this part of the side of a cell's square.
SMOOTHING = 32
_NOTHING = 1e-9
LONGEST = 2048  # pixels of a map's longer side; that of `Slide.thumbnail`


class FieldMap:
    """Adds the maps of cells up to one of their field, in memory that the field decides alone.

    Attributes:
      scale: level-0 pixels a pixel of the map, 1 or more.
      values: float64 [h, w], the sum of what was added.

    Args:
      size: (width, height) of the field in level-0 pixels.
      longest: most pixels of the map's longer side; a field that is smaller keeps its size. The
        same as for `Slide.thumbnail`, so that both have one size.
    """

    def __init__(self, size: tuple[int, int], longest: int = LONGEST):
        self._size = size
        self.scale = max(1.0, max(size) / longest)
        width, height = (max(1, round(side / self.scale)) for side in size)
        self.values = np.zeros((height, width))

    def add(self, values: np.ndarray, box: Box) -> None:
        """Add the map of a square; its sum is preserved.

        Args:
          values: float [S, T], one number a pixel, see `measures.reduce_channels`.
          box: (left, top, right, bottom) of the square in level-0 pixels; it may reach beyond the
            border, where it is mirrored as `Slide.read` mirrors it.
        """
        height, width = self.values.shape
        first_x, across = _spread(box[0], box[2], values.shape[1], self._size[0], width, self.scale)
        first_y, down = _spread(box[1], box[3], values.shape[0], self._size[1], height, self.scale)
        rows = slice(first_y, first_y + len(down))
        columns = slice(first_x, first_x + len(across))
        self.values[rows, columns] += down @ np.asarray(values, np.float64) @ across.T

    def colours(self, sigma: float = 0.0) -> tuple[np.ndarray, float]:
        """Red and blue over nothing, uint8 [h, w, 4], and the value at which they end.

        Args:
          sigma: of a Gaussian in level-0 pixels, by which the map is smoothed first; its sum
            stays. Maps of pixels are speckled, and what they add up to in a neighbourhood is seen
            only so.
        """
        values = self.values
        if sigma > 0:
            values = gaussian_filter(values, sigma / self.scale, mode="reflect", truncate=3)
            values[np.abs(values) < _NOTHING * np.abs(values).max()] = 0  # of rounding
        scale = scale_of(values[values != 0])
        return colour(values, scale), scale

    def layer_png(self, sigma: float = 0.0) -> bytes:
        """The map as a PNG file of the thumbnail's size; transparent where it is zero."""
        return png(Image.fromarray(self.colours(sigma)[0]))


def boxes_about(positions: np.ndarray, side: float) -> np.ndarray:
    """Squares about positions: float64 [n, 4] of left, top, right, bottom.

    Args:
      positions: float [n, 2], x and y.
      side: of the squares, in the unit of the positions.
    """
    centres = np.asarray(positions, np.float64).reshape(-1, 2)
    return np.concatenate([centres - side / 2, centres + side / 2], axis=1)


def labels_in(labels: np.ndarray, box: Box, size: tuple[int, int]) -> np.ndarray:
    """What a square shows of an image of labels or of a mask: the pixel at each middle.

    Args:
      labels: [H, W], any type, a value a level-0 pixel.
      box: as for `FieldMap.add`.
      size: (width, height) of the result.

    Returns:
      [height, width] of the same type; beyond the border mirrored.
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
    """Which share of each of `count` pixels from `first` to `last` falls on which pixel of the map.

    Returns:
      Number of the first pixel of the map, and float64 [pixels of the map, count]; columns sum to
      1.
    """
    step = (last - first) / count
    # Of level-0 pixels, since these are what is mirrored.
    pixels = np.arange(math.floor(first), math.ceil(last))
    edges = first + np.arange(count) * step
    shares = np.minimum(pixels[:, None] + 1, edges + step) - np.maximum(pixels[:, None], edges)
    shares = np.maximum(shares, 0)
    shares /= shares.sum(0)
    places = reflected(pixels, length)
    # A level-0 pixel is at most as long as one of the map, so it lies on one of them or on two.
    low = np.minimum(np.floor(places / scale + 1e-9).astype(int), out - 1)
    high = np.minimum(low + 1, out - 1)
    beyond = np.clip(places + 1 - (low + 1) * scale, 0, 1)
    start = int(low.min())
    spread = np.zeros((int(high.max()) + 1 - start, count))
    np.add.at(spread, low - start, (1 - beyond)[:, None] * shares)
    np.add.at(spread, high - start, beyond[:, None] * shares)
    return start, spread
