"""The tiles of a slide, row by row, without bare glass."""

import dataclasses
import math

from cervix_jax.slides.glass import covered
from cervix_jax.slides.regions import Box
from cervix_jax.slides.slide import Slide

_STEP = 64  # sides of tiles of small images are multiples, so that few sizes are compiled


@dataclasses.dataclass(frozen=True)
class Tile:
    """A part of a slide.

    Attributes:
      row: in the grid of all tiles, from 0 at the top.
      column: in the grid of all tiles, from 0 at the left.
      core: (left, top, right, bottom) in level-0 pixels, cut at the slide's border. The cores of
        all tiles cover the slide once: a cell belongs to the tile whose core holds it.
      box: what is read, in level-0 pixels: the core before it was cut, with a margin around. It may
        reach beyond the slide.
      size: (width, height) of the box in pixels of the tiles' resolution; of all tiles the same.
    """

    row: int
    column: int
    core: Box
    box: Box
    size: tuple[int, int]


def tile_rows(
    slide: Slide, mpp: float = 0.5, side: int = 1024, margin: int = 64
) -> list[list[Tile]]:
    """Divide a slide into tiles and leave out those of bare glass.

    A tile stays where its core, or the pixel of the thumbnail beside it, has something that
    absorbs light (`slides.glass`). Of a plain image all tiles stay, unless it is blank.

    Args:
      slide: of known micrometres a pixel.
      mpp: micrometres a pixel of the tiles.
      side: of a core in pixels of that resolution. A slide that is smaller has tiles of its own
        size, rounded up to 64 pixels.
      margin: around a core, in the same pixels.

    Returns:
      Rows from the top, tiles from the left; rows without tiles are left out. [] for an empty
      slide.

    Raises:
      InputError: the slide's micrometres a pixel are unknown.
    """
    scale = mpp / slide.require_mpp()
    mask, shrunk = covered(slide)
    if not mask.any():
        return []
    across, down = (min(side, math.ceil(length / scale / _STEP) * _STEP) for length in slide.size)
    size = (across + 2 * margin, down + 2 * margin)
    rows = []
    for row in range(math.ceil(slide.size[1] / (down * scale))):
        tiles = []
        for column in range(math.ceil(slide.size[0] / (across * scale))):
            whole = _rectangle(column, row, across * scale, down * scale)
            core = (
                whole[0], whole[1], min(whole[2], slide.size[0]), min(whole[3], slide.size[1])
            )  # fmt: skip
            left, top, right, bottom = (edge / shrunk for edge in core)
            near = mask[max(0, int(top) - 1) : math.ceil(bottom) + 1,
                        max(0, int(left) - 1) : math.ceil(right) + 1]  # fmt: skip
            if slide.kind == "image" or near.any():
                tiles.append(Tile(row, column, core, _grown(whole, margin * scale), size))
        if tiles:
            rows.append(tiles)
    return rows


def _rectangle(column: int, row: int, width: float, height: float) -> Box:
    return column * width, row * height, (column + 1) * width, (row + 1) * height


def _grown(box: Box, margin: float) -> Box:
    return box[0] - margin, box[1] - margin, box[2] + margin, box[3] + margin
