"""An open OpenSlide handle that survives read errors in damaged regions."""

import threading
from pathlib import Path

import openslide
from PIL import Image


class Handle:
    """Reads regions of a slide; several threads may read at once.

    After its first error, an OpenSlide handle fails on every further read. So a region that fails
    is read again with a new handle, which replaces the old one if it succeeds.

    Args:
      path: the slide file.
      opened: the first handle.
    """

    def __init__(self, path: Path, opened: openslide.OpenSlide):
        self._path, self._opened, self._lock = path, opened, threading.Lock()

    def read(self, corner: tuple[int, int], level: int, size: tuple[int, int]) -> Image.Image:
        """Read a region as `OpenSlide.read_region` does.

        Raises:
          openslide.OpenSlideError: the region is damaged.
        """
        try:
            return self._opened.read_region(corner, level, size)
        except openslide.OpenSlideError:
            pass  # damage in this region, or an earlier error of the handle
        fresh = openslide.OpenSlide(self._path)
        try:
            region = fresh.read_region(corner, level, size)
        except openslide.OpenSlideError:
            fresh.close()
            raise
        with self._lock:
            # The old handle is closed by garbage collection once no thread uses it.
            self._opened = fresh
        return region

    def close(self) -> None:
        """Close the file; no read may be in progress."""
        self._opened.close()
