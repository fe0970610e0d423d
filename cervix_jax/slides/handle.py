"""A slide that OpenSlide has open, and that damage in one place does not close for all others."""

import threading
from pathlib import Path

import openslide
from PIL import Image


class Handle:
    """Regions of a slide; several threads may read.

    After its first error OpenSlide fails whatever is asked of the same handle. So a region that
    fails is read again by a fresh one, which takes the place of the other where it succeeds.

    Args:
      path: of the file.
      opened: the first handle.
    """

    def __init__(self, path: Path, opened: openslide.OpenSlide):
        self._path, self._opened, self._lock = path, opened, threading.Lock()

    def read(self, corner: tuple[int, int], level: int, size: tuple[int, int]) -> Image.Image:
        """A region as `OpenSlide.read_region` gives it.

        Raises:
          openslide.OpenSlideError: it is damaged.
        """
        try:
            return self._opened.read_region(corner, level, size)
        except openslide.OpenSlideError:
            pass  # there, or before in another place
        fresh = openslide.OpenSlide(self._path)
        try:
            region = fresh.read_region(corner, level, size)
        except openslide.OpenSlideError:
            fresh.close()
            raise
        with self._lock:
            # The other closes itself once no thread reads it any more.
            self._opened = fresh
        return region

    def close(self) -> None:
        """Close the file; no read may be under way."""
        self._opened.close()
