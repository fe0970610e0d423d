"""Whole-slide images and plain images with one reader: regions, resolution, tiles with tissue.

A caller opens a slide (`open_slide`), iterates over its tiles (`tile_rows`) and reads the pixels of
each (`slide.read(tile.box, tile.size)`), or of any other rectangle.
"""

from cervix_jax.slides.formats import SLIDE_SUFFIXES, is_slide
from cervix_jax.slides.opening import as_slide, is_whole_slide, open_slide
from cervix_jax.slides.regions import Box
from cervix_jax.slides.slide import Slide
from cervix_jax.slides.tiles import Tile, tile_rows

__all__ = [
    "SLIDE_SUFFIXES",
    "Box",
    "Slide",
    "Tile",
    "as_slide",
    "is_slide",
    "is_whole_slide",
    "open_slide",
    "tile_rows",
]
