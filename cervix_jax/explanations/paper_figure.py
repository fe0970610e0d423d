"""The paper's picture: gradient and integrated gradient of the probability, models side by side.

As in the published code of arXiv 2106.00557: both are of the softmax probability; the integrated
gradient is the mean over 10 baselines of uniform noise, 50 steps each, left Riemann sums. What is
drawn is the positive part of the mean over the channels, white at the 99th percentile of the
image; the overlay is the image times that. So pictures have no common scale: for one see the
contact sheets.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure

from cervix_jax import explain
from cervix_jax.explanations.selection import Selection
from cervix_jax.explanations.store import load_or_make_maps
from cervix_jax.figures import LABEL_SIZE, save
from cervix_jax.runs.run import Run

BASELINES, STEPS = 10, 50
PERCENTILE = 99
OUTPUT = "probability"
TITLES = ("image", "overlay", "map")


class Side(NamedTuple):
    """One model's part of the picture.

    Attributes:
      title: of the model.
      pixels: uint8 [N, S, S, 3].
      gradients: float32 [N, S, S, 3].
      integrated: float32 [N, S, S, 3].
      captions: N texts.
    """

    title: str
    pixels: np.ndarray
    gradients: np.ndarray
    integrated: np.ndarray
    captions: list[str]


def make_side(
    run: Run,
    title: str,
    selection: Selection,
    made_with: dict[str, Any],
    folder: Path,
    *,
    seed: int,
    batch_size: int,
    overwrite: bool,
    progress: str = "",
) -> Side:
    """The maps of one model, kept in `folder`; arguments as for `load_or_make_maps`.

    Args:
      run: the model.
      title: what it is called.
      selection: the images of the picture.
      made_with: settings that identify model and images.
      folder: gets `gradient.npz` and `integrated_gradient.npz`.
      seed: of the baselines.
      batch_size: gradients at a time.
      overwrite: whether files of other settings are replaced.
      progress: what bars are called.
    """
    fixed = {"output": OUTPUT, "batch_size": batch_size}

    def gradient(rows: slice) -> np.ndarray:
        images, targets = selection.images[rows], selection.targets[rows]
        return explain.saliency(run.logits_fn, images, targets, **fixed)

    def integrated(rows: slice) -> np.ndarray:
        return explain.integrated_gradients(
            run.logits_fn, selection.images[rows], selection.targets[rows],
            baselines=explain.baselines.uniform(run.input_range, BASELINES, seed),
            steps=STEPS, quadrature="riemann_left", **fixed,
        )  # fmt: skip

    common = made_with | {"output": OUTPUT}
    more = {"seed": seed, "steps": STEPS, "baselines": BASELINES, "quadrature": "riemann_left"}
    gradients = load_or_make_maps(
        folder / "gradient.npz", common, gradient, chunk=len(selection.images), overwrite=overwrite
    )
    maps = load_or_make_maps(
        folder / "integrated_gradient.npz", common | more, integrated, chunk=1,
        overwrite=overwrite, progress=progress,
    )  # fmt: skip
    return Side(title, selection.pixels, gradients, maps, captions(run, selection))


def captions(run: Run, selection: Selection) -> list[str]:
    """What each image is and what the network calls it."""
    names, rows = selection.dataset.class_names, np.arange(len(selection.targets))
    sure = selection.probabilities[rows, selection.targets]
    return [
        f"{names[label]}; p({run.class_names[target]}) = {p:.2f}"
        for label, target, p in zip(selection.labels, selection.targets, sure, strict=True)
    ]


def draw(sides: Sequence[Side], path: Path) -> None:
    """Draw the picture: for each image two rows, for each model three columns."""
    count = len(sides[0].pixels)
    figure = Figure(figsize=(4.6 * len(sides), 3.1 * count + 0.6), layout="constrained")
    parts = np.atleast_1d(figure.subfigures(1, len(sides)))
    for part, side in zip(parts, sides, strict=True):
        grid = part.subplots(2 * count, len(TITLES))
        part.suptitle(side.title, fontsize=LABEL_SIZE + 1)
        for number in range(count):
            for below, maps in enumerate((side.gradients, side.integrated)):
                shade = normalised(maps[number])
                image = side.pixels[number] / 255
                row = grid[2 * number + below]
                for axes, shown in zip(row, (image, image * shade, np.repeat(shade, 3, -1)),
                                       strict=True):  # fmt: skip
                    axes.imshow(shown, interpolation="nearest")
                    axes.set_xticks([])
                    axes.set_yticks([])
                kind = ("gradient", "integrated gradient")[below]
                row[1].set_title(f"{kind} overlay", fontsize=LABEL_SIZE - 1)
                row[2].set_title(kind, fontsize=LABEL_SIZE - 1)
                if not below:
                    row[0].set_title(side.captions[number].replace("; ", "\n"),
                                     fontsize=LABEL_SIZE - 2)  # fmt: skip
    save(figure, path)


def normalised(map_: np.ndarray) -> np.ndarray:
    """The positive part of the mean over the channels, 1 at its 99th percentile; [S, S, 1]."""
    positive = np.maximum(map_.mean(-1, dtype=np.float64), 0)
    top = np.percentile(positive, PERCENTILE) or positive.max() or 1.0
    return np.clip(positive / top, 0, 1)[..., None]
