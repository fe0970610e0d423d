"""Gates of channel attention as the command writes them."""

import csv
import types

import jax
import numpy as np
import pytest
from flax import nnx
from PIL import Image

from cervix_jax import models
from cervix_jax.config.base import base_config
from cervix_jax.explanations.channel_attention import write_gates
from cervix_jax.models.densenet import DenseNet
from cervix_jax.runs import run

NAMES = ["a", "b", "c"]
LABELS = np.array([0, 0, 2, 2, 2])


def make_run(attention):
    def tiny(*, attention="none", dropout_rate=0.0, **fixed):
        return DenseNet(
            blocks=(1, 1, 1, 1), attention=attention, dropout_rate=dropout_rate, **fixed
        )

    config = base_config("cervix_phantom/single_cell")
    config.model.update({"name": "tiny", "attention": attention})
    config.image_size = 32
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(models._FACTORIES, "tiny", tiny)
        patch.setattr(models, "NAMES", (*models.NAMES, "tiny"))
        model = run.build_model(config, len(NAMES), 0)
        _, params, stats = nnx.split(model, nnx.Param, ...)
        variables = {"params": nnx.to_pure_dict(params), "stats": nnx.to_pure_dict(stats)}
        return run.Run(config, {"class_names": NAMES}, variables, step=1)


@pytest.fixture
def selection():
    pixels = np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3), np.uint8)
    dataset = types.SimpleNamespace(title="x/y", name="x/y", class_names=tuple(NAMES))
    images = pixels.astype(np.float32) / 255
    return types.SimpleNamespace(dataset=dataset, images=images, labels=LABELS)


def test_the_table_has_the_mean_gate_of_every_class_and_channel(selection, tmp_path):
    found = make_run("last_layer")
    assert write_gates(found, selection, tmp_path, batch_size=5) == ("attention/denseblock4",)
    with (tmp_path / "channel_attention.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    gates = jax.jit(lambda fn, x: fn(x)[1]["attention/denseblock4"])(
        found.features_fn, selection.images
    )
    gates = np.asarray(gates).reshape(5, -1)
    assert len(rows) == 2 * gates.shape[1]  # class b has no image
    by_place = {(row["class"], int(row["channel"])): row for row in rows}
    for name, label in (("a", 0), ("c", 2)):
        own = gates[label == LABELS]
        for channel in (0, gates.shape[1] - 1):
            row = by_place[name, channel]
            assert int(row["n"]) == len(own)
            assert float(row["mean"]) == pytest.approx(own[:, channel].mean(), rel=1e-4)
            spread = own[:, channel].std(ddof=1)
            assert float(row["deviation"]) == pytest.approx(spread, rel=1e-2, abs=1e-6)
    with Image.open(tmp_path / "channel_attention.png") as picture:
        assert picture.width > picture.height


def test_a_network_without_gates_leaves_nothing_behind(selection, tmp_path):
    assert write_gates(make_run("none"), selection, tmp_path, batch_size=5) == ()
    assert not list(tmp_path.iterdir())
