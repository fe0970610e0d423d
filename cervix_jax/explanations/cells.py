"""Attribution maps of cells of a field or slide: crops around positions, explained in batches."""

import dataclasses
import functools
from collections.abc import Iterator

import numpy as np

from cervix_jax.errors import InputError, check_choice
from cervix_jax.explain.field_map import boxes_about
from cervix_jax.explain.measures.maps import reduce_channels
from cervix_jax.explain.registry import EXPLANATIONS, METHODS
from cervix_jax.explanations.explainer import Explainer, MapSettings
from cervix_jax.files.threads import map_in_order
from cervix_jax.predict.square_side import require_one_square
from cervix_jax.runs.run import Run
from cervix_jax.slides import Slide

DEFAULT_SETTINGS = MapSettings()
# Its maps sum to the score, so the sum over a field's cells has a meaning.
DEFAULT_METHOD = "integrated_gradients"

FIELD_CELLS = 256  # maximum number of cells in a field's map


@dataclasses.dataclass(frozen=True)
class CellMaps:
    """Cells with their maps, at the network's resolution.

    Attributes:
      squares: uint8 [n, S, S, 3], the crops that the network receives.
      boxes: float64 [n, 4], left, top, right and bottom of the crops in level-0 pixels of the
        upright slide.
      logits: float32 [n, C].
      targets: int64 [n], the class that each map explains.
      maps: float32 [n, S, S, 3] or [n, S, S], raw and signed.
      method: method of the maps, one of `explain.registry.EXPLANATIONS`.
    """

    squares: np.ndarray
    boxes: np.ndarray
    logits: np.ndarray
    targets: np.ndarray
    maps: np.ndarray
    method: str

    @property
    def reduced(self) -> np.ndarray:
        """The maps with one number a pixel, float64 [n, S, S], by the method's reduction."""
        return reduce_channels(self.maps, METHODS[self.method].reduction)


def explain_cells(
    run: Run,
    slide: Slide,
    positions: np.ndarray,
    *,
    method: str = DEFAULT_METHOD,
    target: int | None = None,
    crop: float = 0,
    settings: MapSettings = DEFAULT_SETTINGS,
) -> Iterator[CellMaps]:
    """Explain cells of a field or slide; one batch of cells is in memory at a time.

        with open_slide("field.png", mpp=0.25) as slide:
            for cells in explain_cells(run, slide, positions, method="grad_cam"):
                cells.maps, cells.boxes

    Args:
      run: a run that classifies cells.
      slide: the field or slide.
      positions: float [n, 2], x and y in level-0 pixels of the upright slide.
      method: one of `explain.registry.EXPLANATIONS` that needs no training images.
      target: the class to explain for all cells; None explains the predicted class of each cell.
      crop: side of the square around each cell in level-0 pixels; 0 takes the run's field of view.
      settings: settings of the maps; a batch has `batch_size` cells.

    Yields:
      Each batch, in the order of the positions.

    Raises:
      InputError: the method or class is unknown, or the size of the crops cannot be determined.
    """
    check_method(method)
    if target is not None and not 0 <= target < len(run.class_names):
        raise InputError(f"target={target}: the run has classes 0 to {len(run.class_names) - 1}.")
    boxes = boxes_about(positions, side_of_square(run, slide, crop))
    explainer = Explainer(run, settings, None)
    size = int(run.config.image_size)
    return _batches(explainer, slide, boxes, method, target, size)


def _batches(
    explainer: Explainer,
    slide: Slide,
    boxes: np.ndarray,
    method: str,
    target: int | None,
    size: int,
) -> Iterator[CellMaps]:
    run, step = explainer.run, explainer.settings.batch_size
    read = functools.partial(slide.read, size=(size, size))
    for start in range(0, len(boxes), step):
        part = boxes[start : start + step]
        squares = np.stack(list(map_in_order(read, map(tuple, part.tolist()))))
        # Padded to whole batches, since each batch size compiles a program.
        filled = np.resize(squares, (step, *squares.shape[1:]))
        logits = run.logits(filled, batch_size=step)[: len(part)]
        targets = logits.argmax(1) if target is None else np.full(len(part), target)
        images = np.asarray(run.preprocess(squares))
        maps = explainer.explain(method, images, targets)
        yield CellMaps(squares, part, logits, targets, maps, method)


def check_method(method: str) -> None:
    """Raises InputError if the method is unknown or needs training images."""
    check_choice("--method", method, EXPLANATIONS)
    if METHODS[method].baseline == "images":
        raise InputError(
            f"--method={method} needs training images, which are not available for fields; choose "
            "another method, e.g. integrated_gradients."
        )


def side_of_square(run: Run, slide: Slide, crop: float = 0) -> float:
    """Side of the square crop around a cell, in level-0 pixels.

    Args:
      run: the run.
      slide: the field; its scale is used if `crop` is 0.
      crop: the side given by the user, or 0.

    Raises:
      InputError: the run's field of view or the scale of the slide is unknown.
    """
    require_one_square(run)
    if crop:
        return float(crop)
    if run.field_of_view is None:
        raise InputError(
            "--crop is missing: the run's training images have no common field of view; give the "
            "same --crop as for predict, the side of the square around each cell in pixels of the "
            "field."
        )
    return run.field_of_view / slide.require_mpp()
