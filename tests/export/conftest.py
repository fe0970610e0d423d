"""An export of the finished tiny run, and an untrained run with every layer that has two forms."""

import shutil

import jax
import numpy as np
import pytest
from absl import flags
from absl.testing import flagsaver
from flax import nnx

from cervix_jax import models
from cervix_jax.config.base import base_config
from cervix_jax.export import __main__ as command
from cervix_jax.models.build import build_model
from cervix_jax.models.classifier import Classifier
from cervix_jax.models.cpu.depthwise import DepthwiseConv
from cervix_jax.models.cpu.pooling import max_pool
from cervix_jax.models.layers import BatchNorm, Conv, Linear
from cervix_jax.runs.run import Run

NAMES = ("normal", "abnormal", "other")


@pytest.fixture(scope="session", autouse=True)
def packages():
    """Skip without the packages of the extra `export`."""
    pytest.importorskip("flatbuffers")
    pytest.importorskip("safetensors")


class TwoForms(Classifier):
    """3x3 convolution of a large image, max-pooling, depthwise and strided 1x1 convolution."""

    def __init__(self, *, num_classes: int, dropout_rate: float, dtype):
        super().__init__(num_classes=num_classes, dropout_rate=dropout_rate, dtype=dtype)
        self.conv, self.norm = Conv(3, 8, 3, dtype=dtype), BatchNorm(8, dtype=dtype)
        self.depthwise = DepthwiseConv(8, 5, dtype=dtype)
        self.point = Conv(8, 16, 1, stride=2, dtype=dtype)
        self.classifier = Linear(16, num_classes)

    @property
    def linear(self) -> Linear:
        return self.classifier

    def endpoints(self, images: jax.Array, perturb) -> dict[str, jax.Array]:
        stem = max_pool(nnx.relu(self.norm(self.conv(images))))
        last = nnx.relu(self.point(nnx.relu(self.depthwise(stem))))
        return {"stem": stem, "pre_logits_2d": last}


def make_two_forms(*, dropout_rate: float = 0.0, **fixed) -> TwoForms:
    return TwoForms(dropout_rate=dropout_rate, **fixed)


@pytest.fixture(scope="session")
def two_forms():
    """A run of `TwoForms` with random weights and statistics; 32 pixels, dropout in training."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(models._FACTORIES, "two_forms", make_two_forms)
        patch.setattr(models, "NAMES", (*models.NAMES, "two_forms"))
        config = base_config("cervix_phantom/single_cell")
        config.model.update({"name": "two_forms", "dropout": 0.5})
        config.image_size = 32
        _, params, stats = nnx.split(build_model(config, len(NAMES)), nnx.Param, ...)
        random = np.random.default_rng(0)

        def draw(array: jax.Array) -> np.ndarray:
            if array.ndim == 1:
                return random.uniform(0.5, 1.5, array.shape).astype(np.float32)
            deviation = np.sqrt(2 / np.prod(array.shape[:-1]))
            return random.normal(0, deviation, array.shape).astype(np.float32)

        pure = {"params": nnx.to_pure_dict(params), "stats": nnx.to_pure_dict(stats)}
        variables = jax.tree.map(draw, pure)
        dataset = {"name": "made/up", "version": "1.0.0", "class_names": NAMES}
        dataset |= {"group_feature": "slide", "examples": {"train": 5}, "leakage": 0.25}
        yield Run(config, dataset, variables, step=7)


@pytest.fixture(scope="session")
def export_command():
    """Calls the command with flags, in this process (which knows the tiny model)."""

    def call(**values):
        before = set(flags.FLAGS)
        command.define_flags()
        try:
            with flagsaver.flagsaver(**{name: str(value) for name, value in values.items()}):
                command.main([])
        finally:  # other commands have flags of the same names
            for name in set(flags.FLAGS) - before:
                delattr(flags.FLAGS, name)

    return call


@pytest.fixture(scope="session")
def exported(trained, tmp_path_factory, export_command):
    """The export of the finished run."""
    out = tmp_path_factory.mktemp("exported") / "model"
    export_command(workdir=trained[0], out=out)
    return out


@pytest.fixture
def copy(exported, tmp_path):
    """A copy of the export that may be damaged."""
    return shutil.copytree(exported, tmp_path / "copy")
