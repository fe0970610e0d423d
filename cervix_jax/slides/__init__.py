"""Whole slides and plain images behind one reader: regions, resolution, tiles without glass.

with open_slide("slide.svs") as slide:
    for row in tile_rows(slide, mpp=0.5):
        for tile in row:
            pixels = slide.read(tile.box, tile.size)  # uint8 [h, w, 3]
"""

from cervix_jax.slides.formats import SLIDE_SUFFIXES, is_slide
from cervix_jax.slides.opening import open_slide
from cervix_jax.slides.regions import Box
from cervix_jax.slides.resolution import MPP_RANGE
from cervix_jax.slides.slide import Slide
from cervix_jax.slides.tiles import Tile, tile_rows

__all__ = ["MPP_RANGE", "SLIDE_SUFFIXES", "Box", "Slide", "Tile", "is_slide", "open_slide",
           "tile_rows"]  # fmt: skip
