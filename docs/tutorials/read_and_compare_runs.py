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
# # Read a checkpoint and compare two runs
#
# This tutorial trains two small runs, reads the weights of one with this package and without it,
# and compares the two runs on their common test images. It takes about a minute on two CPU cores.
# To use your own runs, set `FIRST` and `SECOND` to their folders and skip the training.

# %%
from pathlib import Path

import jax
import matplotlib.pyplot as plt
import numpy as np
import orbax.checkpoint as ocp
from flax import nnx

from cervix_jax import load_run, models, train_and_evaluate
from cervix_jax.config.base import base_config
from cervix_jax.evaluate.sides import read_side
from cervix_jax.models.classifier import Classifier
from cervix_jax.models.layers import BatchNorm, Conv, Linear
from cervix_jax.statistics.side_by_side import compare
from cervix_jax.statistics.table import PredictionTable, align

HERE = Path("tutorial_compare_runs")
FIRST, SECOND = HERE / "learning_rate_0.003", HERE / "learning_rate_0.0001"

# %% [markdown]
# ## Two runs
#
# A small network makes the tutorial quick. A process that loads a run of a registered network
# registers the network first; for the networks of this package that is not needed.


# %%
class TwoConvolutions(Classifier):
    """Two convolutions with batch normalisation."""

    def __init__(self, *, num_classes: int, dtype, dropout_rate: float = 0.0):
        super().__init__(num_classes=num_classes, dropout_rate=dropout_rate, dtype=dtype)
        self.conv1, self.norm1 = Conv(3, 16, 5, stride=2, dtype=dtype), BatchNorm(16, dtype=dtype)
        self.conv2, self.norm2 = Conv(16, 32, 3, stride=2, dtype=dtype), BatchNorm(32, dtype=dtype)
        self.classifier = Linear(32, num_classes)

    @property
    def linear(self) -> Linear:
        """The last layer."""
        return self.classifier

    def endpoints(self, images: jax.Array, perturb) -> dict[str, jax.Array]:
        """The feature maps by name, from images [B, H, W, 3]."""
        stem = perturb("stem", nnx.relu(self.norm1(self.conv1(images))))
        stage1 = perturb("stage1", nnx.relu(self.norm2(self.conv2(stem))))
        return {"stem": stem, "stage1": stage1, "pre_logits_2d": stage1}


models.register("two_convolutions", TwoConvolutions)

# %% [markdown]
# The runs differ in the learning rate alone: 0.003 and 0.0001. The images are drawn cells
# (`cervix_phantom`), so nothing is downloaded. Both runs have the same test images.

# %%
for folder, rate in ((FIRST, 3e-3), (SECOND, 1e-4)):
    config = base_config("cervix_phantom/single_cell")
    config.model.name, config.model.dropout = "two_convolutions", 0.0
    config.ema_decay = 0.9  # a moving average over few steps, since the run is short
    config.data.data_dir = str(HERE / "prepared")
    config.data.settings.clusters_per_class = 10
    config.data.settings.cells_per_cluster = 4
    config.image_size, config.batch_size, config.num_epochs = 32, 20, 20
    config.learning_rate = rate
    report = train_and_evaluate(config, folder)
    print(f"{folder.name}: accuracy {report['accuracy']:.2f} on {report['n']} test images")

# %% [markdown]
# ## Read the weights with this package
#
# `load_run` restores the checkpoint with the best validation result (or another: `step="latest"`,
# or a step number). `run.variables` holds the weights as nested dictionaries of arrays.

# %%
run = load_run(FIRST, step="best")
print(f"{run.config.model.name}, step {run.step}, classes {', '.join(run.class_names)}")
count = sum(array.size for array in jax.tree.leaves(run.variables["params"]))
print(f"{count:,} parameters")

size = run.config.image_size
grey = np.full((1, size, size, 3), 128, np.uint8)
print("logits of a grey image:", run.logits(grey)[0].round(2))
_, features = run.model(run.preprocess(grey))
print({name: tuple(value.shape) for name, value in features.items()})

# %% [markdown]
# ## Read the weights without this package
#
# A checkpoint is in the format of Orbax. This function needs only JAX, NumPy and Orbax.


# %%
def read_state(workdir: str | Path, step: int) -> dict:
    """The state of a checkpoint as nested dictionaries of NumPy arrays."""
    state = Path(workdir).resolve() / "checkpoints" / str(step) / "state"
    with ocp.PyTreeCheckpointer() as reader:
        tree = reader.metadata(state).item_metadata.tree
        as_numpy = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), tree)
        return reader.restore(state, args=ocp.args.PyTreeRestore(restore_args=as_numpy))


state = read_state(FIRST, run.step)
print("parts of the state:", ", ".join(sorted(state)))
# The evaluation uses the moving average of the weights. Runs with ema_decay=0 have none.
evaluated = state.get("ema") or {name: state[name] for name in ("params", "stats")}
jax.tree.map(np.testing.assert_array_equal, evaluated["params"], run.variables["params"])
print("both ways give the same weights")

for path, array in jax.tree.leaves_with_path(evaluated["params"])[:5]:
    print(jax.tree_util.keystr(path, simple=True, separator="/"), array.dtype, array.shape)

# %% [markdown]
# ## Compare the runs
#
# Each run keeps the predictions of its test images. `compare` pairs them image by image. For
# every metric it gives both values, their difference and a 95 % confidence interval from
# resampled groups
# (here clusters of cells). The p-value of the accuracy comes from a paired test. An interval that
# contains 0 means that the data do not decide which run is better.

# %%
sides = read_side(FIRST), read_side(SECOND)
comparison = compare(*sides)
print(comparison.text())

# %% [markdown]
# ## Images on which the runs disagree
#
# These images are classified correctly by one run only. The most confident errors come first.


# %%
def disagreements(first: PredictionTable, second: PredictionTable) -> list[tuple[str, str]]:
    """File names and descriptions of images that one run alone classifies correctly."""
    second = align(first, second, ("first", "second"))  # in the order of the first
    rows = []
    for number, name in enumerate(first.filenames):
        if first.correct[number] == second.correct[number]:
            continue
        right, wrong = ("first", second) if first.correct[number] else ("second", first)
        p = wrong.probabilities[number]
        truth, predicted = first.class_names[first.labels[number]], first.class_names[p.argmax()]
        rows.append((-p.max(), name, f"{truth}; only the {right} run; other: {predicted}"))
    return [(name, text) for _, name, text in sorted(rows)]


(first,), (second,) = (side.tables.values() for side in sides)
found = disagreements(first, second)
print(f"{len(found)} of {len(first.filenames)} images")
for name, text in found[:10]:
    print(f"{name}: {text}")

# %%
data = run.open_data()
index = {name: number for number, name in enumerate(data.dataset.filenames)}
shown = [name for name, _ in found[:5]] or list(first.filenames[:5])
figure, axes = plt.subplots(1, len(shown), figsize=(2 * len(shown), 2), squeeze=False)
for axis, name in zip(axes[0], shown, strict=True):
    axis.imshow(data.dataset.decoded_source[index[name]]["image"])
    axis.set_title(first.class_names[data.dataset.labels[index[name]]], fontsize=7)
    axis.set_axis_off()
plt.show()
