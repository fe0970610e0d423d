"""Tiles of a slide, row by row, without tiles of bare glass."""

import dataclasses
import math

from cervix_jax.slides.glass import covered
from cervix_jax.slides.regions import Box
from cervix_jax.slides.slide import Slide

_STEP = 64  # small images get tile sides that are multiples of this, so few sizes are compiled


@dataclasses.dataclass(frozen=True)
class Tile:
    """A part of a slide.

    Attributes:
      row: row in the grid of all tiles, from 0 at the top.
      column: column in the grid of all tiles, from 0 at the left.
      core: (left, top, right, bottom) in level-0 pixels, cut at the slide's border. The cores of
        all tiles cover the slide once; a cell belongs to the tile whose core contains it.
      box: the rectangle to read, in level-0 pixels: the uncut core with a margin around it. It may
        extend beyond the slide.
      size: (width, height) of the box in pixels at the tiles' resolution; equal for all tiles.
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

    A tile is kept if its core, or the adjacent pixel of the thumbnail, absorbs light
    (`slides.glass`). All tiles of a plain image are kept, unless it is blank.

    Args:
      slide: a slide with known pixel size.
      mpp: micrometres per pixel of the tiles.
      side: side of a core in pixels at that resolution. A smaller slide has tiles of its own size,
        rounded up to 64 pixels.
      margin: margin around a core, in the same pixels.

    Returns:
      Rows from the top, with tiles from the left; rows without tiles are left out. [] for an empty
      slide.

    Raises:
      InputError: the pixel size of the slide is unknown.
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
