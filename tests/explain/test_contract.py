"""Every method and every measure takes the same call, and compiles nothing the second time."""

import dataclasses
import functools
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen, nnx
from jax.tree_util import Partial

from cervix_jax import explain
from cervix_jax.errors import InputError
from cervix_jax.explain import baselines, measures, registry
from cervix_jax.explain.contract import Common

CLASSES, SIDE = 3, 16
_random = np.random.default_rng(0)
IMAGES = _random.normal(size=(2, SIDE, SIDE, 3)).astype(np.float32)
MAPS = _random.normal(size=(2, SIDE, SIDE, 3)).astype(np.float32)
MASKS = MAPS[..., 0] > 0.5
TARGETS = np.array([2, 0])

# What a method or measure must be told besides, or is too slow without.
OWN = {
    "smooth_grad": {"samples": 3},
    "integrated_gradients": {"steps": 3},
    "blur_integrated_gradients": {"steps": 3},
    "expected_gradients": {"samples": 3},
    "rise": {"samples": 4},
    "insertion": {"steps": 3},
    "deletion": {"steps": 3},
    "insertion_deletion": {"steps": 3},
    "road": {"percentages": (20, 60)},
    "infidelity": {"samples": 3},
    "sensitivity_max": {"samples": 2, "method": explain.saliency},
    "random_logit": {"method": explain.saliency},
    "parameter_randomisation": {"method": explain.saliency},
    "relevance_mass": {"masks": MASKS},
    "relevance_rank": {"masks": MASKS},
    "roc_auc": {"masks": MASKS},
    "pointing_game": {"masks": MASKS},
}
METHODS = [
    name
    for name in explain.__all__
    if inspect.isfunction(getattr(explain, name))
    and "targets" in inspect.signature(getattr(explain, name)).parameters
]
RANGE = baselines.InputRange(np.float32([-2, -2, -2]), np.float32([2, 2, 2]))
OWN |= {name: {"input_range": RANGE} for name in ("edges", "darkness")}
# Functions of maps that judge no explanation.
NO_MEASURES = {"reduce_channels", "similarity"}


class Network(nnx.Module):
    """A convolution, ReLU and a linear map, by the names that tell stages."""

    def __init__(self, seed: int):
        self.stem = nnx.Conv(3, 4, (3, 3), rngs=nnx.Rngs(seed))
        self.classifier = nnx.Linear(4, CLASSES, rngs=nnx.Rngs(seed + 1))

    def __call__(self, images, perturbations=None):
        x = nnx.relu(self.stem(images)) + (perturbations or {}).get("stage4", 0)
        return self.classifier(x.mean((1, 2))), {"stage4": x}


class LinenNetwork(linen.Module):
    """The same of the other kind."""

    @linen.compact
    def __call__(self, images, perturbations=None):
        x = linen.relu(linen.Conv(4, (3, 3), name="stem")(images))
        x = x + (perturbations or {}).get("stage4", 0)
        return linen.Dense(CLASSES, name="classifier")(x.mean((1, 2))), {"stage4": x}


def bound(seed):
    weights = _weights(seed)
    return LinenNetwork().bind({"params": weights})


def _weights(seed):
    state = nnx.state(Network(seed), nnx.Param)
    return nnx.to_pure_dict(state)


def _apply(weights, images, perturbations=None):
    return LinenNetwork().apply({"params": weights}, images, perturbations=perturbations)


def narrow(weights, images, perturbations=None):
    """Takes nothing but bfloat16."""
    kernel = weights["stem"]["kernel"].astype(jnp.bfloat16)
    x = jax.lax.conv_general_dilated(  # refuses operands of two types
        images, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    x = jax.nn.relu(x) + jnp.asarray((perturbations or {}).get("stage4", 0), x.dtype)
    return x.mean((1, 2)) @ weights["classifier"]["kernel"].astype(x.dtype), {"stage4": x}


CLOSED_OVER = [functools.partial(_apply, _weights(seed)) for seed in (0, 2)]
# By kind: makes the function, each time anew but for the plain one, which is known by identity.
FUNCTIONS = {
    "function": lambda seed: CLOSED_OVER[seed // 2],
    "Partial": lambda seed: Partial(_apply, _weights(seed)),
    "nnx": Network,
    "linen": bound,
}
COUNTED: list[str] = []


@pytest.fixture(scope="module", autouse=True)
def _count_compilations():
    def note(event: str, seconds: float, **_) -> None:
        if event == "/jax/core/compile/backend_compile_duration":
            COUNTED.append(event)

    jax.monitoring.register_event_duration_secs_listener(note)
    yield
    jax.monitoring.unregister_event_duration_listener(note)


def evaluate(name, make, images=IMAGES, targets=TARGETS, **common):
    """What a method or a measure gives, as arrays."""
    own = OWN.get(name, {})
    if name in METHODS:
        return getattr(explain, name)(make(0), images, targets, **own, **common)
    if name in registry.REFERENCES:
        method = registry.METHODS[name].function
        return method(make(0), images, targets, **own, **common)
    if name == "parameter_randomisation":
        own = own | {"fresh": make(2)}
    return measures.MEASURES[name](make(0), images, targets, MAPS, **own, **common)


def values(found):
    """All numbers of a result."""
    if dataclasses.is_dataclass(found):
        return [np.asarray(each) for each in vars(found).values()]
    if isinstance(found, tuple):
        return [each for part in found if dataclasses.is_dataclass(part) for each in values(part)]
    return [np.asarray(found)]


def same(first, second, rtol=1e-4):
    for one, other in zip(values(first), values(second), strict=True):
        scale = np.nanmax(np.abs(one)) if np.isfinite(one).any() else 1
        np.testing.assert_allclose(one, other, rtol=rtol, atol=rtol * scale)


@functools.cache
def reference(name):
    """What the other calls are compared with."""
    return evaluate(name, FUNCTIONS["Partial"])


NAMES = [*METHODS, *registry.REFERENCES, *measures.MEASURES]


def test_none_is_forgotten():
    of_maps = {
        name
        for name in measures.__all__
        if inspect.isfunction(getattr(measures, name))
        and "maps" in inspect.signature(getattr(measures, name)).parameters
    }
    assert of_maps - NO_MEASURES == set(measures.MEASURES)
    assert {registry.METHODS[name].function.__name__ for name in registry.EXPLANATIONS} == set(
        METHODS
    )
    assert set(OWN) <= set(NAMES)


@pytest.mark.parametrize("kind", FUNCTIONS)
@pytest.mark.parametrize("name", NAMES)
def test_every_kind_of_function_and_no_second_compilation(name, kind):
    common = {"baselines": baselines.mean, "output": "logit", "batch_size": 4, "seed": 1,
              "progress": ""}  # fmt: skip
    assert set(common) == set(Common.__annotations__)
    make = FUNCTIONS[kind]
    if name == "parameter_randomisation" and kind == "function":
        with pytest.raises(InputError, match="the variables of fn are not accessible"):
            evaluate(name, make, **common)
        return
    first = evaluate(name, make, **common)
    assert any(np.isfinite(each).any() for each in values(first))
    before = len(COUNTED)
    again = evaluate(name, make, **common)
    assert len(COUNTED) == before, f"{len(COUNTED) - before} programs were compiled again"
    for one, other in zip(values(first), values(again), strict=True):
        np.testing.assert_array_equal(one, other)
    if kind != "Partial":
        same(first, evaluate(name, FUNCTIONS["Partial"], **common), rtol=1e-3)  # compiled already


def test_compilations_are_counted():
    """Else the test above would show nothing."""
    before = len(COUNTED)
    evaluate("saliency", lambda seed: lambda images: _apply(_weights(seed), images)[0])
    assert len(COUNTED) > before


@pytest.mark.parametrize("name", NAMES)
def test_one_target_is_that_of_every_image(name):
    make = FUNCTIONS["Partial"]
    same(evaluate(name, make, targets=1), evaluate(name, make, targets=np.array([1, 1])))


@pytest.mark.parametrize("name", NAMES)
def test_every_kind_of_baseline(name):
    make, own = FUNCTIONS["Partial"], baselines.mean(IMAGES)
    for given in (own, baselines.mean):
        same(reference(name), evaluate(name, make, baselines=given))
    single = baselines.several(np.float32([[[[0.5, -1, 2]]]]))
    same(evaluate(name, make, baselines=single), evaluate(name, make, baselines=[0.5, -1, 2]), 2e-3)


@pytest.mark.parametrize("name", NAMES)
def test_bfloat16_of_the_images_and_of_a_network_that_takes_no_other_type(name):
    images = jnp.asarray(IMAGES, jnp.bfloat16)
    found = values(evaluate(name, lambda seed: Partial(narrow, _weights(seed)), images=images))
    for one, expected in zip(found, values(reference(name)), strict=True):
        assert one.shape == expected.shape
        assert one.dtype == expected.dtype
        np.testing.assert_array_equal(np.isnan(one), np.isnan(expected))
    if name in METHODS:
        assert np.corrcoef(found[0].ravel(), reference(name).ravel())[0, 1] > 0.95


@pytest.mark.parametrize("name", ["sparseness", "relevance_mass", "completeness"])
def test_a_measure_takes_all_by_name(name):
    own = OWN.get(name, {})
    fn = FUNCTIONS["Partial"](0)
    found = measures.MEASURES[name](fn=fn, images=IMAGES, targets=TARGETS, maps=MAPS, seed=0, **own)
    same(found, reference(name))


@pytest.mark.parametrize("name", [*METHODS, *measures.MEASURES])
def test_a_misspelt_keyword_is_no_common_one(name):
    with pytest.raises(TypeError, match="baseline"):
        evaluate(name, FUNCTIONS["Partial"], baseline=0.0)


@pytest.mark.parametrize(
    ("fn", "message"),
    [(LinenNetwork(), r"give module\.bind\(variables\)"), ("rcan", "is a str; give a function")],
)
def test_what_is_no_function_of_images(fn, message):
    with pytest.raises(InputError, match=message):
        explain.saliency(fn, IMAGES, 0)
