"""Draw a t-SNE map of the features before a run's last layer, by class and split.

python examples/features_to_picture.py runs/rcan features.png
python examples/features_to_picture.py runs/rcan features.npz    # features as numbers

Large distances in a t-SNE map have no meaning. The map shows which classes and splits overlap.
"""

import sys
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from sklearn.manifold import TSNE

from cervix_jax import InputError, load_run
from cervix_jax.figures import drawable, save

MARKERS = {"train": ".", "val": "^", "test": "o"}
MOST = 2000  # maximum number of images; the time of t-SNE grows with its square


def main(workdir: str, out: str) -> None:
    """Extract the features, project them, and draw the map."""
    run = load_run(workdir)
    data = run.open_data(progress=True)
    chosen = np.arange(len(data.dataset))
    if len(chosen) > MOST:
        chosen = np.sort(np.random.default_rng(0).choice(chosen, MOST, replace=False))
    found = run.features(data.pipeline.images(chosen), names=["pre_logits", "logits"])
    features, logits = found["pre_logits"], found["logits"]
    labels, splits = np.asarray(data.dataset.labels)[chosen], data.splits[chosen]
    if out.endswith(".npz"):
        groups = np.array(data.dataset.groups)[chosen]
        np.savez(out, features=features, logits=logits, labels=labels, splits=splits, groups=groups)
        print(f"{features.shape[0]} x {features.shape[1]} features written to {out}")
        return
    perplexity = min(30.0, (len(chosen) - 1) / 3)
    points = TSNE(perplexity=perplexity, init="pca", random_state=0).fit_transform(features)

    figure = Figure(figsize=(7.5, 6), layout="constrained")
    axes = figure.subplots()
    colours = matplotlib.color_sequences["tab10"]
    for split, marker in MARKERS.items():
        for label in range(len(run.class_names)):
            kept = (splits == split) & (labels == label)
            shade = 0.35 if split == "train" else 0.9
            axes.scatter(*points[kept].T, s=24, marker=marker, color=colours[label], alpha=shade)
    names = [*drawable(run.class_names), *MARKERS]
    keys = [axes.scatter([], [], color=colours[label]) for label in range(len(run.class_names))]
    keys += [axes.scatter([], [], color="grey", marker=marker) for marker in MARKERS.values()]
    legend = axes.legend(keys, ["-"] * len(keys), fontsize=8, loc="center left",
                         bbox_to_anchor=(1, 0.5))  # fmt: skip
    for text, name in zip(legend.get_texts(), names, strict=True):
        text.set_text(name)  # set afterwards, because matplotlib hides labels that start with "_"
    axes.set(xticks=[], yticks=[], title=f"{run.config.model.name} on {data.dataset.name}, t-SNE")
    save(figure, Path(out))
    print(f"{len(chosen)} images written to {out}")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    try:
        main(*sys.argv[1:])
    except (InputError, OSError) as error:
        sys.exit(f"error: {error}")
