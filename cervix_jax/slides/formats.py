"""Recognition of whole-slide images by file name and header."""

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path

SLIDE_SUFFIXES = (
    ".bif", ".czi", ".dcm", ".mrxs", ".ndpi", ".scn", ".svs", ".svslide", ".vms", ".vmu",
)  # fmt: skip
"""Suffixes that only whole-slide images have; a TIFF may be one too."""
_MARKS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # TIFF and BigTIFF


def is_slide(path: Path | str) -> bool:
    """Whether the suffix is one that only whole-slide images have."""
    return str(path).lower().endswith(SLIDE_SUFFIXES)


def needs_openslide(path: Path, max_pixels: int) -> bool:
    """Whether a file is read by OpenSlide rather than by `files.images`.

    True for folders (DICOM), for suffixes of slides, and for tiled TIFFs that contain several
    images or have more pixels than can be decoded at once.

    Args:
      path: an existing file or folder.
      max_pixels: maximum number of pixels of a plain image.
    """
    if path.is_dir() or is_slide(path):
        return True
    with open(path, "rb") as stream:
        if stream.read(4) not in _MARKS:
            return False
    return _is_tiled_slide(path, max_pixels)


def _is_tiled_slide(path: Path, max_pixels: int) -> bool:
    import tifffile  # imported here: it takes a tenth of a second, and most images are not TIFF

    try:
        with tifffile_is_silent(), tifffile.TiffFile(path) as tiff:
            first = tiff.pages.first
            if not first.is_tiled:
                return False
            several = len(tiff.pages) > 1 or bool(first.subifds)
            return several or first.imagewidth * first.imagelength > max_pixels
    except Exception:  # damaged files raise many types; `files.images` reports the damage
        return False


@contextlib.contextmanager
def tifffile_is_silent() -> Iterator[None]:
    """Keep tifffile's log out of a command's output; damage raises an error anyway."""
    log = logging.getLogger("tifffile")
    before, log.disabled = log.disabled, True
    try:
        yield
    finally:
        log.disabled = before
