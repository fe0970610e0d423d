"""What is looked at in whole fields and slides, and what is written of them."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from cervix_jax.data.resolution import check_microns
from cervix_jax.detect.detector import SHIPPED
from cervix_jax.errors import InputError, check_count, check_number
from cervix_jax.predict.square_side import require_one_square, square_side
from cervix_jax.predict.windows import check_window
from cervix_jax.runs.run import Run

KINDS = ("window", "nuclei", "cells")
HEATMAPS = ("auto", "abnormal", "classes")
_GOES_WITH = (
    ("window", "window"),
    ("positions", "nuclei"),
    ("crop", "nuclei", "cells"),
    ("detector", "cells"),
    ("min_nucleus", "cells"),
)
_NOT_OF_CELLS = ("overlap", "min_contrast", "positions_width", "heatmap")


@dataclasses.dataclass(frozen=True, kw_only=True)
class FieldOptions:
    """What is looked at in a field, and what is written of it.

    Attributes:
      field: one of `KINDS`; None where images are no fields.
      window: side of the window, in pixels of the field.
      overlap: share of a window that the next one covers too, 0 to 0.9.
      min_contrast: windows whose grey values (0 to 255) have a smaller standard deviation are empty
        background, and left out; 0 leaves out none.
      positions: file of the nuclei, see `positions.Positions`.
      positions_width: width of the fields that positions are given in, in pixels; 0 takes them as
        they are.
      crop: side of the square about a nucleus, in pixels of the field; 0 takes what shows the
        run's field of view, where that is known.
      mpp: micrometres that a pixel of the fields measures; 0 takes what a slide says of itself, and
        else what the run's data set has, of CRIC by the width of the field.
      detector: what finds nuclei, see `detect.detector.load_detector`.
      min_nucleus: the score that a nucleus needs, 0 to 1; None takes the detector's own.
      severity: all classes from harmless to worst; () takes the order that is known.
      abnormal: classes that the heat map counts as abnormal; () takes those that are known.
      min_probability: what a class needs somewhere in a field to count as its worst.
      heatmap: one of `HEATMAPS`; "classes" draws one map a class.
      maps: folder of the heat maps or pages, and of GeoJSON.

    Raises:
      InputError: a value cannot be used, alone or with the others.
    """

    field: str | None = None
    window: int = 0
    overlap: float = 0.5
    min_contrast: float = 0.0
    positions: str | Path = ""
    positions_width: int = 0
    crop: int = 0
    mpp: float = 0.0
    detector: str | Path = SHIPPED
    min_nucleus: float | None = None
    severity: Sequence[str] = ()
    abnormal: Sequence[str] = ()
    min_probability: float = 0.5
    heatmap: str = "auto"
    maps: str | Path = ""

    def __post_init__(self):
        if self.field not in (None, *KINDS):
            raise InputError(f"--field={self.field}: choose one of {', '.join(KINDS)}.")
        if self.heatmap not in HEATMAPS:
            raise InputError(f"--heatmap={self.heatmap}: choose one of {', '.join(HEATMAPS)}.")
        check_number("--min_probability", self.min_probability, 0, 1)
        check_number("--min_contrast", self.min_contrast, 0)
        if self.mpp:
            check_microns("--mpp", self.mpp)
        for name in ("window", "positions_width", "crop"):
            check_count(f"--{name}", getattr(self, name), 0)
        for name, *fields in _GOES_WITH:
            if getattr(self, name) != getattr(type(self), name) and self.field not in fields:
                raise InputError(f"--{name} goes with --field={' or '.join(fields)}; add that.")
        for name in _NOT_OF_CELLS if self.field == "cells" else ():
            if getattr(self, name) != getattr(type(self), name):
                raise InputError(f"--{name} does not go with --field=cells; leave it out.")
        if self.field == "window":
            check_window(self.window, self.overlap)
        if self.field == "nuclei" and not self.positions:
            raise InputError("--field=nuclei needs --positions=FILE, a table with image, x and y.")

    def deciding(self) -> dict[str, object]:
        """The options that decide what rows hold, by their flags."""
        values = dataclasses.asdict(self)
        texts = ("positions", "maps")
        del values["detector"], values["min_nucleus"]  # the detector says them, see its `facts`
        if not self.mpp:  # goes on with what earlier versions left
            del values["mpp"]
        return {f"--{name}": str(v) if name in texts else v for name, v in values.items()}

    def square_in(self, run: Run, width: int) -> int:
        """Side of the window, or of the square about a nucleus, in pixels of a field.

        Args:
          run: what predicts; how much of a cell it was shown is its field of view.
          width: of the field in pixels.

        Raises:
          InputError: nobody says how large the square about a nucleus is.
        """
        if self.field == "window":
            return self.window or self.crop
        require_one_square(run)
        if self.crop:
            return self.crop
        return square_side(run, self.mpp, width)
