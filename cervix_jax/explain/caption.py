"""Adds a caption and a colour legend below a picture."""

from typing import cast

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from cervix_jax.explain.pictures import colour, lay_over
from cervix_jax.figures import letter, wrap

NARROWEST = 256  # minimum width in pixels; a narrower picture is centred
_DPI = 100
_LARGEST = 28  # maximum height of letters in pixels


def captioned(picture: np.ndarray, text: str, scale: float, *, signed: bool = True) -> np.ndarray:
    """Add a white strip with a text and a colour bar below a picture; its pixels do not change.

    Args:
      picture: uint8 [H, W, 3].
      text: the caption, wrapped to the width of the picture.
      scale: the absolute value of the strongest colour; 0 means that the map is zero everywhere.
      signed: whether the legend includes blue, for evidence against the class.

    Returns:
      uint8 [H', W', 3]: H' > H, and W' is W or `NARROWEST`.
    """
    width = max(picture.shape[1], NARROWEST)
    left = (width - picture.shape[1]) // 2
    sides = ((0, 0), (left, width - picture.shape[1] - left), (0, 0))
    above = np.pad(picture, sides, constant_values=255)
    lines = _drawn(text, width)
    if not scale > 0:
        return np.concatenate([above, lines, _drawn("the map is zero everywhere", width)])
    if signed:
        ends = f"against the class: -{scale:.2g}", f"for the class: {scale:.2g}"
    else:
        ends = "no effect: 0", f"largest effect: {scale:.2g}"
    return np.concatenate([above, lines, _legend(*ends, width, signed)])


def _letter_height(width: int) -> int:
    return min(max(width // 23, 11), _LARGEST)


def _legend(least: str, most: str, width: int, signed: bool) -> np.ndarray:
    """A bar from blue over white to red, as wide as the strip, with its end values below."""
    height = _letter_height(width)
    margin = height // 2
    values = np.linspace(-1.0 if signed else 0.0, 1.0, width - 2 * margin)
    row = colour(np.tile(values, (height, 1)), 1.0)
    bar = np.full((height + 2, width, 3), 255, np.uint8)
    bar[:, margin - 1 : width - margin + 1] = 128  # a frame
    white = np.full((*row.shape[:2], 3), 255, np.uint8)
    bar[1:-1, margin : width - margin] = lay_over(white, row)
    left = _drawn(least, width)
    right = _drawn(most, width, right=True, rows=len(left))
    return np.concatenate([bar, np.minimum(left, right)])


def _drawn(text: str, width: int, *, right: bool = False, rows: int = 0) -> np.ndarray:
    """Text in black on white, uint8 [rows, width, 3]; `rows` 0 fits the height to the text."""
    height = _letter_height(width)
    figure = _figure(width, 10)
    canvas = FigureCanvasAgg(figure)
    label = figure.text(0, 0, text, fontsize=_points(width), linespacing=1.25)
    letter(figure)
    wrap(label, width - height, canvas.get_renderer())
    needed = rows or int(np.ceil(label.get_window_extent(canvas.get_renderer()).height)) + height
    figure.set_size_inches(width / _DPI, needed / _DPI)
    margin = height / 2 / width
    label.set(
        x=1 - margin if right else margin,
        y=0.5,
        ha="right" if right else "left",
        va="center",
        multialignment="right" if right else "left",
    )
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(cast(memoryview, canvas.buffer_rgba()))[..., :3].copy()


def _figure(width: int, height: int) -> Figure:
    return Figure(figsize=(width / _DPI, height / _DPI), dpi=_DPI)


def _points(width: int) -> float:
    return _letter_height(width) * 72 / _DPI
