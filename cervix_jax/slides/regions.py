"""Rectangles of an image pyramid: choice of level, antialiasing, mirrored borders, low memory."""

import dataclasses
import math
from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image

from cervix_jax.files.threads import map_in_order

Box = tuple[float, float, float, float]
"""Left, top, right, bottom; pixel i covers i to i + 1."""

# A region with more pixels is fetched in blocks, which are reduced one by one.
_MOST_PIXELS = 16_000_000
_BLOCK = 2048
# Tolerance within which a level counts as fine enough. The sides of a level are rounded to whole
# pixels, so the level of a quarter of a slide may be 4.0003 times coarser.
_TOLERANCE = 1.01


@dataclasses.dataclass(frozen=True)
class Level:
    """An image at one resolution.

    Attributes:
      width: width in pixels of the level.
      height: height in pixels of the level.
      downsample: level-0 pixels per pixel of the level, along either side.
      fetch: reads (left, top, right, bottom), whole pixels within the level, as RGB; several
        threads may call it.
    """

    width: int
    height: int
    downsample: float
    fetch: Callable[[int, int, int, int], Image.Image]


def downsample_of(whole: tuple[int, int], size: tuple[int, int]) -> float:
    """Level-0 pixels per pixel of a level, from the sizes of both.

    Sizes are whole pixels, so their ratio is slightly off if a level was made by an integer factor.
    The integer is used then, since positions would otherwise shift by up to a pixel of the level.
    """
    ratio = (whole[0] / size[0] + whole[1] / size[1]) / 2
    factor = round(ratio)
    rounded = all(
        side in (length // factor, -(-length // factor))
        for length, side in zip(whole, size, strict=True)
    )
    return float(factor) if rounded else ratio


def read_box(levels: Sequence[Level], box: Box, size: tuple[int, int]) -> Image.Image:
    """Resample a rectangle to a size from the coarsest level that is fine enough.

    Args:
      levels: levels sorted by rising downsample; the first is level 0.
      box: rectangle in level-0 pixels; outside, the image is mirrored about the outermost pixel.
      size: (width, height) of the result in pixels.

    Returns:
      RGB. When shrinking, the filter is a triangle as wide as an output pixel (Pillow's bilinear).

    Raises:
      ValueError: the box or the size is empty.
    """
    if not (box[0] < box[2] and box[1] < box[3] and min(size) > 0):
        raise ValueError(f"box={box}, size={size}: neither may be empty")
    asked = min((box[2] - box[0]) / size[0], (box[3] - box[1]) / size[1])
    finer = [coarse for coarse in levels[1:] if coarse.downsample <= asked * _TOLERANCE]
    level = [levels[0], *finer][-1]
    left, top, right, bottom = (edge / level.downsample for edge in box)
    if (right - left) * (bottom - top) > _MOST_PIXELS:
        level = in_blocks(level, max(1, int(asked / level.downsample + 1e-6)))
        left, top, right, bottom = (edge / level.downsample for edge in box)
    first_x, last_x = _reach(left, right, size[0], level.width)
    first_y, last_y = _reach(top, bottom, size[1], level.height)
    region = _mirrored(level, first_x, first_y, last_x, last_y)
    inside = (left - first_x, top - first_y, right - first_x, bottom - first_y)
    return region.resize(size, Image.Resampling.BILINEAR, box=inside)


def in_blocks(level: Level, factor: int) -> Level:
    """The level reduced by an integer factor; each thread holds one block in memory."""
    factor = min(factor, _BLOCK)
    step = _BLOCK // factor

    def fetch(left: int, top: int, right: int, bottom: int) -> Image.Image:
        def block(corner: tuple[int, int]) -> Image.Image:
            x, y = corner
            across, down = min(x + step, right) * factor, min(y + step, bottom) * factor
            part = level.fetch(
                x * factor, y * factor, min(across, level.width), min(down, level.height)
            )
            return part.reduce(factor)

        whole = Image.new("RGB", (right - left, bottom - top))
        corners = [(x, y) for y in range(top, bottom, step) for x in range(left, right, step)]
        for (x, y), part in zip(corners, map_in_order(block, corners), strict=True):
            whole.paste(part, (x - left, y - top))
        return whole

    width, height = -(-level.width // factor), -(-level.height // factor)
    return Level(width, height, level.downsample * factor, fetch)


def _reach(first: float, last: float, count: int, length: int) -> tuple[int, int]:
    """The whole pixels that a side needs, including those within reach of the filter.

    If the side stays within the image, the filter ends at the border as Pillow's does.
    """
    scale = (last - first) / count
    exact = scale == 1 and first == int(first)
    support = 0 if exact else math.ceil(max(1.0, scale)) + 1
    start, stop = math.floor(first), math.ceil(last)
    return max(start - support, min(start, 0)), min(stop + support, max(stop, length))


def _mirrored(level: Level, left: int, top: int, right: int, bottom: int) -> Image.Image:
    """A region that may extend beyond the level, filled as by `numpy.pad` in mode "reflect"."""
    if left >= 0 and top >= 0 and right <= level.width and bottom <= level.height:
        return level.fetch(left, top, right, bottom)
    columns = reflected(np.arange(left, right), level.width)
    rows = reflected(np.arange(top, bottom), level.height)
    x, y = int(columns.min()), int(rows.min())
    part = np.asarray(level.fetch(x, y, int(columns.max()) + 1, int(rows.max()) + 1))
    return Image.fromarray(np.take(part[rows - y], columns - x, axis=1))


def reflected(indices: np.ndarray, length: int) -> np.ndarray:
    """Pixels of a side of `length` shown by mirrored pixels; indices int, of any sign."""
    if length == 1:
        return np.zeros_like(indices)
    folded = np.abs(indices) % (2 * length - 2)
    return np.where(folded < length, folded, 2 * length - 2 - folded)
