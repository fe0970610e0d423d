"""A finished run of the small model, its test images as files, and the command in this process."""

import shutil
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from absl import flags
from absl.testing import flagsaver
from PIL import Image

from cervix_jax import models
from cervix_jax.data.experiment import open_data
from cervix_jax.distributed import make_mesh
from cervix_jax.evaluate import write_evaluation
from cervix_jax.inference import make_forward, predict_split
from cervix_jax.predict import __main__ as command
from cervix_jax.run import load_run
from cervix_jax.train import train_and_evaluate

sys.path.insert(0, str(Path(__file__).parents[1]))
import small


@pytest.fixture(scope="session")
def finished(tmp_path_factory, prepared):
    """The folder of a run of the small model, evaluated, and of the images of its test split."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(models._FACTORIES, "small", small.small)
        patch.setattr(models, "NAMES", models.NAMES)
        config = small.get_config(str(prepared))
        train_and_evaluate(config, folder)
        data = open_data(config, make_mesh())
        for index in data.indices("test").tolist():
            path = folder.parent / "images" / data.dataset.filenames[index]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data.dataset.encoded_image(index))
        yield folder


@pytest.fixture(scope="session")
def images(finished) -> Path:
    """The folder of the images of the test split, one folder a class."""
    return finished.parent / "images"


@pytest.fixture
def copies(images, tmp_path) -> Path:
    """The same, to be damaged."""
    return shutil.copytree(images, tmp_path / "images")


@pytest.fixture
def predict(finished):
    """Calls the command on images, with flags, on the finished run; gives its exit code."""
    before = set(flags.FLAGS)
    command.define_flags()

    def call(*arguments, **values):
        given = {"workdir": finished, "batch_size": 4} | values
        texts = {
            name: value if isinstance(value, bool | list | int | float) else str(value)
            for name, value in given.items()
        }
        with flagsaver.flagsaver(**texts):
            return command.main(["predict", *map(str, arguments)])

    yield call
    for name in set(flags.FLAGS) - before:
        delattr(flags.FLAGS, name)


@pytest.fixture(autouse=True)
def _leave_the_session_alone(monkeypatch):
    """Compiled programs stay where those of the session are, and hooks as they are."""
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(jax.config.jax_compilation_cache_dir))
    monkeypatch.setattr(command, "report_failures_once", lambda: None)


@pytest.fixture(scope="session")
def decided(finished, tmp_path_factory) -> tuple[Path, Path]:
    """The run with its validation evaluated too, and the folder of all of its 40 images."""
    folder = shutil.copytree(finished, tmp_path_factory.mktemp("decided") / "run")
    run, mesh = load_run(folder), make_mesh()
    data = open_data(run.config, mesh)
    forward = make_forward(run.graphdef, run.config.model.normalization, mesh)
    for split in ("val", "test"):
        found = predict_split(
            forward, run.variables, data.pipeline, data.indices(split), run.config.eval_batch_size
        )
        write_evaluation(folder / "evaluate", split, found, data, run.config, run.step)
    for number, name in enumerate(data.dataset.filenames):
        path = folder.parent / "cells" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data.dataset.encoded_image(number))
    return folder, folder.parent / "cells"


@pytest.fixture(scope="session")
def workdir(decided) -> Path:
    """The folder of that run."""
    return decided[0]


@pytest.fixture(scope="session")
def cells(decided) -> Path:
    """The folder of the images."""
    return decided[1]


@pytest.fixture(scope="session")
def field(cells, tmp_path_factory) -> Path:
    """A field of 150 x 110 pixels with cells in it; the lower right corner is empty."""
    image = Image.new("RGB", (150, 110), (230, 225, 235))
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
def undecided(workdir, tmp_path) -> Path:
    """The run as if nobody had evaluated its validation images."""
    folder = shutil.copytree(workdir, tmp_path / "run")
    (folder / "evaluate" / "test_decisions.json").unlink()
    return folder
