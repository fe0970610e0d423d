"""Batch statistics of groups: those of separate batches, on any number of devices."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from cervix_jax import models
from cervix_jax.errors import InputError
from cervix_jax.models.classifier import Classifier
from cervix_jax.models.densenet import Attention, DenseNet
from cervix_jax.models.layers import BatchNorm, Linear, batch_moments
from cervix_jax.models.resnet import ResNet
from cervix_jax.training.check import check_config
from cervix_jax.training.run import training_mesh

TESTS = Path(__file__).parents[1]


@pytest.fixture
def in_float64(monkeypatch):
    """All arithmetic in float64, so that rounding can excuse no difference.

    In float32 it puts values on the other side of a kink, of which an untrained ResNet-50 makes
    several per cent of its gradients' norm.
    """
    before = jax.config.jax_enable_x64  # pyright: ignore[reportAttributeAccessIssue]
    jax.config.update("jax_enable_x64", True)
    monkeypatch.setattr(jnp, "float32", jnp.float64)
    yield
    jax.config.update("jax_enable_x64", before)


def trained_once(name, **options):
    """A function of images and labels: loss, gradients and running statistics of that batch."""
    model = models.create(name, num_classes=5, dropout_rate=0.0, dtype=jnp.float64, **options)
    graphdef, params, stats = nnx.split(model, nnx.Param, ...)
    params, stats = jax.tree.map(
        lambda x: x.astype(jnp.float64), (nnx.to_pure_dict(params), nnx.to_pure_dict(stats))
    )

    @jax.jit
    def gradient(params, stats, images, labels):
        def loss(params):
            model = nnx.merge(graphdef, params, stats)
            logits, _ = model(images)
            loss = optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()
            return loss, nnx.state(model, nnx.BatchStat)

        (loss, new), grads = jax.value_and_grad(loss, has_aux=True)(params)
        return {"loss": loss, "stats": nnx.to_pure_dict(new), "grads": grads}

    return lambda images, labels: gradient(params, stats, images, labels)


def difference(found, expected) -> float:
    """Of two trees, as a share of the norm of the second."""
    off = jax.tree.map(jnp.subtract, found, expected)
    return float(optax.tree.norm(off) / optax.tree.norm(expected))


def shallow_resnet(*, dropout_rate: float, **fixed):
    return ResNet(blocks=(2, 1, 1, 1), dropout_rate=dropout_rate, **fixed)


def shallow_densenet(*, dropout_rate: float, attention: Attention = "none", **fixed):
    return DenseNet(blocks=(2, 1, 1, 2), attention=attention, dropout_rate=dropout_rate, **fixed)


# Of the two deep families every kind of layer, in fewer of them: a ResNet-50 takes minutes.
# RAN-92 has the layers of a ResNet, and takes longer still.
NETWORKS = [
    ("shallow_resnet", {}),
    ("shallow_densenet", {}),
    ("shallow_densenet", {"remat": True}),
    ("shallow_densenet", {"attention": "last_layer"}),
    ("efficientnet_lite0", {}),
]


@pytest.mark.slow
@pytest.mark.usefixtures("in_float64")
@pytest.mark.parametrize(("name", "options"), NETWORKS)
def test_groups_are_separate_batches(monkeypatch, name, options):
    monkeypatch.setitem(models._FACTORIES, "shallow_resnet", shallow_resnet)
    monkeypatch.setitem(models._FACTORIES, "shallow_densenet", shallow_densenet)
    rng = np.random.default_rng(0)
    images = rng.normal(size=(8, 64, 64, 3))
    images[:4] *= 2  # the groups differ
    labels = np.arange(8) % 5
    grouped, alone = trained_once(name, norm_groups=4, **options), trained_once(name, **options)
    together = grouped(images, labels)
    apart = [alone(images[i : i + 4], labels[i : i + 4]) for i in (0, 4)]
    expected = jax.tree.map(lambda a, b: (a + b) / 2, *apart)
    for part in ("loss", "stats", "grads"):
        assert difference(together[part], expected[part]) < 1e-8, part
    # Other groups of the same images are seen.
    mixed = [0, 4, 1, 5, 2, 6, 3, 7]
    for part in ("stats", "grads"):
        assert difference(grouped(images[mixed], labels[mixed])[part], expected[part]) > 0.01, part


def test_running_statistics_are_means_over_groups():
    x = np.random.default_rng(0).normal(size=(6, 3, 3, 4)).astype(np.float32)
    x *= np.arange(1, 7)[:, None, None, None]
    norm = BatchNorm(4)
    norm.norm_groups = 2
    y = norm(jnp.asarray(x))
    groups = x.reshape(3, 18, 4)
    np.testing.assert_allclose(norm.mean[...], 0.1 * groups.mean(1).mean(0), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(norm.var[...], 0.9 + 0.1 * groups.var(1, ddof=1).mean(0), rtol=1e-4)
    centred = (groups - groups.mean(1, keepdims=True)) / np.sqrt(
        groups.var(1, keepdims=True) + 1e-5
    )
    np.testing.assert_allclose(y.reshape(3, 18, 4), centred, rtol=1e-3, atol=1e-4)
    norm.eval()
    whole = norm(jnp.asarray(x))  # no groups in evaluation
    np.testing.assert_allclose(
        norm(jnp.asarray(x[:5])), whole[:5], rtol=1e-6
    )  # no groups in evaluation


def test_images_that_do_not_divide_into_groups_are_refused():
    with pytest.raises(InputError, match="6 images cannot be divided into groups of norm_groups=4"):
        batch_moments(jnp.ones((6, 2, 2, 3)), 4)


class Foreign(Classifier):
    """A network with Flax's own normalisation."""

    def __init__(self, *, num_classes: int, dtype, dropout_rate: float = 0.0):
        super().__init__(num_classes=num_classes, dropout_rate=dropout_rate, dtype=dtype)
        self.norm = nnx.BatchNorm(3, rngs=nnx.Rngs(0))
        self.classifier = Linear(3, num_classes)


def test_a_normalisation_that_knows_no_groups_is_refused(monkeypatch):
    monkeypatch.setitem(models._FACTORIES, "foreign", Foreign)
    models.create("foreign", num_classes=5)
    with pytest.raises(InputError, match=r"its norm is a BatchNorm, .* support norm_groups=2"):
        models.create("foreign", num_classes=5, norm_groups=2)


def test_a_batch_must_divide_into_groups(tiny_config):
    config = tiny_config()
    config.batch_size = 24
    config.model.norm_groups = 5
    with pytest.raises(InputError, match=r"batch_size=24 does not .*norm_groups=5 .*multiple of 5"):
        check_config(config)
    config.model.norm_groups, config.accumulation_steps = 4, 4
    with pytest.raises(InputError, match=r"in each of accumulation_steps=4; use a multiple of 16"):
        check_config(config)
    config.accumulation_steps = 2
    check_config(config)
    config.model.norm_groups = 12
    assert training_mesh(config).devices.size == 1


ON_DEVICES = """
import json, re, sys
sys.path.insert(0, "tests")
import jax, numpy as np, optax
from jax.sharding import AxisType
from small import get_config
from cervix_jax import distributed
from cervix_jax.training.run import training_mesh
from cervix_jax.training.step import RunInputs, init_state, make_train_step

rng = np.random.default_rng(0)
images = rng.integers(0, 256, (32, 32, 32, 3), np.uint8) // rng.integers(1, 5, (32, 1, 1, 1))
batch = {"image": images.astype(np.uint8), "label": np.arange(32, dtype=np.int32) % 5}
inputs = RunInputs(0, np.full(9, 1e-2, np.float32), 0, np.ones(5, np.float32))
found = []
for parts, devices in [(1, 1), (1, 2), (1, 4), (1, 8), (2, 1), (2, 4)]:
    config = get_config()
    config.update({"batch_size": 32, "accumulation_steps": parts})
    config.model.update({"norm_groups": 4, "dropout": 0.5})
    assert training_mesh(config).devices.size == 8 // parts
    mesh = jax.make_mesh(
        (devices,), ("data",), axis_types=(AxisType.Auto,), devices=jax.devices()[:devices]
    )
    graphdef, state = init_state(config, 5, mesh)
    before = jax.tree.map(np.asarray, state["stats"])
    step = make_train_step(graphdef, config, 5, mesh)
    text = step.lower(state, batch, inputs.at(0)).compile().as_text()
    for number in range(3):
        state = step(state, batch, inputs.at(number))
        if number == 0:
            moved = optax.tree.norm(jax.tree.map(lambda a, b: a - b, state["stats"], before))
    found.append({
        "parts": parts, "devices": devices, "reductions": len(re.findall(r" all-reduce(?:-start)?\\(", text)),
        "other": len(re.findall(r" (?:all-gather|all-to-all|collective-permute)(?:-start)?\\(", text)),
        "metrics": [float(state["metrics"].loss.compute()), float(state["metrics"].accuracy.compute())],
        "stats": np.concatenate([np.ravel(x) for x in jax.tree.leaves(state["stats"])]).tolist(),
        "params": np.concatenate([np.ravel(x) for x in jax.tree.leaves(state["params"])]).tolist(),
    })
print(json.dumps(found))
"""  # noqa: E501


@pytest.mark.slow
def test_every_number_of_devices_gives_the_same_step_with_few_collectives():
    done = subprocess.run(
        [sys.executable, "-c", ON_DEVICES],
        cwd=TESTS.parent,
        env=os.environ
        | {"XLA_FLAGS": "--xla_force_host_platform_device_count=8", "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        check=False,
        timeout=500,
    )
    assert done.returncode == 0, done.stderr
    whole, *others = json.loads(done.stdout.splitlines()[-1])
    assert whole["reductions"] == 0
    in_parts = next(found for found in others if found["parts"] == 2)
    for found in others:
        same = whole if found["parts"] == 1 else in_parts
        for name, tolerance in (("metrics", 1e-5), ("stats", 1e-4), ("params", 1e-4)):
            np.testing.assert_allclose(
                found[name],
                same[name],
                rtol=tolerance,
                atol=tolerance,
                err_msg=str(found["devices"]),
            )
        if found["devices"] > 1:
            assert 1 <= found["reductions"] <= 5, found["reductions"]
            assert found["other"] == 0
