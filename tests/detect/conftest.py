"""A detector's run of seconds, on a few drawn fields."""

from pathlib import Path

import pytest

from cervix_jax.config.base import base_config
from cervix_jax.training.run import train_and_evaluate


@pytest.fixture(scope="session")
def detector_run(tmp_path_factory) -> Path:
    """The workdir of a detector that has seen two fields of each of the phantom's classes."""
    folder = tmp_path_factory.mktemp("detector") / "run"
    config = base_config("nuclei/phantom")
    config.update({"image_size": 64, "batch_size": 8, "eval_batch_size": 8, "num_epochs": 2})
    config.model.update({"name": "nucleus_detector", "dropout": 0.0})
    config.learning_rate = 1e-2
    config.checkpoint.best_metric = "loss"
    config.data.settings.update({"phantom_fields": 3, "side": 64})
    config.data.data_dir = str(tmp_path_factory.mktemp("prepared"))
    config.split.folds = 3
    train_and_evaluate(config, folder)
    return folder
