"""A run explains itself: the three lines that the package's docstring promises."""

import inspect
import textwrap

import jax
import numpy as np
import pytest
from flax import nnx

from cervix_jax import explain, models
from cervix_jax.config.base import base_config
from cervix_jax.explain.batches import sum_batch
from cervix_jax.models.densenet import DenseNet
from cervix_jax.runs import run

pytestmark = pytest.mark.slow  # whole networks are compiled

NAMES = ["a", "b", "c"]
call = jax.jit(lambda fn, images, **options: fn(images, **options))


def tiny(*, attention="none", dropout_rate=0.0, **fixed):
    return DenseNet(blocks=(1, 1, 1, 1), attention="last_layer", dropout_rate=dropout_rate, **fixed)


@pytest.fixture(scope="module")
def make_run():
    """Runs with weights of a seed, as `load_run` would give them."""
    config = base_config("cervix_phantom/single_cell")
    config.model.update({"name": "tiny", "dropout": 0.2})
    config.image_size = 32
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(models._FACTORIES, "tiny", tiny)
        patch.setattr(models, "NAMES", (*models.NAMES, "tiny"))

        def make(seed):
            model = run.build_model(config, len(NAMES), seed)
            _, params, stats = nnx.split(model, nnx.Param, ...)
            variables = {"params": nnx.to_pure_dict(params), "stats": nnx.to_pure_dict(stats)}
            return run.Run(config, {"class_names": NAMES}, variables, step=1)

        yield make


@pytest.fixture(scope="module")
def uint8_images():
    return np.random.default_rng(0).integers(0, 256, (3, 40, 30, 3), np.uint8)


def test_the_example_of_the_docstring_runs(make_run, uint8_images):
    found = make_run(0)
    doc = inspect.getdoc(explain)
    example = textwrap.dedent(doc[doc.index("    run = load_run") :])
    given = {"load_run": lambda folder: found, "explain": explain, "uint8_images": uint8_images,
             "targets": np.array([0, 1, 2])}  # fmt: skip
    exec(example, given)
    assert given["maps"].shape == (3, 32, 32, 3)
    assert np.isfinite(given["maps"]).all()
    assert np.abs(given["maps"]).max() > 0


def test_functions_of_a_run_are_its_model(make_run, uint8_images):
    found = make_run(0)
    images = found.preprocess(uint8_images)
    logits, out = call(found.model, images)
    np.testing.assert_allclose(call(found.logits_fn, images), logits, rtol=1e-4, atol=1e-5)
    own_logits, own_out = call(found.features_fn, images)
    np.testing.assert_allclose(own_logits, logits, rtol=1e-4, atol=1e-5)
    assert own_out.keys() == out.keys()
    moved, _ = call(
        found.features_fn, images, perturbations={"pre_logits_2d": np.ones(1, np.float32)}
    )
    expected = logits + np.asarray(found.model.linear.kernel[...]).sum(0)
    np.testing.assert_allclose(moved, expected, rtol=1e-4, atol=1e-4)


def test_a_run_and_its_model_have_the_same_maps(make_run, uint8_images):
    found = make_run(0)
    images = found.preprocess(uint8_images)
    np.testing.assert_allclose(
        explain.grad_cam(found.features_fn, images, 1),
        explain.grad_cam(found.model, images, 1),
        rtol=1e-3,
        atol=1e-6,
    )


def test_runs_of_one_network_share_a_program_which_holds_no_weights(make_run, uint8_images):
    one, two = make_run(0), make_run(1)
    images = np.asarray(one.preprocess(uint8_images))
    first = explain.saliency(one.logits_fn, images, 1)
    compiled = sum_batch._cache_size()
    assert not np.allclose(explain.saliency(two.logits_fn, images, 1), first)
    assert sum_batch._cache_size() == compiled
    program = jax.make_jaxpr(lambda fn, images: fn(images))(one.logits_fn, images)
    assert sum(np.size(const) for const in program.consts) < 1000


def test_black_and_white_pixels(make_run):
    found = make_run(0)
    for value, expected in zip((0, 255), found.input_range, strict=True):
        pixels = found.preprocess(np.full((1, 5, 5, 3), value, np.uint8))
        np.testing.assert_array_equal(pixels[0, 3, 3], expected)


def test_channel_attention_of_a_run(make_run, uint8_images):
    found = make_run(0)
    images = found.preprocess(uint8_images)
    gates = explain.channel_gates(found.features_fn, images)["attention/denseblock4"]
    assert gates.shape == (3, 32)
    block = "attention/denseblock4"
    shown = explain.channel_maps(found.features_fn, images, block, [0, 31])
    stage = np.asarray(call(found.model, images)[1]["stage4"])
    np.testing.assert_allclose(shown, stage[..., [-32, -1]], rtol=1e-3, atol=1e-5)
