"""A run of the small model with evaluated validation and test images, to report on."""

import shutil
from pathlib import Path

import pytest
from absl import flags
from absl.testing import flagsaver
from small import get_config

from cervix_jax.evaluate.workflow import evaluate_run
from cervix_jax.report import __main__ as command
from cervix_jax.training.run import train_and_evaluate


@pytest.fixture(scope="session")
def small_run(prepared, tmp_path_factory) -> Path:
    """The folder of the run; read only."""
    folder = tmp_path_factory.mktemp("reported") / "small"
    train_and_evaluate(get_config(str(prepared)), folder)
    evaluate_run(folder)  # validation images too, which decisions need
    return folder


@pytest.fixture
def copied(small_run, tmp_path) -> Path:
    """A copy of the run that a test may change."""
    return Path(shutil.copytree(small_run, tmp_path / "small"))


@pytest.fixture(scope="module")
def report():
    """Calls the command with runs and flags."""
    before = set(flags.FLAGS)
    command.define_flags()

    def call(*runs, **values):
        with flagsaver.flagsaver(**values):
            command.main(["report", *map(str, runs)])

    yield call
    for name in set(flags.FLAGS) - before:
        delattr(flags.FLAGS, name)
