"""Options for the prediction of whole fields and slides, and for its output."""

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
    """Options for the prediction of whole fields and slides, and for its output.

    Attributes:
      field: one of `KINDS`; None if images are not fields.
      window: side of the sliding window, in pixels of the field.
      overlap: overlap of neighbouring windows as a share, 0 to 0.9.
      min_contrast: windows whose grey values (0 to 255) have a smaller standard deviation are
        skipped as empty background; 0 skips none.
      positions: file of positions of nuclei, see `positions.Positions`.
      positions_width: width in pixels of the fields on which positions were marked; 0 means the
        same width as the given fields.
      crop: side of the square crop around a nucleus, in pixels of the field; 0 uses the run's field
        of view, if known.
      mpp: pixel size of the fields in micrometres; 0 reads it from a slide file, else uses that of
        the run's data set (for CRIC by the width of the field).
      detector: detector of nuclei, see `detect.detector.load_detector`.
      min_nucleus: minimum score of a nucleus, 0 to 1; None uses the detector's own.
      severity: all classes from harmless to worst; () uses the known order.
      abnormal: classes that count as abnormal in heat maps, in the abnormal share of cells and in
        the choice of suspicious cells; () uses the known ones.
      min_probability: minimum probability for a class to count as a field's worst finding.
      heatmap: one of `HEATMAPS`; "classes" draws one map per class.
      maps: folder for heat maps or pages, and GeoJSON.

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
                raise InputError(f"--{name} needs --field={' or '.join(fields)}; add it.")
        for name in _NOT_OF_CELLS if self.field == "cells" else ():
            if getattr(self, name) != getattr(type(self), name):
                raise InputError(f"--{name} does not go with --field=cells; leave it out.")
        if self.field == "window":
            check_window(self.window, self.overlap)
        if self.field == "nuclei" and not self.positions:
            raise InputError("--field=nuclei needs --positions=FILE, a table with image, x and y.")

    def deciding(self) -> dict[str, object]:
        """The options that decide the contents of rows, by flag."""
        values = dataclasses.asdict(self)
        texts = ("positions", "maps")
        del values["detector"], values["min_nucleus"]  # already in the detector's `facts`
        if not self.mpp:  # so tables begun by earlier versions can be continued
            del values["mpp"]
        return {f"--{name}": str(v) if name in texts else v for name, v in values.items()}

    def square_in(self, run: Run, width: int) -> int:
        """Side of the window, or of the crop around a nucleus, in pixels of a field.

        Args:
          run: the classifier, whose field of view decides the size of crops.
          width: width of the field in pixels.

        Raises:
          InputError: the size of the crop around a nucleus is unknown.
        """
        if self.field == "window":
            return self.window or self.crop
        require_one_square(run)
        if self.crop:
            return self.crop
        return square_side(run, self.mpp, width)
