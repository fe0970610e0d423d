"""What holds for every attribution method, whatever it computes."""

import functools
from typing import NamedTuple

import jax
import numpy as np
import pytest
from explained_functions import make_network, network_weights, normal
from jax.tree_util import Partial

from cervix_jax import explain
from cervix_jax.data.normalization import input_range
from cervix_jax.errors import InputError
from cervix_jax.explain import batches

BATCH = 4
IMAGES, TARGETS = normal(5, 9, 8, 3), np.array([0, 1, 2, 1, 0])
RANGE = input_range("imagenet")
BLACK, NOISE = explain.baselines.black(RANGE), explain.baselines.uniform(RANGE, 2)
SEVERAL = explain.baselines.several(normal(3, 9, 8, 3, seed=1))


def with_options(method, **options):
    return functools.partial(method, **options)


METHODS = {
    "saliency": explain.saliency,
    "input_x_gradient": explain.input_x_gradient,
    "smooth_grad": with_options(explain.smooth_grad, samples=3),
    "smooth_grad variance": with_options(explain.smooth_grad, samples=3, kind="variance"),
    "integrated_gradients": with_options(explain.integrated_gradients, baselines=BLACK, steps=3),
    "integrated_gradients uniform": with_options(
        explain.integrated_gradients, baselines=NOISE, steps=3
    ),
    "expected_gradients": with_options(explain.expected_gradients, baselines=SEVERAL, samples=3),
    "blur_integrated_gradients": with_options(
        explain.blur_integrated_gradients, steps=3, max_sigma=4.0
    ),
    "guided_backprop": explain.guided_backprop,
    "grad_cam": explain.grad_cam,
    "grad_cam relu": with_options(explain.grad_cam, relu=True, feature_map="stage1"),
    "grad_cam_plus_plus": explain.grad_cam_plus_plus,
    "layer_cam": with_options(explain.layer_cam, interpolation="nearest"),
    "guided_grad_cam": explain.guided_grad_cam,
    "occlusion": with_options(explain.occlusion, baselines=BLACK, window=4),
    "occlusion several": with_options(explain.occlusion, baselines=SEVERAL, window=4),
    "rise": with_options(explain.rise, baselines=BLACK, samples=6, grid=3),
    "rise several": with_options(explain.rise, baselines=SEVERAL, samples=6, grid=3),
}


class Case(NamedTuple):
    name: str
    method: object
    forward: object
    traced: list

    def maps(self, seed=0, images=IMAGES, targets=TARGETS, scale=1.0, **options):
        weights = jax.tree.map(lambda x: x * np.float32(scale), network_weights(seed))
        fn = Partial(self.forward, weights)
        return self.method(fn, images, targets, **{"batch_size": BATCH} | options)


@pytest.fixture(scope="module", params=METHODS)
def case(request):
    traced = []
    return Case(request.param, METHODS[request.param], make_network(traced), traced)


def test_batches_are_bounded_and_make_no_difference(case):
    maps = case.maps()
    assert maps.dtype == np.float32
    assert maps.shape in [IMAGES.shape, IMAGES.shape[:3]]
    size, at_once = batches.divide(len(IMAGES), BATCH)
    assert max(case.traced) == size
    assert size * at_once <= BATCH < len(IMAGES)
    assert np.abs(maps).max() > 0
    np.testing.assert_allclose(
        case.maps(batch_size=100), maps, rtol=1e-4, atol=1e-5 * np.abs(maps).max()
    )


def test_again_is_the_same_and_compiles_nothing_for_other_weights_either(case):
    first = case.maps()
    traces = len(case.traced)
    np.testing.assert_array_equal(case.maps(), first)
    other = case.maps(seed=10)
    assert len(case.traced) == traces
    assert not np.allclose(other, first)


def test_a_map_does_not_depend_on_the_other_images(case):
    order = [3, 0, 4, 2]
    maps = case.maps()
    np.testing.assert_allclose(
        case.maps(images=IMAGES[order], targets=TARGETS[order]),
        maps[order],
        rtol=1e-4,
        atol=1e-5 * np.abs(maps).max(),
    )


def test_no_images_are_no_maps(case):
    maps = case.maps()
    none = case.maps(images=IMAGES[:0], targets=TARGETS[:0])
    assert none.shape == (0, *maps.shape[1:])


def test_a_network_that_ignores_the_image_has_zero_maps_not_nan(case):
    maps = case.maps(scale=0)
    if case.name.startswith(
        "rise"
    ):  # the probability of every mask is 1 / 3, as in the paper's formula
        assert (maps >= 0).all()
    else:
        np.testing.assert_array_equal(maps, 0)


def test_values_that_are_not_finite_are_refused(case):
    broken = IMAGES.copy()
    broken[2, 0, 0, 0] = np.nan
    with pytest.raises(InputError, match="image 2 has values that are not finite"):
        case.maps(images=broken)
    with pytest.raises(InputError, match=r"image 0: its scores or their gradients are not finite"):
        case.maps(scale=np.nan)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": IMAGES[0]}, r"images are float32 \[9, 8, 3\]; give floating point"),
        ({"images": IMAGES.astype(np.uint8)}, r"images are uint8 .*run.preprocess"),
        ({"targets": TARGETS[:2]}, r"targets are int64 \[2\]; give int \[5\]"),
        ({"targets": np.zeros(5)}, r"targets are float64"),
        ({"targets": 3}, r"target 3 is not a class; give 0 to 2"),
        ({"targets": [-1, 0, 0, 0, 0]}, r"target -1 is not a class"),
        ({"output": "logits"}, r"output='logits'.*: give one of logit, log_probability, prob"),
        ({"batch_size": 0}, r"batch_size=0: give a whole number"),
    ],
)
def test_bad_arguments_are_refused(case, change, message):
    with pytest.raises(InputError, match=message):
        case.maps(**change)
