"""Methods by name: one default each, one call."""

import inspect

import jax
import numpy as np
import pytest
from explained_functions import make_network, network_weights, normal
from jax.tree_util import Partial

from cervix_jax import explain
from cervix_jax.data.normalization import input_range
from cervix_jax.errors import InputError
from cervix_jax.explain import references, registry
from cervix_jax.explain.registry import METHODS

RANGE = input_range("imagenet")
IMAGES, TARGETS = normal(3, 9, 8, 3), np.array([0, 1, 2])
QUICK = {"steps": 2, "samples": 2, "feature_map": "stage4"}
SEVERAL = explain.baselines.several(normal(2, 9, 8, 3, seed=1))


@pytest.fixture(scope="module")
def fn():
    return Partial(make_network(), jax.tree.map(np.asarray, network_weights()))


def quick(name):
    return {key: value for key, value in QUICK.items() if key in METHODS[name].settings}


@pytest.mark.parametrize("name", METHODS)
def test_every_method_is_called_alike(name, fn):
    more = {"baselines": SEVERAL} if METHODS[name].baseline == "images" else {}
    maps = registry.explain(
        name, fn, IMAGES, TARGETS, input_range=RANGE, batch_size=4, seed=1, **more, **quick(name)
    )
    assert maps.dtype == np.float32
    assert maps.shape in (IMAGES.shape, IMAGES.shape[:3])
    one = registry.explain(
        name, fn, IMAGES[:1], 0, input_range=RANGE, batch_size=4, seed=1, **more, **quick(name)
    )
    np.testing.assert_allclose(one[0], maps[0], atol=1e-5 * max(1, np.abs(maps).max()))


@pytest.mark.parametrize("name", registry.EXPLANATIONS)
def test_maps_are_those_of_the_function_with_its_own_defaults(name, fn):
    method, settings = METHODS[name], quick(name)
    defaults = inspect.signature(method.function).parameters
    assert all(defaults[key].default == value for key, value in method.settings.items())
    given = registry.baselines_of(
        name, IMAGES, SEVERAL if method.baseline == "images" else "white", RANGE
    )
    more = {} if given is None else {"baselines": given}
    expected = method.function(fn, IMAGES, TARGETS, **more, **settings)
    if method.baseline != "images":
        more = {}
    found = registry.explain(name, fn, IMAGES, TARGETS, input_range=RANGE, **more, **settings)
    np.testing.assert_array_equal(found, expected)


def test_baselines_by_name():
    white = registry.baselines_of("occlusion", IMAGES, "white", RANGE)
    np.testing.assert_array_equal(white, RANGE.high)
    np.testing.assert_array_equal(registry.baselines_of("rise", IMAGES, "black", RANGE), RANGE.low)
    mean = registry.baselines_of("rise", IMAGES, "mean")
    np.testing.assert_allclose(mean[:, 0, 0], IMAGES.mean((1, 2)), rtol=1e-5)
    blurred = registry.baselines_of("rise", IMAGES, "blur")
    np.testing.assert_array_equal(blurred, explain.baselines.blur(IMAGES, 9 / 8))
    assert registry.baselines_of("saliency", IMAGES, "white") is None


def test_what_is_multiplied_out_of_maps_is_what_went_into_them():
    black = explain.baselines.black(RANGE)
    weights = normal(3, 9, 8, 3, seed=2)
    linear = Partial(_linear, weights)
    for name in ("input_x_gradient", "integrated_gradients"):
        maps = registry.explain(name, linear, IMAGES, TARGETS, baselines=black)
        multiplied_by = METHODS[name].multiplied_by
        assert multiplied_by is not None
        np.testing.assert_allclose(
            maps, multiplied_by(IMAGES, black) * weights[TARGETS], rtol=1e-3, atol=1e-4
        )


def _linear(weights, images):
    return jax.numpy.einsum("bhwi,chwi->bc", images, weights, precision="highest")


def test_rise_explains_the_probability_whatever_is_asked(fn):
    options = {"input_range": RANGE, "samples": 4}
    found = [
        registry.explain("rise", fn, IMAGES, TARGETS, output=output, **options)
        for output in (None, "logit", "probability")
    ]
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])


def test_bad_requests_are_refused(fn):
    for name, given, message in (
        ("salience", {}, "salience"),
        ("saliency", {"steps": 5}, r"saliency has no setting 'steps'; it has no settings"),
        ("smooth_grad", {"steps": 5}, r"no setting 'steps'; choose from kind, samples, noise"),
        ("integrated_gradients", {}, r"needs input_range="),
        ("integrated_gradients", {"baselines": "grey"}, "grey.*white, black, mean, blur"),
        ("expected_gradients", {}, r"expected_gradients needs other images as baselines"),
        ("edges", {}, "input_range="),
    ):
        with pytest.raises(InputError, match=message):
            registry.explain(name, fn, IMAGES, TARGETS, **given)
    for reference in (references.edges, references.darkness):
        with pytest.raises(InputError, match="input_range="):
            reference(fn, IMAGES, TARGETS)
    for names, problem in (
        ([], "no method is given"),
        (["random"], "random is not a method"),
        (["saliency", "gradcam"], "gradcam is not a method"),
    ):
        with pytest.raises(InputError, match=rf"{problem}; choose from saliency, .*, or all\."):
            registry.check_names(names)
    assert registry.check_names(["rise", "saliency", "rise"]) == ("rise", "saliency")


def test_references_know_images_only():
    maps = {
        name: registry.explain(name, None, IMAGES, TARGETS, input_range=RANGE)
        for name in registry.REFERENCES
    }
    assert ((maps["random"] >= 0) & (maps["random"] < 1)).all()
    assert (maps["edges"] >= 0).all()
    again = registry.explain("random", None, IMAGES[1:], TARGETS[1:], seed=0)
    np.testing.assert_array_equal(again, maps["random"][1:])
    assert (
        registry.explain("random", None, IMAGES, TARGETS, seed=1) != maps["random"]
    ).mean() > 0.9
    white = np.broadcast_to(RANGE.high, (1, 4, 4, 3))
    black = np.broadcast_to(RANGE.low, (1, 4, 4, 3))
    for image, value in ((white, 0), (black, 1)):
        found = registry.explain("darkness", None, image, 0, input_range=RANGE)
        np.testing.assert_allclose(found, value, atol=1e-6)
    middle = maps["centre"][0]
    assert middle[4].max() == middle.max() > middle[0].max()
    for name in registry.REFERENCES:
        assert registry.explain(name, None, IMAGES[:0], TARGETS[:0], input_range=RANGE).shape == (
            0, 9, 8,
        )  # fmt: skip
