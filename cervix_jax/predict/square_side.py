"""Side of the square about a nucleus that shows a network as much of a cell as in training."""

from cervix_jax.data.cric_nuclei import DEFAULT_SIDE, MICRONS_PER_PIXEL, PUBLISHED_WIDTH
from cervix_jax.data.decode import TWO_VIEWS
from cervix_jax.errors import InputError
from cervix_jax.runs.run import Run


def require_one_square(run: Run) -> None:
    """See that a square about a nucleus is all that a run takes of a cell.

    Raises:
      InputError: it takes the whole cell beside it, whose extent a nucleus does not give.
    """
    resize = run.config.data.resize
    if resize in TWO_VIEWS:
        raise InputError(
            f"{run.workdir or 'the run'}: sees each cell whole and at a fixed resolution "
            f"(data.resize={resize}), and the position of a nucleus does not say how far its cell "
            "reaches; take a run of data.resize=scale."
        )


def square_side(run: Run, mpp: float, width: int) -> int:
    """Side of the square about a nucleus that shows the run's field of view, in pixels of a field.

    Args:
      run: what predicts.
      mpp: micrometres that a pixel of the field measures; 0 takes what the run's data set has, of
        CRIC by the width of the field.
      width: of the field in pixels.

    Raises:
      InputError: the run has no one field of view, or nobody says what a pixel measures.
    """
    seen, wanted = run.field_of_view, run.config.data
    if seen is None:
        raise InputError(
            "--crop is missing: give the side of the square about each nucleus in pixels; it "
            "should show as much of a cell as the images that the network was trained on. A run of "
            "data.resize=scale knows it by --mpp."
        )
    if wanted.dataset == "cric/cell" and wanted.resize != "scale" and not mpp:
        side = wanted.settings.get("side") or DEFAULT_SIDE
        return max(1, round(side * width / PUBLISHED_WIDTH))
    microns = mpp or run.dataset.get("microns_per_pixel")
    if not microns:
        raise InputError(
            "--mpp is missing: give the micrometres that a pixel of the fields measures, e.g. "
            f"0.25; the network sees {seen:g} of them about a cell."
        )
    return max(1, round(seen / microns))


def microns_of_field(run: Run, width: int) -> float | None:
    """Micrometres a pixel of a field that is like those of the run's data set; None if unknown.

    Args:
      run: what predicts.
      width: of the field in pixels: copies of CRIC have many widths.
    """
    if str(run.config.data.dataset).startswith("cric/"):
        return MICRONS_PER_PIXEL * PUBLISHED_WIDTH / width
    return run.dataset.get("microns_per_pixel")
