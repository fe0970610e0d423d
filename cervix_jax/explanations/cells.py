"""Attribution maps of cells of a field or slide: squares about positions, explained in batches."""

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
# Its maps are shares of the score, so that those of a field's cells add up to something.
DEFAULT_METHOD = "integrated_gradients"

FIELD_CELLS = 256  # most cells that make a field's map


@dataclasses.dataclass(frozen=True)
class CellMaps:
    """Some cells with their maps, at the network's resolution.

    Attributes:
      squares: uint8 [n, S, S, 3], what the network sees.
      boxes: float64 [n, 4], where these lie: left, top, right, bottom in level-0 pixels, upright.
      logits: float32 [n, C].
      targets: int64 [n], the class that each map explains.
      maps: float32 [n, S, S, 3] or [n, S, S], raw and signed.
      method: that made them, one of `explain.registry.EXPLANATIONS`.
    """

    squares: np.ndarray
    boxes: np.ndarray
    logits: np.ndarray
    targets: np.ndarray
    maps: np.ndarray
    method: str

    @property
    def reduced(self) -> np.ndarray:
        """The maps with one number a pixel, float64 [n, S, S], as the method's reduction says."""
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
    """Explain cells of a field or slide; a batch of them is in memory.

      with open_slide("field.png", mpp=0.25) as slide:
          for cells in explain_cells(run, slide, positions, method="grad_cam"):
              cells.maps, cells.boxes

    Args:
      run: a classifier of cells.
      slide: where the cells are.
      positions: float [n, 2], x and y in level-0 pixels of the upright slide.
      method: one of `explain.registry.EXPLANATIONS` that needs no training images.
      target: the class that is explained, the same of each cell; None takes the most probable one
        of each.
      crop: side of the square about a cell in level-0 pixels; 0 takes the run's field of view.
      settings: how maps are made; its `batch_size` cells at a time.

    Yields:
      Each batch, in the order of the positions.

    Raises:
      InputError: the method or class is unknown, or nobody says how large the squares are.
    """
    check_method(method)
    if target is not None and not 0 <= target < len(run.class_names):
        raise InputError(
            f"target={target}: the run has the classes 0 to {len(run.class_names) - 1}."
        )
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
        # Filled up to whole batches: a program for each batch size is costly.
        filled = np.resize(squares, (step, *squares.shape[1:]))
        logits = run.logits(filled, batch_size=step)[: len(part)]
        targets = logits.argmax(1) if target is None else np.full(len(part), target)
        images = np.asarray(run.preprocess(squares))
        maps = explainer.explain(method, images, targets)
        yield CellMaps(squares, part, logits, targets, maps, method)


def check_method(method: str) -> None:
    """Raises InputError unless it is a method that needs no training images."""
    check_choice("--method", method, EXPLANATIONS)
    if METHODS[method].baseline == "images":
        raise InputError(
            f"--method={method}: starts from training images, which the explanation of a field "
            "does not open; choose another, e.g. integrated_gradients."
        )


def side_of_square(run: Run, slide: Slide, crop: float = 0) -> float:
    """Side of the square that the network sees about a cell, in level-0 pixels.

    Args:
      run: the classifier.
      slide: the field; its resolution matters where `crop` is 0.
      crop: the side, where the user gives it.

    Raises:
      InputError: the run's field of view is unknown, or what a pixel of the slide measures.
    """
    require_one_square(run)
    if crop:
        return float(crop)
    if run.field_of_view is None:
        raise InputError(
            "--crop is missing: the run's training images showed squares of many sizes; give the "
            "side of the square about each cell, in pixels of the field, that predict was given."
        )
    return run.field_of_view / slide.require_mpp()
