r"""Train your own network on your own images.

python examples/own_dataset_and_model.py my_cells runs/own '^(?P<group>.+)/[^/]+$'

`my_cells` contains one folder for each class, or a list `images.csv` with path, label and group.
The last argument is a regular expression that finds the group of an image, such as its patient, in
its path below `my_cells`; here all images of one folder are a group. All images of a group are put
into the same split. Without this argument, images of one patient can be in both training and test.
See `tfds_builders/image_folder/README.md`.
"""

import sys

import jax
from flax import nnx

from cervix_jax import InputError, load_run, models
from cervix_jax.config.base import base_config
from cervix_jax.evaluate.summary_text import summary
from cervix_jax.models.classifier import Classifier
from cervix_jax.models.layers import BatchNorm, Conv, Linear
from cervix_jax.training.run import train_and_evaluate


class ThreeConvolutions(Classifier):
    """A small network; `Classifier` adds pooling, dropout and the classifier to `endpoints`."""

    def __init__(self, *, num_classes: int, dtype, dropout_rate: float = 0.2, width: int = 16):
        super().__init__(num_classes=num_classes, dropout_rate=dropout_rate, dtype=dtype)
        self.stem = Conv(3, width, 3, stride=2, dtype=dtype)
        self.stage1 = nnx.Sequential(
            Conv(width, 2 * width, 3, stride=2, dtype=dtype), BatchNorm(2 * width, dtype=dtype)
        )
        self.stage2 = nnx.Sequential(
            Conv(2 * width, 4 * width, 3, stride=2, dtype=dtype), BatchNorm(4 * width, dtype=dtype)
        )
        self.classifier = Linear(4 * width, num_classes)

    @property
    def linear(self) -> Linear:
        """The last layer."""
        return self.classifier

    def endpoints(self, images: jax.Array, perturb) -> dict[str, jax.Array]:
        """The feature maps of images [B, H, W, 3]."""
        # Grad-CAM can explain every feature map that passes through `perturb`, by its name.
        stem = perturb("stem", nnx.relu(self.stem(images)))
        stage1 = perturb("stage1", nnx.relu(self.stage1(stem)))
        stage2 = perturb("stage2", nnx.relu(self.stage2(stage1)))
        return {"stem": stem, "stage1": stage1, "stage2": stage2, "pre_logits_2d": stage2}


def main(folder: str, workdir: str, group_pattern: str = "", epochs: int = 20) -> None:
    """Train and evaluate the network, then load the run again."""
    # Each process that loads the run must register the network first. Alternatively, define an
    # entry point of the group cervix_jax.models in your pyproject.toml:
    # three_convolutions = "my_package:ThreeConvolutions".
    models.register("three_convolutions", ThreeConvolutions)
    config = base_config("image_folder/default")
    config.data.manual_dir = folder
    config.data.settings.group_pattern = group_pattern or None
    config.model.name = "three_convolutions"
    config.model.dropout = 0.2
    config.image_size, config.num_epochs, config.batch_size = 64, epochs, 16
    print(summary(train_and_evaluate(config, workdir)))
    run = load_run(workdir)
    print(f"step {run.step} of {workdir}, classes {', '.join(run.class_names)}")


if __name__ == "__main__":
    if len(sys.argv) not in (3, 4):
        sys.exit(__doc__)
    try:
        given, run_folder, *pattern = sys.argv[1:]
        main(given, run_folder, "".join(pattern))
    except InputError as error:
        sys.exit(f"error: {error}")
