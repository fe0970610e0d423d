"""Explain one image: draw the pixels that raise or lower the score of the predicted class.

python examples/saliency_of_one_image.py runs/rcan cell.png explained.png

The picture shows the image at the network's input size, integrated gradients from a black baseline,
and Grad-CAM. Red marks evidence for the class and blue evidence against it. Each map has its own
scale, shown by its colour bar. A map is no proof; `cervix_jax.explain.measures` tests maps.
"""

import sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from cervix_jax import InputError, explain, load_run
from cervix_jax.data.decode import resize_square
from cervix_jax.explain.pictures import SIGNED, scale_of
from cervix_jax.figures import drawable, save
from cervix_jax.files.images import read_rgb


def main(workdir: str, image_path: str, picture: str) -> None:
    """Predict, explain and draw."""
    run = load_run(workdir)
    pixels = np.asarray(read_rgb(image_path))
    probabilities = run.predict([pixels])[0]
    target = int(probabilities.argmax())
    print(f"{run.class_names[target]} {probabilities[target]:.3f}")

    images, targets = run.preprocess([pixels]), np.array([target])
    black = explain.baselines.black(run.input_range)  # black after preprocessing; not zero
    common = {"baselines": black, "output": "logit"}
    gradients = explain.integrated_gradients(run.logits_fn, images, targets, steps=64, **common)
    found = explain.measures.completeness(run.logits_fn, images, targets, gradients, **common)
    # The error is small if the number of steps is sufficient.
    print(f"completeness error (sum of the map - rise of the score): {float(found.delta[0]):+.1e}")
    # The last feature map of small images is a single value; stage3 is finer.
    cam = explain.grad_cam(run.features_fn, images, targets, feature_map="stage3")
    shown = resize_square(pixels, run.config.image_size, run.config.data.resize)
    maps = {"integrated gradients": gradients[0].sum(-1), "Grad-CAM": np.squeeze(cam[0])}

    figure = Figure(figsize=(10, 3.4), layout="constrained")
    axes = figure.subplots(1, 3)
    axes[0].imshow(shown)
    axes[0].set_title(
        f"{drawable(run.class_names)[target]}, {probabilities[target]:.2f}", fontsize=10
    )
    for axis, (title, values) in zip(axes[1:], maps.items(), strict=True):
        limit = scale_of(values) or 1.0
        drawn = axis.imshow(values, cmap=SIGNED, vmin=-limit, vmax=limit)
        axis.set_title(title, fontsize=10)
        figure.colorbar(drawn, ax=axis, shrink=0.8)
    for axis in axes:
        axis.set_axis_off()
    save(figure, Path(picture))
    print(f"written to {picture}")


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    try:
        main(*sys.argv[1:])
    except (InputError, OSError) as error:
        sys.exit(f"error: {error}")
