"""Pooling by attention: its formula, what it can learn, and the command on a trained run."""

import csv
import dataclasses
import json

import jax.numpy as jnp
import numpy as np
import pytest
from absl import flags
from absl.testing import flagsaver
from flax import nnx
from scipy.special import log_softmax

from cervix_jax.aggregate import __main__ as command
from cervix_jax.aggregate.bags import make_bags
from cervix_jax.aggregate.fit import Settings, compress, fit_and_predict
from cervix_jax.aggregate.pooling import AttentionPooling
from cervix_jax.errors import InputError
from cervix_jax.training.run import train_and_evaluate

FLAGS = ("workdir", "step", "manual_dir", "data_dir", "epochs", "heads", "seed")


def test_it_begins_as_the_mean_of_the_logits():
    rng = np.random.default_rng(0)
    features, logits = rng.normal(size=(2, 4, 6)), rng.normal(size=(2, 4, 3))
    mask = np.array([[True, True, True, False], [True, False, False, False]])
    pool = AttentionPooling(6, 3, rngs=nnx.Rngs(0))
    pool.eval()
    found, attention = pool(*map(jnp.asarray, (features, logits, mask)))
    np.testing.assert_allclose(found[0], logits[0, :3].mean(0), atol=1e-6)
    np.testing.assert_allclose(found[1], logits[1, 0], atol=1e-6)
    np.testing.assert_allclose(attention, [[1 / 3, 1 / 3, 1 / 3, 0], [1, 0, 0, 0]], atol=1e-6)


def test_its_attention_is_that_of_the_paper():
    rng = np.random.default_rng(1)
    features, logits = rng.normal(size=(1, 3, 6)), rng.normal(size=(1, 3, 2))
    pool = AttentionPooling(6, 2, rngs=nnx.Rngs(0))
    pool.eval()
    pool.score.kernel[...] = jnp.asarray(rng.normal(size=(64, 1)), jnp.float32)
    h = features[0]
    v, u = np.asarray(pool.tanh.kernel), np.asarray(pool.gate.kernel)
    score = (np.tanh(h @ v) / (1 + np.exp(-h @ u))) @ np.asarray(pool.score.kernel)[:, 0]
    expected = np.exp(score) / np.exp(score).sum()
    found, attention = pool(*map(jnp.asarray, (features, logits, np.ones((1, 3), bool))))
    np.testing.assert_allclose(attention[0], expected, atol=1e-5)
    np.testing.assert_allclose(found[0], expected @ logits[0], atol=1e-5)


def test_bags_keep_images_in_order_and_leave_mixed_groups_out():
    groups = np.array(["b", "a", "b", "c", "c", "a"])
    labels = np.array([1, 0, 1, 0, 1, 0])
    features, logits = np.arange(12.0).reshape(6, 2), np.arange(6.0).reshape(6, 1)
    bags, mixed = make_bags(groups, labels, features, logits)
    assert (bags.names.tolist(), bags.labels.tolist(), mixed) == (["a", "b"], [0, 1], ["c"])
    np.testing.assert_array_equal(bags.features[1], features[[0, 2]])
    np.testing.assert_array_equal(bags.logits[0, :, 0], [1, 5])
    assert bags.mask.all()


def needles(seed: int, bags: int = 200, size: int = 5):
    """Bags whose label is shown by one instance, which a feature marks; the rest mislead."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, bags)
    features = rng.normal(size=(bags * size, 6)).astype(np.float32)
    shown = rng.integers(0, 2, bags * size)
    key = np.arange(bags) * size + rng.integers(0, size, bags)
    features[:, 0] = 0
    features[key, 0] = 3
    shown[key] = labels
    logits = log_softmax(2.0 * np.eye(2)[shown], axis=1)
    groups = np.repeat([f"g{bag:03d}" for bag in range(bags)], size)
    return make_bags(groups, np.repeat(labels, size), features, logits)[0], key % size


def test_it_learns_which_instance_counts():
    train, (test, key) = needles(0)[0], needles(1)
    settings = Settings(epochs=40, learning_rate=1e-2, heads=1, instance_dropout=0.0)
    ((probabilities, attention),) = fit_and_predict(train, [test], settings)
    mean = test.logits.mean(1).argmax(1) == test.labels
    right = probabilities.argmax(1) == test.labels
    assert mean.mean() < 0.85
    assert right.mean() > 0.95
    assert (attention.argmax(1) == key).mean() > 0.95
    again = fit_and_predict(train, [test], settings)[0][0]
    np.testing.assert_array_equal(probabilities, again)
    other = fit_and_predict(train, [test], dataclasses.replace(settings, seed=1))[0][0]
    assert np.abs(other - probabilities).max() > 0


def test_components_have_variance_one_and_nothing_stays_nothing():
    train, _ = needles(0)
    short = dataclasses.replace(train, mask=train.mask & (np.arange(5) < 3))
    found = compress(short, short, 4)
    there = found[short.mask]
    np.testing.assert_allclose(there.std(0, ddof=1), 1, atol=1e-3)
    np.testing.assert_allclose(np.corrcoef(there.T), np.eye(4), atol=1e-3)
    assert not found[~short.mask].any()


@pytest.fixture(scope="module")
def aggregate():
    command.define_flags()

    def call(**values):
        with flagsaver.flagsaver(**values):
            command.main(["aggregate"])

    yield call
    for name in FLAGS:
        delattr(flags.FLAGS, name)


def test_the_command_evaluates_groups_of_a_run(trained, aggregate, capsys):
    folder, report = trained
    aggregate(workdir=str(folder), epochs=2, heads=2)
    found = json.loads((folder / "evaluate/test_by_attention.json").read_text())
    assert found["n"] == found["groups"] == report["groups"]
    assert f"attention: accuracy {found['accuracy']:.4f}" in capsys.readouterr().out
    with (folder / "evaluate/test_attention.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    with (folder / "evaluate/test_predictions.csv").open(newline="") as file:
        cells = {row["filename"]: row["group"] for row in csv.DictReader(file)}
    assert {row["filename"]: row["group"] for row in rows} == cells
    for group in set(cells.values()):
        weights = [float(row["attention"]) for row in rows if row["group"] == group]
        assert sum(weights) == pytest.approx(1, abs=1e-4)


def test_groups_in_training_and_test_are_refused(tiny_config, tmp_path, aggregate):
    config = tiny_config()
    config.split.protocol, config.num_epochs = "random", 1
    train_and_evaluate(config, tmp_path)
    with pytest.raises(InputError, match="'random' puts images of"):
        aggregate(workdir=str(tmp_path))
