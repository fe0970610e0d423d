"""Train, evaluate, explain and predict from Python instead of the command line.

    python examples/python_first.py runs/first

The script trains a small network on 240 cells of the phantom, the built-in synthetic data set, so
it needs no download. It takes about a minute on two CPU cores.
"""

import sys
from pathlib import Path

from cervix_jax import evaluate_run, explain_run, load_run, predict_images, train_and_evaluate
from cervix_jax.config.base import base_config


def make_config():
    """Config of a run that takes a minute; every field of `base_config` can be set this way."""
    config = base_config("cervix_phantom/single_cell")
    config.model.name = "efficientnet_lite0"
    config.image_size, config.batch_size, config.num_epochs = 32, 16, 3
    config.data.settings.clusters_per_class = 12
    config.data.settings.cells_per_cluster = 4
    return config


def main(folder: str, config=None) -> None:
    """Train, evaluate, explain and predict in one folder."""
    train_and_evaluate(config or make_config(), folder)
    run = load_run(folder)
    report = evaluate_run(run, "val")
    print(f"{run.config.model.name}: accuracy {report['accuracy']:.3f} on {report['n']} images")
    explained = explain_run(run, methods=["saliency", "grad_cam"], images=8)
    print("maps of", ", ".join(explained["methods"]), "written to", explained["folder"])
    data = run.open_data()
    cell = Path(folder) / "cell.png"
    cell.write_bytes(data.dataset.encoded_image(data.indices("test")[0]))
    predict_images(run, [cell], out=Path(folder) / "predicted.csv", overwrite=True)
    print((Path(folder) / "predicted.csv").read_text())


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
