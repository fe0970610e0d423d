"""Opens a whole-slide image or a plain image.

The tests create and read these formats: SVS in Aperio's page layout, tiled pyramidal TIFF with its
levels in pages and in sub-IFDs, DICOM (VL whole slide microscopy), and the plain formats of
`files.images`. NDPI, MRXS, SCN, BIF, CZI, VMS and others are read by OpenSlide according to its
documentation; they are untested here, as no file of a scanner is available.
"""

import contextlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from cervix_jax.data.resolution import check_microns
from cervix_jax.errors import InputError
from cervix_jax.files.colour import is_plain
from cervix_jax.files.images import (
    MAX_PIXELS,
    UnreadableImage,
    image_size,
    orientation,
    read_rgb,
)
from cervix_jax.files.paths import on_disk, why_no_file
from cervix_jax.slides.formats import needs_openslide
from cervix_jax.slides.regions import Level, downsample_of
from cervix_jax.slides.resolution import mpp_of
from cervix_jax.slides.slide import Slide
from cervix_jax.slides.sub_ifds import sub_ifd_levels

if TYPE_CHECKING:
    import openslide

    from cervix_jax.slides.handle import Handle

_MOST_OF_A_TILE = 2**28  # pixels; scanners write tiles of up to 2**24
_WAY_OUT = "copy it again, or save it as a tiled pyramidal TIFF"


def open_slide(path: Path | str, mpp: float | None = None, max_pixels: int = MAX_PIXELS) -> Slide:
    """Open a whole-slide image with OpenSlide, or a plain image with `files.images.read_rgb`.

    Args:
      path: a file, or the folder of a DICOM slide. If a folder holds several series, the first by
        name is read; give a .dcm file of each instead.
      mpp: micrometres per level-0 pixel, 0.05 to 10, if the file gives none or a wrong value. Plain
        images need it, as the resolution stored in them is meant for printing.
      max_pixels: maximum number of pixels of a plain image; slides may have any size.

    Returns:
      The slide, a context manager. The last pixel of every level has been read, so a truncated file
      is detected here.

    Raises:
      UnreadableImage: absent, not a slide, damaged, or a plain image that cannot be used.
      InputError: `mpp`, or the pixel size in the file, is implausible, or OpenSlide is not
        installed.
    """
    if mpp is not None:
        check_microns("--mpp", mpp)
    path = on_disk(path)
    if is_whole_slide(path, max_pixels):
        return _open_whole(path, mpp)
    width, height = image_size(path, max_pixels=sys.maxsize)
    if width * height > max_pixels:
        raise UnreadableImage(
            path,
            f"{width} x {height} px is more than {max_pixels:,} pixels (max_pixels)",
            "save it as a tiled TIFF, which has no limit (vips tiffsave IN OUT --tile --pyramid)",
        )
    image = read_rgb(path, max_pixels=max_pixels)
    return as_slide(image, path, mpp, orientation(path, max_pixels=max_pixels))


def is_whole_slide(path: Path | str, max_pixels: int = MAX_PIXELS) -> bool:
    """Whether `open_slide` reads a file or folder as a whole-slide image, not as a plain image.

    Raises:
      UnreadableImage: the file does not exist.
    """
    path = on_disk(path)
    if not path.is_dir() and (reason := why_no_file(path)):
        raise UnreadableImage(path, reason, "remove it from the list or the folder")
    return needs_openslide(path, max_pixels)


def as_slide(image: Image.Image, path: Path, mpp: float | None, turned: int = 1) -> Slide:
    """A loaded plain image as a `Slide`, as `open_slide` returns it.

    Args:
      image: RGB, upright.
      path: its name in messages.
      mpp: micrometres per pixel; None if unknown.
      turned: the EXIF orientation of its file, 1 to 8.
    """

    def crop(left: int, top: int, right: int, bottom: int) -> Image.Image:
        return image.crop((left, top, right, bottom))

    level = Level(*image.size, 1.0, crop)
    return Slide(path, image.size, mpp, "image", turned, [level], None, lambda: None)


def _open_whole(path: Path, mpp: float | None) -> Slide:
    try:
        import openslide

        from cervix_jax.slides.handle import Handle
    except (ImportError, OSError) as error:  # OSError: the C library is missing
        raise InputError(
            f"{path}: is read by OpenSlide, which is missing; run pip install 'cervix_jax[slides]'."
        ) from error
    file = _dicom_of(path, openslide.OpenSlide.detect_format) if path.is_dir() else path
    try:
        if openslide.OpenSlide.detect_format(file) is None:
            raise UnreadableImage(path, "is not a slide that OpenSlide can read", _WAY_OUT)
        opened = openslide.OpenSlide(file)
    except openslide.OpenSlideError as error:
        raise UnreadableImage(path, f"is damaged (OpenSlide: {error})", _WAY_OUT) from error
    files = contextlib.ExitStack()
    handle = Handle(Path(file), opened)
    files.callback(handle.close)
    try:
        _check_tiles(path, opened)
        levels = [_level(path, opened, handle, number) for number in range(opened.level_count)]
        if len(levels) == 1:
            levels += files.enter_context(sub_ifd_levels(file, opened.dimensions))
        for level in levels:
            level.fetch(level.width - 1, level.height - 1, level.width, level.height)
        if mpp is None:
            mpp = mpp_of(path, opened.properties)
        profile = _profile_to_apply(opened)
    except BaseException:
        files.close()
        raise
    return Slide(path, opened.dimensions, mpp, "slide", 1, levels, profile, files.close)


def _check_tiles(path: Path, opened: "openslide.OpenSlide") -> None:
    """Raise if tiles are too large: OpenSlide ends the process if it cannot allocate a tile."""
    for number in range(opened.level_count):
        sides = [
            int(opened.properties.get(f"openslide.level[{number}].tile-{side}", 0))
            for side in ("width", "height")
        ]
        if sides[0] * sides[1] > _MOST_OF_A_TILE:
            reason = f"is damaged: it claims tiles of {sides[0]} x {sides[1]} px"
            raise UnreadableImage(path, reason, _WAY_OUT)


def _level(path: Path, opened: "openslide.OpenSlide", handle: "Handle", number: int) -> Level:
    import openslide

    size = opened.level_dimensions[number]
    nominal = opened.level_downsamples[number]  # OpenSlide locates corners with this value

    def fetch(left: int, top: int, right: int, bottom: int) -> Image.Image:
        corner = round(left * nominal), round(top * nominal)
        try:
            region = handle.read(corner, number, (right - left, bottom - top))
        except openslide.OpenSlideError as error:
            raise UnreadableImage(
                path, f"is damaged near pixel {corner} (OpenSlide: {error})", _WAY_OUT
            ) from error
        if region.getchannel("A").getextrema() == (255, 255):
            return region.convert("RGB")
        white = Image.new("RGB", region.size, "white")
        white.paste(region, mask=region)
        return white

    return Level(*size, downsample_of(opened.dimensions, size), fetch)


def _profile_to_apply(opened: "openslide.OpenSlide") -> bytes | None:
    """The ICC profile; None if there is none, or it has no effect."""
    profile = opened.color_profile
    if profile is None:
        return None
    sample = Image.new("RGB", (1, 1))
    sample.info["icc_profile"] = profile.tobytes()
    return None if is_plain(sample) else profile.tobytes()


def _dicom_of(folder: Path, detect: Callable[[Path], str | None]) -> Path:
    """The first file of a DICOM slide in a folder."""
    found = sorted(path for path in folder.iterdir() if path.suffix.lower() == ".dcm")
    for path in found:
        if detect(path) == "dicom":
            return path
    what = "whose .dcm files are not a whole-slide image" if found else "without .dcm files"
    raise UnreadableImage(folder, f"is a folder {what}", "give a slide")
