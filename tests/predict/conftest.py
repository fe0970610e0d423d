"""A trained run, its images as files, and the command in this process."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from absl import flags
from absl.testing import flagsaver
from PIL import Image
from predicted_rows import glass
from small import get_config

from cervix_jax.data.experiment import open_data
from cervix_jax.distributed import make_mesh
from cervix_jax.evaluate.write import write_evaluation
from cervix_jax.predict import __main__ as command
from cervix_jax.runs.inference import make_forward, predict_split
from cervix_jax.runs.run import load_run
from cervix_jax.training.run import train_and_evaluate


@pytest.fixture(scope="module")
def predict():
    """Calls the command with images and flags; gives its exit code."""
    before = set(flags.FLAGS)
    command.define_flags()
    names = set(flags.FLAGS) - before

    def call(*images, **values):
        with flagsaver.flagsaver(**{name: _plain(value) for name, value in values.items()}):
            return command.main(["predict", *map(str, images)])

    yield call
    for name in names:
        delattr(flags.FLAGS, name)


def _plain(value):
    return str(value) if isinstance(value, Path) else value


@pytest.fixture(scope="session")
def trained_small(prepared, tmp_path_factory):
    """A run of the small model with evaluated validation and test images, and its data."""
    folder = tmp_path_factory.mktemp("small")
    train_and_evaluate(get_config(str(prepared)), folder)
    run, mesh = load_run(folder), make_mesh()
    data = open_data(run.config, mesh)
    forward = make_forward(run.graphdef, run.config.model.normalization, mesh)
    # Its own validation images are too few for any conformal set; 12 are enough for one of 0.9.
    chosen = {"val": data.indices("train")[:12], "test": data.indices("test")}
    for split, indices in chosen.items():
        found = predict_split(
            forward, run.variables, data.pipeline, indices, run.config.eval_batch_size
        )
        write_evaluation(folder / "evaluate", split, found, data, run.config, run.step)
    return folder, data


@pytest.fixture(scope="session")
def workdir(trained_small) -> Path:
    """The folder of that run."""
    return trained_small[0]


@pytest.fixture(scope="session")
def cells(trained_small, tmp_path_factory) -> Path:
    """The 40 images of the run's data set as files, bytes as they were."""
    folder, data = tmp_path_factory.mktemp("cells"), trained_small[1]
    for number, name in enumerate(data.dataset.filenames):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data.dataset.encoded_image(number))
    return folder


@pytest.fixture(scope="session")
def field(cells, tmp_path_factory) -> Path:
    """A field of 150 x 110 pixels with cells in it; the lower right corner is empty."""
    image = glass(150, 110)
    for number, path in enumerate(sorted(cells.rglob("*.png"))[::7]):
        cell = Image.open(path).convert("RGB").resize((36, 36))
        image.paste(cell, (number % 3 * 37, number // 3 * 37))
    path = tmp_path_factory.mktemp("fields") / "field.png"
    image.save(path)
    return path


@pytest.fixture(scope="session")
def field_pixels(field) -> np.ndarray:
    """uint8 [110, 150, 3]."""
    return np.asarray(Image.open(field))


@pytest.fixture
def without_decisions(workdir, tmp_path) -> Path:
    """The run as if nobody had evaluated its validation images."""
    folder = tmp_path / "run"
    shutil.copytree(workdir, folder)
    os.remove(folder / "evaluate" / "test_decisions.json")
    return folder
