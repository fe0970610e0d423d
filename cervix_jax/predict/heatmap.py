"""Heat maps: a field overlaid with the probabilities of its windows or nuclei."""

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image

from cervix_jax.figures import LABEL_SIZE, save

# Maximum width; wider fields are drawn smaller, which is enough for a smooth map.
_WIDEST = 1600
_COLOURS = colormaps["turbo"]
# Opacity that shows both the colour and the cells below it.
_OPACITY = 0.45


def shrink(field: Image.Image) -> tuple[Image.Image, float]:
    """The field reduced for drawing, and the pixels of the drawing per pixel of the field."""
    scale = min(1.0, _WIDEST / max(field.size))
    size = max(1, round(field.width * scale)), max(1, round(field.height * scale))
    return field.resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0), scale


def draw_windows(
    field: Image.Image,
    maps: Mapping[str, np.ndarray],
    title: str,
    path: Path,
    decided: tuple[float, float, float] | None = None,
) -> None:
    """Draw maps over a field, side by side; the field is grey, to separate map and stain colours.

    Args:
      field: RGB, from `shrink`.
      maps: title of each panel to probabilities float [h, w] of the pixels of `field`; NaN leaves
        a pixel unchanged.
      title: title of the figure.
      path: PNG file to write.
      decided: x, y and side, in pixels of `field`, of the window with the worst finding; it is
        framed, as the map is a mean over windows and does not show this window's probability.
    """
    pixels = np.asarray(field.convert("L"), np.float64)[..., None] / 255
    figure, panels = _panels(field, len(maps), title)
    for axes, (name, values) in zip(panels, maps.items(), strict=True):
        known = ~np.isnan(values)
        colours = _COLOURS(np.where(known, values, 0.0))[..., :3]
        alpha = np.where(known, _OPACITY, 0.0)[..., None]
        axes.imshow(pixels * (1 - alpha) + colours * alpha, interpolation="nearest")
        if decided is not None:
            x, y, side = decided
            for colour, width in (("black", 3.0), ("white", 1.4)):
                corner = (x - 0.5, y - 0.5)
                axes.add_patch(
                    Rectangle(corner, side, side, fill=False, edgecolor=colour, linewidth=width)
                )
        axes.set_title(name, fontsize=LABEL_SIZE)
    _legend(figure, panels, "mean probability of the windows")
    save(figure, path)


def draw_nuclei(
    field: Image.Image,
    positions: np.ndarray,
    radius: float,
    values: Mapping[str, np.ndarray],
    title: str,
    path: Path,
) -> None:
    """Draw a circle around each nucleus, coloured by probability.

    Args:
      field: RGB, from `shrink`.
      positions: float [n, 2], x and y in its pixels.
      radius: radius of the circles, in its pixels.
      values: title of each panel to probabilities float [n].
      title: title of the figure.
      path: PNG file to write.
    """
    figure, panels = _panels(field, len(values), title)
    angle = np.linspace(0, 2 * np.pi, 48)
    for axes, (name, found) in zip(panels, values.items(), strict=True):
        axes.imshow(np.asarray(field), interpolation="nearest")
        for (x, y), value in zip(positions, found, strict=True):
            ring = x + radius * np.cos(angle), y + radius * np.sin(angle)
            axes.plot(*ring, color="white", linewidth=2.6)
            axes.plot(*ring, color=_COLOURS(value), linewidth=1.6)
        axes.set_title(name, fontsize=LABEL_SIZE)
        axes.set(xlim=(-0.5, field.width - 0.5), ylim=(field.height - 0.5, -0.5))
    _legend(figure, panels, "probability")
    save(figure, path)


def _panels(field: Image.Image, count: int, title: str):
    columns = math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    width = 10.0 if count == 1 else 5.0 * columns
    height = width / columns * field.height / field.width * rows
    figure = Figure(figsize=(width + 1, height + 0.4 + 0.3 * rows), layout="constrained")
    panels = np.atleast_1d(figure.subplots(rows, columns)).ravel()
    figure.suptitle(title, fontsize=LABEL_SIZE + 1)
    for axes in panels:
        axes.set_axis_off()
    return figure, panels[:count]


def _legend(figure: Figure, panels: np.ndarray, label: str) -> None:
    from matplotlib.cm import ScalarMappable

    colours = ScalarMappable(cmap=_COLOURS)
    colours.set_clim(0, 1)
    figure.colorbar(colours, ax=panels.tolist(), label=label, shrink=0.8)
