"""Contact sheet of a method: images, signed and absolute maps, and overlays on one colour scale."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from cervix_jax.explain.measures.maps import reduce_channels
from cervix_jax.explain.pictures import (
    ABSOLUTE,
    SIGNED,
    colour,
    grey,
    lay_over,
    scale_of,
    strength,
)
from cervix_jax.figures import LABEL_SIZE, save, wrapped

COLUMNS = ("image", "signed", "absolute", "overlay")
CAPTION = 72  # characters in one line of a caption
GAP = 4  # pixels between pictures
PAIRS = 2  # images in a row of the sheet


def contact_sheet(
    pixels: np.ndarray, maps: np.ndarray, captions: Sequence[str], title: str, path: Path
) -> None:
    """Draw the maps next to their images.

    Args:
      pixels: uint8 [N, S, S, 3].
      maps: raw maps, [N, S, S, 3] or [N, S, S].
      captions: N texts, one below each image.
      title: title above the sheet.
      path: PNG file to write.
    """
    signed, absolute = reduce_channels(maps), reduce_channels(maps, "sum_absolute")
    ends = scale_of(signed), scale_of(absolute)
    strips = [strip(*each, ends) for each in zip(pixels, signed, absolute, strict=True)]
    side = pixels.shape[1]
    rows = -(-len(strips) // PAIRS)
    strip_height, strip_width = strips[0].shape[:2]
    texts = [wrapped(caption, CAPTION) for caption in captions]
    lines = max(text.count("\n") + 1 for text in texts)
    step_y, step_x = strip_height + 2 * GAP + lines * side // 5, strip_width + 4 * GAP
    canvas = np.full((rows * step_y, min(PAIRS, len(strips)) * step_x, 3), 255, np.uint8)
    width = 4.6 * min(PAIRS, len(strips)) + 1.4
    height = width * canvas.shape[0] / canvas.shape[1] + 1.6
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots()
    for number, (row, caption) in enumerate(zip(strips, texts, strict=True)):
        y, x = number // PAIRS * step_y, number % PAIRS * step_x
        canvas[y : y + strip_height, x : x + strip_width] = row
        axes.text(x, y + strip_height + GAP, caption, fontsize=LABEL_SIZE - 2, va="top")
    axes.imshow(canvas, interpolation="nearest")
    for pair in range(min(PAIRS, len(strips))):
        for column, name in enumerate(COLUMNS):
            x = pair * step_x + column * (side + GAP) + side / 2
            axes.text(x, -GAP, name, fontsize=LABEL_SIZE, ha="center", va="bottom")
    axes.set_axis_off()
    bars = (
        (Normalize(-(ends[0] or 1), ends[0] or 1), SIGNED, "signed: sum over colour channels"),
        (Normalize(0, ends[1] or 1), ABSOLUTE, "absolute: sum of absolute values"),
    )
    for norm, colours, label in bars:
        figure.colorbar(
            ScalarMappable(norm, colours), ax=axes, location="bottom", extend="both", label=label,
            shrink=0.6, aspect=40, pad=0.01,
        )  # fmt: skip
    figure.suptitle(
        f"{title}\nraw values; one colour scale for the sheet, clipped at the 99.5th percentile",
        fontsize=LABEL_SIZE + 1,
    )
    save(figure, path)


def strip(
    image: np.ndarray, signed: np.ndarray, absolute: np.ndarray, ends: tuple[float, float]
) -> np.ndarray:
    """Image, signed map, absolute map and overlay side by side.

    Args:
      image: uint8 [S, S, 3].
      signed: float [S, S].
      absolute: float [S, S].
      ends: the values of the strongest colour of the signed and of the absolute map.

    Returns:
      uint8 [S, W, 3].
    """
    colours = colour(signed, ends[0])
    parts = [
        image,
        lay_over(np.full_like(image, 255), colours, opacity=1),
        strength(absolute, ends[1]),
        lay_over(grey(image), colours),
    ]
    gap = np.full((len(image), GAP, 3), 255, np.uint8)
    return np.concatenate([each for part in parts for each in (part, gap)][:-1], axis=1)
