"""Cuts a field into square tiles of one resolution, each with the nuclei in its core."""

import dataclasses
from collections.abc import Iterator

import numpy as np
from PIL import Image

from cervix_jax.data.nucleus_maps import UNJUDGED, draw_map


@dataclasses.dataclass(frozen=True)
class Tile:
    """A square piece of a field.

    Neighbouring tiles overlap; each position of the field is in the core of exactly one tile.

    Attributes:
      image: uint8 [side, side, 3]; mirrored beyond the border of a smaller field.
      nucleus_map: uint8 [side, side], see `data.nucleus_maps`.
      offset: int [2], x and y of the tile's first pixel in the field.
      core: int [4], left, top, right and bottom in pixels of the tile.
      nuclei: float32 [n, 2], x and y of the marked nuclei in the core, in pixels of the tile.
    """

    image: np.ndarray
    nucleus_map: np.ndarray
    offset: np.ndarray
    core: np.ndarray
    nuclei: np.ndarray


def cut_tiles(
    image: Image.Image,
    centres: np.ndarray,
    microns: float,
    *,
    wanted: float,
    side: int,
    radius: float,
) -> Iterator[Tile]:
    """Yield the tiles of a field, row by row.

    Args:
      image: the field, RGB.
      centres: float [n, 2], x and y of its marked nuclei in its pixels.
      microns: resolution of the field in micrometres per pixel.
      wanted: resolution of the tiles in micrometres per pixel.
      side: side of the tiles in pixels.
      radius: radius of the discs around the centres, in micrometres.
    """
    scale = microns / wanted
    size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    pixels = np.asarray(image.resize(size, Image.Resampling.BILINEAR))
    centres = centres * np.divide(size, image.size)
    drawn = draw_map(centres, pixels.shape[:2], radius / wanted)
    short = [(0, max(0, side - length)) for length in pixels.shape[:2]]
    pixels = np.pad(pixels, (*short, (0, 0)), mode="reflect")
    drawn = np.pad(drawn, short, constant_values=UNJUDGED)
    rows, columns = (_starts(length, side) for length in pixels.shape[:2])
    for top, *vertical in zip(rows, *_cores(rows, side, size[1]), strict=True):
        for left, *horizontal in zip(columns, *_cores(columns, side, size[0]), strict=True):
            core = np.asarray([horizontal[0], vertical[0], horizontal[1], vertical[1]], np.int32)
            inside = ((centres >= core[:2]) & (centres < core[2:])).all(1)
            offset = np.asarray([left, top], np.int32)
            here = slice(top, top + side), slice(left, left + side)
            yield Tile(
                pixels[here],
                drawn[here],
                offset,
                core - np.tile(offset, 2),
                (centres[inside] - offset).astype(np.float32),
            )


def _starts(length: int, side: int) -> np.ndarray:
    return np.linspace(0, length - side, -(-length // side)).round().astype(int)


def _cores(starts: np.ndarray, side: int, end: int) -> tuple[np.ndarray, np.ndarray]:
    """Return start and end of the tiles' cores: the midpoints of their overlaps."""
    middles = (starts[1:] + starts[:-1] + side) // 2
    return np.concatenate([[0], middles]), np.concatenate([middles, [end]])
