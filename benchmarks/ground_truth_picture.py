"""The picture of ground_truth.py: a few phantom cells and their maps."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from cervix_jax.files import atomic

SHOWN = (
    "saliency", "SmoothGrad", "integrated gradients, white", "integrated gradients, black",
    "expected gradients", "guided backpropagation", "Grad-CAM, 4 x 4",
    "LayerCAM, 8 x 8", "occlusion, 12 pixels", "RISE", "Sobel edges",
)  # fmt: skip
DPI, COLOURS = 90, 200
PERCENTILE = 99  # of the absolute values, where the colours end


def draw(rows: Sequence[dict], path: Path) -> None:
    """One row for each of `{"title", "image" uint8 [S, S, 3], "maps" {method: [S, S]}}`.

    Red is evidence for the class, blue against it, white none.
    """
    columns = 1 + len(SHOWN)
    figure = Figure(figsize=(1.05 * columns, 1.12 * len(rows) + 0.4), layout="constrained")
    axes = figure.subplots(len(rows), columns, squeeze=False)
    for line, row in zip(axes, rows, strict=True):
        line[0].imshow(row["image"])
        line[0].set_ylabel(row["title"].replace(", ", "\n"), fontsize=7)
        for place, name in zip(line[1:], SHOWN, strict=True):
            values = row["maps"][name]
            largest = np.percentile(np.abs(values), PERCENTILE) or 1
            place.imshow(values, "RdBu_r", vmin=-largest, vmax=largest, interpolation="nearest")
    for place, name in zip(axes[0], ("image", *SHOWN), strict=True):
        place.set_title(
            name.replace(", ", "\n").replace("ted ", "ted\n").replace("guided ", "guided\n"),
            fontsize=7,
        )
    for place in axes.ravel():
        place.set(xticks=[], yticks=[])
    with atomic.replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=DPI)
        with Image.open(temporary) as drawn:  # a palette is a quarter of the size
            drawn.convert("RGB").quantize(COLOURS).save(temporary, "PNG", optimize=True)
