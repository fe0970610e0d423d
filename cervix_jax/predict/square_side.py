"""Side of the crop around a nucleus that shows the network as much of a cell as in training."""

from cervix_jax.data.cric_nuclei import DEFAULT_SIDE, MICRONS_PER_PIXEL, PUBLISHED_WIDTH
from cervix_jax.data.decode import TWO_VIEWS
from cervix_jax.errors import InputError
from cervix_jax.runs.run import Run


def require_one_square(run: Run) -> None:
    """Check that a crop around a nucleus is the only input that a run needs of a cell.

    Raises:
      InputError: the run also needs the whole cell, whose extent a nucleus does not give.
    """
    resize = run.config.data.resize
    if resize in TWO_VIEWS:
        raise InputError(
            f"{run.workdir or 'the run'}: has two inputs, the whole cell and a crop at a fixed "
            f"resolution (data.resize={resize}), but the position of a nucleus does not give the "
            "extent of its cell; use a run with data.resize=scale."
        )


def square_side(run: Run, mpp: float, width: int) -> int:
    """Side of the crop around a nucleus that shows the run's field of view, in pixels of a field.

    Args:
      run: the classifier.
      mpp: pixel size of the field in micrometres; 0 uses that of the run's data set (for CRIC by
        the width of the field).
      width: width of the field in pixels.

    Raises:
      InputError: the run's field of view varies, or the pixel size is unknown.
    """
    seen, wanted = run.field_of_view, run.config.data
    if seen is None:
        raise InputError(
            "--crop is missing: give the side of the crop around each nucleus in pixels; it should "
            "show as much of a cell as the images that the network was trained on. A run with "
            "data.resize=scale computes it from --mpp."
        )
    if wanted.dataset == "cric/cell" and wanted.resize != "scale" and not mpp:
        side = wanted.settings.get("side") or DEFAULT_SIDE
        return max(1, round(side * width / PUBLISHED_WIDTH))
    microns = mpp or run.dataset.get("microns_per_pixel")
    if not microns:
        raise InputError(
            "--mpp is missing: give the micrometres per pixel of the fields, e.g. --mpp=0.25; the "
            f"network sees {seen:g} micrometres around a cell."
        )
    return max(1, round(seen / microns))


def microns_of_field(run: Run, width: int) -> float | None:
    """Micrometres per pixel of a field like those of the run's data set; None if unknown.

    Args:
      run: the classifier.
      width: width of the field in pixels, as copies of CRIC have different widths.
    """
    if str(run.config.data.dataset).startswith("cric/"):
        return MICRONS_PER_PIXEL * PUBLISHED_WIDTH / width
    return run.dataset.get("microns_per_pixel")
