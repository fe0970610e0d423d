r"""Draw the README's figure: attribution maps of two networks of nearly equal accuracy.

for c in 0 1; do python -m cervix_jax.main --workdir=runs/colour$c --config.num_epochs=5 \
    --config=configs/efficientnet_lite0.py:cervix_phantom/single_cell \
    --config.data.settings.confounding=$c; done
python examples/phantom_figure.py runs/colour0 runs/colour1 docs/phantom.png

In the data of the first run the stain is independent of the class. In the data of the second run
each slide holds one class, so that the stain predicts the class. The figure shows the first test
cell of every class. Maps are smoothed with a Gaussian of one pixel; red pixels raise the score of
the class. The script prints the share of the positive attribution outside the cells.
"""

import io
import sys

import numpy as np
from matplotlib.figure import Figure
from PIL import Image
from scipy.ndimage import gaussian_filter

from cervix_jax import InputError, explain, load_run
from cervix_jax.explain.measures.regions import cell_regions
from cervix_jax.explain.pictures import SIGNED, scale_of

PARTS = ("nucleus", "cytoplasm", "halo")
TITLES = ("stain independent of class", "stain predicts class")


def explained(workdir: str) -> tuple:
    """Names, images, maps [5, S, S] and nucleus and cell masks of a run's first test cells."""
    run = load_run(workdir)
    data = run.open_data()
    test, labels = data.indices("test"), np.asarray(data.dataset.labels)
    chosen = np.r_[[test[labels[test] == k][0] for k in range(len(run.class_names))], test[::5]]
    images = data.pipeline.images(chosen)
    maps = explain.integrated_gradients(
        run.logits_fn, run.preprocess(images), labels[chosen],
        baselines=explain.baselines.black(run.input_range), steps=64,
    ).sum(-1)  # fmt: skip
    regions = cell_regions(data.dataset, chosen, size=images.shape[1])
    nucleus, *others = (regions.index == regions.names.index(n) for n in PARTS)
    cell = np.any([nucleus, *others], axis=0)
    positive = np.maximum(maps, 0)[5:]
    outside = (positive * ~cell[5:]).sum((1, 2)) / positive.sum((1, 2))
    pixels = (~cell[5:]).mean()
    print(f"{workdir}: {outside.mean():.0%} of the positive attribution lies outside the cell, and "
          f"{pixels:.0%} of the pixels ({len(positive)} cells)")  # fmt: skip
    return run.class_names, images, gaussian_filter(maps, (0, 1, 1)), nucleus, cell


def main(free: str, confounded: str, out: str) -> None:
    """Explain both runs and draw the figure."""
    figure = Figure(figsize=(9, 7.4), layout="constrained")
    axes = figure.subplots(4, 5)
    for side, workdir in enumerate((free, confounded)):
        names, images, maps, nucleus, cell = explained(workdir)
        for column, name in enumerate(names):
            shown, drawn = axes[2 * side, column], axes[2 * side + 1, column]
            shown.imshow(images[column])
            shown.set_title(name if side == 0 else "", fontsize=9)
            limit = scale_of(maps[column])
            drawn.imshow(maps[column], cmap=SIGNED, vmin=-limit, vmax=limit)
            for mask, colour in ((cell[column], "0.35"), (nucleus[column], "black")):
                drawn.contour(mask, levels=[0.5], colors=colour, linewidths=0.9)
        axes[2 * side, 0].set_ylabel(TITLES[side], fontsize=9)
        axes[2 * side + 1, 0].set_ylabel("integrated gradients", fontsize=9)
    for axis in axes.flat:
        axis.set(xticks=[], yticks=[])
    drawing = io.BytesIO()
    figure.savefig(drawing, dpi=80)
    Image.open(drawing).convert("RGB").quantize(256).save(out, optimize=True)


if __name__ == "__main__":
    try:
        main(*sys.argv[1:4])
    except (InputError, TypeError) as error:
        sys.exit(f"error: {error}\n{__doc__}")
