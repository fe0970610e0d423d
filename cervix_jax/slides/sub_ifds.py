"""Coarse levels stored in sub-IFDs of a TIFF, as in OME-TIFF; OpenSlide reads level 0 only."""

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from cervix_jax.files.images import UnreadableImage
from cervix_jax.slides.formats import tifffile_is_silent
from cervix_jax.slides.regions import Level, downsample_of


@contextlib.contextmanager
def sub_ifd_levels(path: Path, whole: tuple[int, int]) -> Iterator[list[Level]]:
    """The tiled RGB levels in the sub-IFDs of a TIFF's first page, read by tifffile.

    Args:
      path: the file.
      whole: size of level 0 in pixels.

    Yields:
      Levels sorted by rising downsample; an empty list if there are none, or tifffile or its codecs
      cannot read them. They are readable until the context ends.
    """
    import tifffile

    with contextlib.ExitStack() as files:
        levels = []
        # tifffile raises many types of errors, also for files that are not TIFF.
        with tifffile_is_silent(), contextlib.suppress(Exception):
            first = files.enter_context(tifffile.TiffFile(path)).pages.first
            for page in first.pages or ():
                if _is_level(page):
                    page.decode  # noqa: B018 - raises if the codec is not installed
                    levels.append(_level(path, page, whole))
        yield sorted(levels, key=lambda level: level.downsample)


def _is_level(page: Any) -> bool:
    tiles_of_bytes = page.is_tiled and page.dtype == np.uint8 and page.planarconfig == 1
    return tiles_of_bytes and page.samplesperpixel == 3 and page.imagedepth == 1


def _level(path: Path, page: Any, whole: tuple[int, int]) -> Level:
    across, down = page.tilewidth, page.tilelength
    columns = -(-page.imagewidth // across)
    lock = threading.Lock()

    def tile(row: int, column: int) -> np.ndarray | None:
        index = row * columns + column
        handle = page.parent.filehandle
        if not page.databytecounts[index]:
            return None
        with lock:
            handle.seek(page.dataoffsets[index])
            data = handle.read(page.databytecounts[index])
        return page.decode(data, index, jpegtables=page.jpegtables, jpegheader=page.jpegheader)[0]

    def fetch(left: int, top: int, right: int, bottom: int) -> Image.Image:
        region = Image.new("RGB", (right - left, bottom - top), "white")
        for row in range(top // down, -(-bottom // down)):
            for column in range(left // across, -(-right // across)):
                try:
                    pixels = tile(row, column)
                except Exception as error:
                    place = (column * across, row * down)
                    raise UnreadableImage(
                        path, f"is damaged near pixel {place} of a coarse level ({error})",
                        "copy it again",
                    ) from error  # fmt: skip
                if pixels is not None:
                    corner = (column * across - left, row * down - top)
                    region.paste(Image.fromarray(pixels[0]), corner)
        return region

    size = (page.imagewidth, page.imagelength)
    return Level(*size, downsample_of(whole, size), fetch)
