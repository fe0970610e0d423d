"""Figures that are sized to fit their texts and written atomically."""

import textwrap
import warnings
from collections.abc import Iterator
from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backend_bases import RendererBase
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure, SubFigure
from matplotlib.text import Text

from cervix_jax.figures.letters import letter
from cervix_jax.files.atomic import replacing

LABEL_SIZE = 9
LINE = 30  # characters of a class name in a line
_MOST_INCHES = 200.0  # of a side; above 65,535 pixels nothing is drawn
_TITLE_SHARE = 0.92  # of the width that a title may take


def wrapped(text: str, width: int = LINE) -> str:
    """A text in lines of at most `width` characters; a longer word is divided.

    Line breaks that are there stay.
    """
    lines = [
        textwrap.fill(line, width, break_on_hyphens=False, replace_whitespace=False)
        for line in text.split("\n")
    ]
    return "\n".join(lines)


def save(figure: Figure, path: Path) -> None:
    """Write a figure, whole or not at all; its texts are what they say, and none is cut.

    Titles that are wider than the figure are wrapped, and the figure grows where texts need more
    than it has.

    Args:
      figure: its layout is best "constrained".
      path: the end of its name says the format, one that matplotlib writes; PNG without one.
    """
    with matplotlib.rc_context(
        {"savefig.dpi": 130, "text.parse_math": False, "text.usetex": False}  # of new ticks, too
    ):
        letter(figure)
        _wrap_titles(figure)
        _grow(figure)
        with replacing(path) as temporary:
            figure.savefig(temporary, format=path.suffix.removeprefix(".") or "png")


def _wrap_titles(figure: Figure) -> None:
    renderer = FigureCanvasAgg(figure).get_renderer()
    for title, width in _titles(figure):
        wrap(title, width, renderer)


def wrap(title: Text, width: float, renderer: RendererBase) -> None:
    """Wrap a title into lines that are at most `width` pixels wide."""
    told = title.get_text()
    longest = max(map(len, told.split("\n")))
    while longest > 8 and (now := title.get_window_extent(renderer).width) > width:
        longest = max(8, min(longest - 1, int(longest * width / now)))
        title.set_text(wrapped(told, longest))


def _titles(part: Figure | SubFigure) -> Iterator[tuple[Text, float]]:
    """Titles of a figure and of its parts and axes, each with the pixels that it may take."""
    overall = part.bbox.width * _TITLE_SHARE
    for text in part.texts:  # the title above all of it among them
        yield text, overall
    for below in part.subfigs:
        yield from _titles(below)
    for axes in part.get_axes():
        if axes.figure is part:
            yield axes.title, overall / _columns(axes)


def _columns(axes: Axes) -> int:
    place = axes.get_subplotspec()
    return place.get_gridspec().ncols if place else 1


def _grow(figure: Figure) -> None:
    """Make a figure larger until all texts are inside and its axes have room."""
    for _ in range(6):
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)
            try:
                figure.draw_without_rendering()
            except UserWarning as warning:
                if "collapsed to zero" not in str(warning):
                    raise
                more = (0.5 * figure.get_figwidth(), 0.5 * figure.get_figheight())
            else:
                more = _lacking(figure)
        if max(more) < 0.02:
            return
        sides = (figure.get_figwidth() + more[0], figure.get_figheight() + more[1])
        figure.set_size_inches(min(sides[0], _MOST_INCHES), min(sides[1], _MOST_INCHES))


def _lacking(figure: Figure) -> tuple[float, float]:
    """Inches of width and height that a figure wants for what sticks out of it.

    A title that is centred on axes near an edge is wrapped first: a larger figure would leave the
    axes where they are.
    """
    renderer = FigureCanvasAgg(figure).get_renderer()
    for title, _ in _titles(figure):
        extent, width = title.get_window_extent(renderer), figure.bbox.width
        if extent.x0 < 0 or extent.x1 > width:
            centre = (extent.x0 + extent.x1) / 2
            wrap(title, max(2 * min(centre, width - centre), extent.width / 4), renderer)
    box = figure.get_tightbbox(renderer)
    return (
        max(0.0, -box.x0) + max(0.0, box.x1 - figure.get_figwidth()),
        max(0.0, -box.y0) + max(0.0, box.y1 - figure.get_figheight()),
    )
