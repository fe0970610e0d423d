"""A slide or an image that is open: its size, its resolution, and its regions as pixels."""

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
    """A whole slide or a plain image; made by `open_slide`, to be closed after the last read.

    Attributes:
      path: of the file, or of the folder of a DICOM slide.
      size: (width, height) of level 0 in pixels, upright.
      mpp: micrometres a level-0 pixel; None where neither the user nor the file says it.
      kind: "slide" is read by OpenSlide, "image" by `files.images`.
      orientation: EXIF's, 1 to 8, by which a plain image was turned upright; 1 for slides.
      levels: of the pyramid, level 0 first.
      profile: ICC profile by which regions are brought to sRGB; None where the levels are in sRGB.
      close: releases the file; no read may be under way in another thread.
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

        The coarsest level that is at least as fine as asked is read, and of it only what is needed.
        The same arguments give the same pixels. Several threads may read at once.

        Args:
          box: (left, top, right, bottom) in level-0 pixels, fractions too; pixel i covers i to
            i + 1. Beyond the border the slide is mirrored.
          size: (width, height) of the result in pixels.

        Returns:
          uint8 [height, width, 3], sRGB; white where nothing was scanned.

        Raises:
          UnreadableImage: the file is damaged there.
        """
        region = read_box(self.levels, box, size)
        if self.profile is not None:
            region.info["icc_profile"] = self.profile
            region = rgb(region)
        return np.asarray(region)

    def thumbnail(self, longest: int = 2048) -> tuple[np.ndarray, float]:
        """The whole slide, small.

        Args:
          longest: most pixels of the longer side; an image that is smaller keeps its size.

        Returns:
          uint8 [h, w, 3], and the level-0 pixels a pixel of it, the same along both sides.
        """
        scale = max(1.0, max(self.size) / longest)
        width, height = (max(1, round(side / scale)) for side in self.size)
        return self.read((0, 0, width * scale, height * scale), (width, height)), scale

    def require_mpp(self) -> float:
        """Micrometres a level-0 pixel.

        Raises:
          InputError: they are unknown.
        """
        if self.mpp is None:
            raise InputError(
                f"{self.path}: the file does not say its micrometres a pixel; give them, "
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
