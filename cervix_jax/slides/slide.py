"""An open slide or image: size, resolution, and regions as pixels."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

import numpy as np

from cervix_jax.errors import InputError
from cervix_jax.files.images import rgb
from cervix_jax.slides.regions import Box, Level, read_box


@dataclasses.dataclass(frozen=True, eq=False)
class Slide:
    """A whole-slide image or a plain image; made by `open_slide`, closed after the last read.

    Attributes:
      path: the file, or the folder of a DICOM slide.
      size: (width, height) of level 0 in pixels, upright.
      mpp: micrometres per level-0 pixel; None if neither the user nor the file gives it.
      kind: "slide" if read by OpenSlide, "image" if read by `files.images`.
      orientation: EXIF orientation, 1 to 8, from which a plain image was turned upright; 1 for
        slides.
      levels: levels of the pyramid, level 0 first.
      profile: ICC profile for converting regions to sRGB; None if the levels are in sRGB.
      close: releases the file; no read may be in progress in another thread.
    """

    path: Path
    size: tuple[int, int]
    mpp: float | None
    kind: Literal["slide", "image"]
    orientation: int
    levels: Sequence[Level]
    profile: bytes | None
    close: Callable[[], None]

    def read(self, box: Box, size: tuple[int, int]) -> np.ndarray:
        """Resample a rectangle of the slide to a size.

        Only the needed part of the coarsest level that is fine enough is read. The same arguments
        give the same pixels. Several threads may read at once.

        Args:
          box: (left, top, right, bottom) in level-0 pixels, fractions allowed; pixel i covers i to
            i + 1. Outside its border the slide is mirrored.
          size: (width, height) of the result in pixels.

        Returns:
          uint8 [height, width, 3], sRGB; white where nothing was scanned.

        Raises:
          UnreadableImage: the file is damaged in this region.
        """
        region = read_box(self.levels, box, size)
        if self.profile is not None:
            region.info["icc_profile"] = self.profile
            region = rgb(region)
        return np.asarray(region)

    def thumbnail(self, longest: int = 2048) -> tuple[np.ndarray, float]:
        """The whole slide at reduced size.

        Args:
          longest: maximum length of the longer side in pixels; a smaller image keeps its size.

        Returns:
          uint8 [h, w, 3], and the level-0 pixels per pixel of it, the same along both sides.
        """
        scale = max(1.0, max(self.size) / longest)
        width, height = (max(1, round(side / scale)) for side in self.size)
        return self.read((0, 0, width * scale, height * scale), (width, height)), scale

    def require_mpp(self) -> float:
        """Micrometres per level-0 pixel.

        Raises:
          InputError: the value is unknown.
        """
        if self.mpp is None:
            raise InputError(
                f"{self.path}: the file does not state its pixel size; give the micrometres, "
                "e.g. --mpp=0.25."
            )
        return self.mpp

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
