# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Own images: from a folder to a report
#
# This tutorial trains a classifier on a folder of images, evaluates it on images of other
# patients and writes a report. It takes about a minute on two CPU cores.
#
# The first step draws a small folder of images, so the tutorial runs without any data. To use
# your own images, set `FOLDER` to your folder and skip that step.

# %%
from pathlib import Path

import jax
import matplotlib.pyplot as plt
import numpy as np
import tensorflow_datasets as tfds
from flax import nnx
from PIL import Image, ImageDraw

from cervix_jax import data, load_run, models, train_and_evaluate
from cervix_jax.config.base import base_config
from cervix_jax.evaluate.summary_text import summary
from cervix_jax.models.classifier import Classifier
from cervix_jax.models.layers import BatchNorm, Conv, Linear
from cervix_jax.report.page import write_page

HERE = Path("tutorial_own_images")
FOLDER = HERE / "images"  # set this to your own folder

# %% [markdown]
# ## The folder
#
# The folder has one subfolder per class. The name of each file starts with the patient:
# `large_nucleus/patient07_1.png`. The drawn cells differ in the size of the nucleus.


# %%
def draw_cell(rng: np.random.Generator, nucleus: float) -> Image.Image:
    """A cell of 64 x 64 pixels whose nucleus has a radius of `nucleus` pixels."""
    colour = rng.integers(-12, 13, 3)
    image = Image.new("RGB", (64, 64), tuple(np.array([225, 220, 232]) + colour))
    draw = ImageDraw.Draw(image)
    x, y = rng.uniform(28, 36, 2)
    for radius, stain in ((24, (170, 190, 215)), (nucleus, (90, 70, 140))):
        width, height = radius * rng.uniform(0.9, 1.1, 2)
        box = (x - width, y - height, x + width, y + height)
        draw.ellipse(box, fill=tuple(np.array(stain) + colour))
    noise = rng.normal(0, 8, (64, 64, 3))
    return Image.fromarray((np.asarray(image) + noise).clip(0, 255).astype(np.uint8))


rng = np.random.default_rng(0)
for patient in range(30):
    for name, radius in (("small_nucleus", 6), ("large_nucleus", 11)):
        (FOLDER / name).mkdir(parents=True, exist_ok=True)
        for number in range(2):
            cell = draw_cell(rng, radius * rng.uniform(0.85, 1.15))
            cell.save(FOLDER / name / f"patient{patient:02d}_{number}.png")

# %% [markdown]
# ## Prepare the images
#
# `group_pattern` is a regular expression that finds the patient in the path of an image. No
# patient then has images both in the training and in the test data. Without it, each image is its
# own group and the test accuracy may be too high.
#
# The images are read, checked and stored once below `data_dir`.

# %%
PATTERN = r"(?P<group>patient\d+)_"
dataset = data.load(
    "image_folder/default",
    manual_dir=FOLDER,
    data_dir=HERE / "prepared",
    settings={"group_pattern": PATTERN},
)
print(f"{len(dataset)} images of {len(set(dataset.groups))} patients")
print(dataset.class_counts)

figure, axes = plt.subplots(1, 6, figsize=(9, 1.9), layout="constrained")
for axis, index in zip(axes, np.linspace(0, len(dataset) - 1, 6).astype(int), strict=True):
    axis.imshow(dataset.decoded_source[index]["image"])
    axis.set_title(dataset.class_names[dataset.labels[index]], fontsize=8)
    axis.set_axis_off()
plt.show()

# %% [markdown]
# The prepared images are an ordinary data set of TensorFlow Datasets (TFDS). Any other program
# can read them, without this package and without TensorFlow.

# %%
source = tfds.builder_from_directory(dataset.path).as_data_source("train")
print(len(source), source[0]["filename"], source[0]["image"].shape)

# %% [markdown]
# ## Define a network
#
# Every network of this package works here, for example `config.model.name = "rcan"`. This
# tutorial uses a small one of its own, which trains in seconds. `Classifier` adds pooling,
# dropout and the last layer. Feature maps that pass through `perturb` are available to Grad-CAM.


# %%
class ThreeConvolutions(Classifier):
    """Three convolutions with batch normalisation."""

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
        """The feature maps by name, from images [B, H, W, 3]."""
        stem = perturb("stem", nnx.relu(self.stem(images)))
        stage1 = perturb("stage1", nnx.relu(self.stage1(stem)))
        stage2 = perturb("stage2", nnx.relu(self.stage2(stage1)))
        return {"stem": stem, "stage1": stage1, "stage2": stage2, "pre_logits_2d": stage2}


models.register("three_convolutions", ThreeConvolutions)

# %% [markdown]
# ## Train and evaluate
#
# `train_and_evaluate` trains the network, validates it after each epoch, keeps the best
# checkpoint and evaluates it on the test images. The function `show` gets the metrics of each
# epoch. Running this cell again resumes an interrupted run; a finished run is only evaluated
# again.

# %%
config = base_config("image_folder/default")
config.data.manual_dir = str(FOLDER)
config.data.data_dir = str(HERE / "prepared")
config.data.settings.group_pattern = PATTERN
config.model.name = "three_convolutions"
config.model.dropout = 0.2
config.image_size, config.batch_size, config.num_epochs = 64, 16, 12
config.ema_decay = 0.9  # a moving average over few steps, since the run is short

history = []


def show(step: int, epoch: int, values: dict[str, float]) -> None:
    """Keep the loss of each epoch."""
    history.append((epoch, values["train/loss"], values["val/loss"]))


report = train_and_evaluate(config, HERE / "run", on_epoch=show)
print(summary(report))

# %%
if history:  # empty if the run was finished before
    epochs, training, validation = zip(*history, strict=True)
    plt.figure(figsize=(5, 2.6), layout="constrained")
    plt.plot(epochs, training, label="training loss")
    plt.plot(epochs, validation, label="validation loss")
    plt.xlabel("epoch")
    plt.legend()
    plt.show()

# %% [markdown]
# ## Use the trained network
#
# `load_run` loads the best checkpoint. It accepts images of any size.

# %%
run = load_run(HERE / "run")
new = [np.asarray(draw_cell(rng, radius)) for radius in (6, 11)]
for row in run.predict(new):
    print({name: round(float(p), 3) for name, p in zip(run.class_names, row, strict=True)})

# %% [markdown]
# ## Write the report
#
# The report is one HTML file: metrics with confidence intervals, the confusion matrix, and
# correctly and wrongly classified test images with maps of the pixels that the score depends on.

# %%
path = write_page(HERE / "run", cases=8)
print(f"open {path} in a browser")
