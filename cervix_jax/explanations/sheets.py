"""A method's maps as a picture: images, signed and absolute maps, overlays, one scale for all."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, Normalize
from matplotlib.figure import Figure

from cervix_jax.figures import LABEL_SIZE, save

# Colours end at this quantile of the absolute values over the whole sheet.
SCALE_QUANTILE = 0.995
SIGNED, ABSOLUTE = "RdBu_r", "magma"
COLUMNS = ("image", "signed", "absolute", "overlay")
OPACITY = 0.75
GAP = 4  # pixels between pictures
PAIRS = 2  # images in a row of the sheet


def signed_and_absolute(maps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sums over the channels of the values and of their absolute values, [N, S, S] each."""
    values = np.asarray(maps, np.float64)
    if values.ndim == 3:
        return values, np.abs(values)
    return values.sum(-1), np.abs(values).sum(-1)


def scale_of(values: np.ndarray) -> float:
    """The value at which colours end; 1 for maps of zeros."""
    return float(np.quantile(np.abs(values), SCALE_QUANTILE)) or float(np.abs(values).max()) or 1.0


def contact_sheet(
    pixels: np.ndarray, maps: np.ndarray, captions: Sequence[str], title: str, path: Path
) -> None:
    """Draw maps beside their images.

    Args:
      pixels: uint8 [N, S, S, 3].
      maps: raw, [N, S, S, 3] or [N, S, S].
      captions: N texts.
      title: above the sheet.
      path: PNG to write.
    """
    signed, absolute = signed_and_absolute(maps)
    norms = (
        Normalize(-scale_of(signed), scale_of(signed)),
        Normalize(0, scale_of(absolute)),
    )
    strips = [
        _strip(image, [norms[0](a), norms[1](b)])
        for image, a, b in zip(pixels, signed, absolute, strict=True)
    ]
    side = pixels.shape[1]
    rows = -(-len(strips) // PAIRS)
    strip_height, strip_width = strips[0].shape[:2]
    step_y, step_x = strip_height + 2 * GAP + side // 5, strip_width + 4 * GAP
    canvas = np.full((rows * step_y, min(PAIRS, len(strips)) * step_x, 3), 1.0)
    width = 4.6 * min(PAIRS, len(strips)) + 1.4
    height = width * canvas.shape[0] / canvas.shape[1] + 1.6
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots()
    for number, (strip, caption) in enumerate(zip(strips, captions, strict=True)):
        y, x = number // PAIRS * step_y, number % PAIRS * step_x
        canvas[y : y + strip_height, x : x + strip_width] = strip
        axes.text(x, y + strip_height + GAP, caption, fontsize=LABEL_SIZE - 2, va="top")
    axes.imshow(canvas, interpolation="nearest")
    for pair in range(min(PAIRS, len(strips))):
        for column, name in enumerate(COLUMNS):
            x = pair * step_x + column * (side + GAP) + side / 2
            axes.text(x, -GAP, name, fontsize=LABEL_SIZE, ha="center", va="bottom")
    axes.set_axis_off()
    for norm, colours, label in zip(
        norms,
        (SIGNED, ABSOLUTE),
        ("signed: channels added", "absolute: |channels| added"),
        strict=True,
    ):
        figure.colorbar(
            ScalarMappable(norm, colours), ax=axes, location="bottom", extend="both", label=label,
            shrink=0.6, aspect=40, pad=0.01,
        )  # fmt: skip
    figure.suptitle(
        f"{title}\nraw values; one scale for the sheet, which ends at the 99.5th percentile",
        fontsize=LABEL_SIZE + 1,
    )
    save(figure, path)


def _strip(image: np.ndarray, scaled: Sequence[np.ndarray]) -> np.ndarray:
    """Image, signed map, absolute map and overlay side by side, float [S, W, 3] in [0, 1]."""
    grey = image.mean(-1, keepdims=True) / 255
    signed, absolute = (
        _colours(name)(np.clip(values, 0, 1))[..., :3]
        for name, values in zip((SIGNED, ABSOLUTE), scaled, strict=True)
    )
    strength = OPACITY * np.clip(np.abs(2 * np.asarray(scaled[0]) - 1), 0, 1)[..., None]
    overlay = (1 - strength) * grey + strength * signed
    gap = np.ones((len(image), GAP, 3))
    parts = [image / 255, gap, signed, gap, absolute, gap, overlay]
    return np.concatenate(parts, axis=1)


def _colours(name: str) -> Colormap:
    return matplotlib.colormaps[name]
