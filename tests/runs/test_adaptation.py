import types
from typing import Any

import jax
import numpy as np
import pytest
from flax import nnx

from cervix_jax.distributed import make_mesh
from cervix_jax.errors import InputError
from cervix_jax.evaluate.stems import ADAPTED, parse_stem, stem_of
from cervix_jax.models.layers import BatchNorm, Conv, Linear, initialise
from cervix_jax.runs import adaptation
from cervix_jax.runs.adaptation import PRIOR, adapted_variables, predict_adapted
from cervix_jax.runs.inference import make_forward


class Tiny(nnx.Module):
    """Two normalisations, of which the second sees what the first makes."""

    def __init__(self, norm: Any = BatchNorm):
        self.conv1, self.norm1 = Conv(3, 4), norm(4)
        self.conv2, self.norm2 = Conv(4, 5), BatchNorm(5)
        self.linear = Linear(5, 2)

    def __call__(self, images):
        x = jax.nn.relu(self.norm1(self.conv1(images)))
        x = jax.nn.relu(self.norm2(self.conv2(x)))
        return self.linear(x.mean((1, 2))), {}


@pytest.fixture(scope="module")
def network():
    model = Tiny()
    initialise(model, jax.random.key(0))
    rng = np.random.default_rng(1)
    for norm in (model.norm1, model.norm2):
        norm.mean.set_value(rng.normal(0, 1, norm.mean.shape).astype(np.float32))
        norm.var.set_value(rng.uniform(0.5, 2, norm.var.shape).astype(np.float32))
        norm.scale.set_value(rng.uniform(0.5, 2, norm.scale.shape).astype(np.float32))
    graphdef, params, stats = nnx.split(model, nnx.Param, ...)
    return graphdef, {"params": nnx.to_pure_dict(params), "stats": nnx.to_pure_dict(stats)}


def images_of(count, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, 5, 5, 3), np.uint8)


def by_hand(variables, images):
    """Logits and statistics in NumPy, all images together."""
    x, stats, prior = images.astype(float) / 255, {}, PRIOR / (PRIOR + len(images))
    params = jax.tree.map(lambda value: np.asarray(value, float), variables["params"])
    for conv, norm in (("conv1", "norm1"), ("conv2", "norm2")):
        x = x @ params[conv]["kernel"][0, 0]
        old = {name: np.asarray(variables["stats"][norm][name], float) for name in ("mean", "var")}
        mean = prior * old["mean"] + (1 - prior) * x.mean((0, 1, 2))
        var = prior * old["var"] + (1 - prior) * x.var((0, 1, 2))
        stats[norm] = {"mean": mean, "var": var}
        x = (x - mean) / np.sqrt(var + 1e-5) * params[norm]["scale"] + params[norm]["bias"]
        x = np.maximum(x, 0)
    return x.mean((1, 2)) @ params["linear"]["kernel"] + params["linear"]["bias"], stats


@pytest.mark.parametrize("count", [1, 5, 8])
def test_statistics_and_logits_equal_numpy(network, count):
    graphdef, variables = network
    images = images_of(count)
    found = adapted_variables(graphdef, "none", variables, images)
    logits, stats = by_hand(variables, images)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), found["stats"], stats)
    assert found["params"] is variables["params"]
    forward = make_forward(graphdef, "none", make_mesh())
    np.testing.assert_allclose(forward(found, images), logits, atol=1e-4)


def test_the_order_of_images_does_not_matter_nor_does_their_number_of_parts(network, monkeypatch):
    graphdef, variables = network
    monkeypatch.setattr(adaptation, "PART", 4)
    images = images_of(11)
    one = adapted_variables(graphdef, "none", variables, images)["stats"]
    other = adapted_variables(graphdef, "none", variables, images[::-1])["stats"]
    jax.tree.map(np.testing.assert_array_equal, one, other)
    # The first normalisation sees the same images in parts as in one piece; its variance lacks
    # that between the parts.
    _, whole = by_hand(variables, images)
    np.testing.assert_allclose(one["norm1"]["mean"], whole["norm1"]["mean"], atol=1e-5)
    np.testing.assert_allclose(one["norm2"]["mean"], whole["norm2"]["mean"], atol=0.1)


class Images:
    """As much of a pipeline as is asked for; the images of today, whatever their labels."""

    mesh: Any = make_mesh()

    def __init__(self, images):
        self._images = images

    def images(self, indices):
        return self._images[indices]


def test_every_group_has_its_own_statistics_and_every_image_its_place(network):
    graphdef, variables = network
    images = images_of(9)
    groups = np.array(["a", "b", "a", "b", "b", "a", "c", "b", "b"])
    indices, forward = np.arange(9), make_forward(graphdef, "none", make_mesh())
    labels = np.zeros(9, int)
    pipeline: Any = Images(images)
    arguments = (forward, graphdef, "none", variables, pipeline, indices, groups)
    found = predict_adapted("group", *arguments, labels)
    for name in "abc":
        expected, _ = by_hand(variables, images[groups == name])
        np.testing.assert_allclose(found.logits[groups == name], expected, atol=1e-4)
    together = predict_adapted("all", *arguments, labels)
    np.testing.assert_allclose(together.logits, by_hand(variables, images)[0], atol=1e-4)
    # Labels are passed on and not used.
    relabelled = predict_adapted("all", *arguments, labels + 1)
    np.testing.assert_array_equal(relabelled.logits, together.logits)
    np.testing.assert_array_equal(relabelled.labels, labels + 1)


def test_a_run_is_adapted_to_images(network, monkeypatch):
    graphdef, variables = network
    run: Any = types.SimpleNamespace(
        graphdef=graphdef, variables=variables, squares=lambda images, mpp: images,
        config=types.SimpleNamespace(model=types.SimpleNamespace(normalization="none")),
        with_variables=lambda new: new,
    )  # fmt: skip
    found: Any = adaptation.adapted(run, images_of(5))
    _, stats = by_hand(variables, images_of(5))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), found["stats"], stats)


def test_what_cannot_be_adapted_is_bad_input(network):
    graphdef, variables = network
    with pytest.raises(InputError, match="at least one image"):
        adapted_variables(graphdef, "none", variables, images_of(0))
    other = Tiny(lambda features: nnx.BatchNorm(features, rngs=nnx.Rngs(0)))
    parts: Any = nnx.split(other, nnx.Param, ...)
    mixed = {"params": nnx.to_pure_dict(parts[1]), "stats": nnx.to_pure_dict(parts[2])}
    with pytest.raises(InputError, match="norm1 is a BatchNorm, whose statistics cannot"):
        adapted_variables(parts[0], "none", mixed, images_of(2))
    several: Any = Images(images_of(2))
    several.mesh = types.SimpleNamespace(devices=np.zeros(2))
    arguments = (make_forward(graphdef, "none", make_mesh()), graphdef, "none", variables)
    with pytest.raises(InputError, match="--adapt computes batch statistics over whole groups"):
        predict_adapted("all", *arguments, several, np.arange(2), np.zeros(2), np.zeros(2))


def test_names_of_files_say_how_they_were_predicted():
    assert tuple(ADAPTED) == adaptation.WAYS
    stems = set()
    for tta in (False, True):
        for way in ("", *adaptation.WAYS):
            stem = stem_of("test", tta=tta, adapt=way)
            assert parse_stem(stem) == ("test", tta, way)
            stems.add(stem)
    assert len(stems) == 6
    assert {"test", "test_tta", "test_adapted", "test_group_adapted"} <= stems
