"""The paper's figure: gradient and integrated gradient of the probability, models side by side.

The figure follows the published code of arXiv 2106.00557. Both maps explain the softmax
probability. The integrated gradient is the mean over 10 baselines of uniform noise, with 50 steps
each and left Riemann sums. The figure shows the positive part of the mean over the channels, white
at the 99th percentile of the image, and the image multiplied by it. Its pictures therefore have no
common scale; the contact sheets have one.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure

from cervix_jax import explain
from cervix_jax.explain import registry
from cervix_jax.explain.pictures import paper_shade
from cervix_jax.explanations.selection import Selection
from cervix_jax.explanations.store import Store
from cervix_jax.figures import LABEL_SIZE, drawable, save
from cervix_jax.runs.run import Run

BASELINES, STEPS = 10, 50
OUTPUT = "probability"
TITLES = ("image", "overlay", "map")


class Side(NamedTuple):
    """One model's part of the figure.

    Attributes:
      title: name of the model and its run.
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
    selection: Selection,
    store: Store,
    *,
    seed: int = 0,
    batch_size: int = 32,
    progress: str = "",
) -> Side:
    """The maps of one model, stored on disk.

    Args:
      run: the run of the model.
      selection: the images of the figure.
      store: store of `gradient.npz` and `integrated_gradient.npz`.
      seed: seed of the baselines.
      batch_size: gradients in one batch.
      progress: label of the progress bar.
    """

    def maps(name: str, rows: slice, **options: Any) -> np.ndarray:
        return registry.explain(
            name, run.logits_fn, selection.images[rows], selection.targets[rows],
            output=OUTPUT, batch_size=batch_size, **options,
        )  # fmt: skip

    noise = explain.baselines.uniform(run.input_range, BASELINES, seed)
    path = {"steps": STEPS, "quadrature": "riemann_left"}
    more = path | {"output": OUTPUT, "seed": seed, "baselines": BASELINES}
    gradients = store.maps(
        "gradient", {"output": OUTPUT}, lambda rows: maps("saliency", rows),
        chunk=len(selection.images),
    )  # fmt: skip
    integrated = store.maps(
        "integrated_gradient", more,
        lambda rows: maps("integrated_gradients", rows, baselines=noise, **path),
        chunk=1, progress=progress,
    )  # fmt: skip
    folder = run.workdir.name if run.workdir else "in memory"
    title = f"{run.config.model.name} ({folder})"
    return Side(title, selection.pixels, gradients, integrated, captions(run, selection))


def captions(run: Run, selection: Selection) -> list[str]:
    """Captions: the label of each image and the probability of the explained class."""
    names, rows = drawable(selection.dataset.class_names), np.arange(len(selection.targets))
    predicted = drawable(run.class_names)
    sure = selection.probabilities[rows, selection.targets]
    return [
        f"{names[label]}; p({predicted[target]}) = {p:.2f}"
        for label, target, p in zip(selection.labels, selection.targets, sure, strict=True)
    ]


def draw(sides: Sequence[Side], path: Path) -> None:
    """Draw the figure: two rows for each image, three columns for each model."""
    count = len(sides[0].pixels)
    figure = Figure(figsize=(4.6 * len(sides), 3.1 * count + 0.6), layout="constrained")
    parts = figure.subfigures(1, len(sides), squeeze=False)
    for part, side in zip(parts[0], sides, strict=True):
        grid = part.subplots(2 * count, len(TITLES))
        part.suptitle(side.title, fontsize=LABEL_SIZE + 1)
        for number in range(count):
            for below, maps in enumerate((side.gradients, side.integrated)):
                shade = paper_shade(maps[number])
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
