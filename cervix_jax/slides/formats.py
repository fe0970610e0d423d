"""Which files are whole slides, by their names and heads."""

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path

SLIDE_SUFFIXES = (
    ".bif", ".czi", ".dcm", ".mrxs", ".ndpi", ".scn", ".svs", ".svslide", ".vms", ".vmu",
)  # fmt: skip
"""Names that only whole slides have; a TIFF may be one too."""
_MARKS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # TIFF and BigTIFF


def is_slide(path: Path | str) -> bool:
    """Whether only a whole slide has such a name, by its suffix."""
    return str(path).lower().endswith(SLIDE_SUFFIXES)


def needs_openslide(path: Path, max_pixels: int) -> bool:
    """Whether a file is read by OpenSlide rather than by `files.images`.

    So are folders (DICOM), names of slides, and TIFFs in tiles that have several images, or more
    pixels than are decoded at once.

    Args:
      path: an existing file or folder.
      max_pixels: the most that a plain image may have.
    """
    if path.is_dir() or is_slide(path):
        return True
    with open(path, "rb") as stream:
        if stream.read(4) not in _MARKS:
            return False
    return _is_tiled_slide(path, max_pixels)


def _is_tiled_slide(path: Path, max_pixels: int) -> bool:
    import tifffile  # a tenth of a second, and most images are no TIFF

    try:
        with tifffile_is_silent(), tifffile.TiffFile(path) as tiff:
            first = tiff.pages.first
            if not first.is_tiled:
                return False
            several = len(tiff.pages) > 1 or bool(first.subifds)
            return several or first.imagewidth * first.imagelength > max_pixels
    except Exception:  # its many types for damaged files, which `files.images` names
        return False


@contextlib.contextmanager
def tifffile_is_silent() -> Iterator[None]:
    """Keeps tifffile's log out of a command's output: what it says of a damaged file is raised."""
    log = logging.getLogger("tifffile")
    before, log.disabled = log.disabled, True
    try:
        yield
    finally:
        log.disabled = before
