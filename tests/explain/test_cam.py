import jax
import numpy as np
import pytest
from explained_functions import (
    linear,
    make_network,
    network_weights,
    normal,
    pooled_linear,
)
from jax.tree_util import Partial

from cervix_jax import explain
from cervix_jax.errors import InputError
from cervix_jax.explain.cam import find_feature_map, find_fine
from cervix_jax.explain.registry import METHODS

IMAGES, TARGETS = normal(4, 6, 5, 3), np.array([2, 0, 1, 1])
KERNEL = normal(3, 3, seed=1)  # [features, classes]
POOLED = pooled_linear(KERNEL)
GRADIENT = KERNEL.T[TARGETS][:, None, None] / 30  # of the mean over 6 x 5 places


def test_grad_cam_weighs_feature_maps_by_their_mean_gradient_and_keeps_signs():
    found = explain.grad_cam(POOLED, IMAGES, TARGETS, feature_map="stem")
    expected = (GRADIENT * IMAGES).sum(-1)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)
    assert (found < 0).any()
    only_positive = explain.grad_cam(POOLED, IMAGES, TARGETS, feature_map="stem", relu=True)
    np.testing.assert_allclose(only_positive, np.maximum(expected, 0), rtol=1e-4, atol=1e-6)


def test_grad_cam_plus_plus_is_the_paper_s_formula():
    features = np.abs(IMAGES)
    found = explain.grad_cam_plus_plus(POOLED, features, TARGETS, feature_map="stem")
    g = np.broadcast_to(GRADIENT, features.shape).astype(np.float64)
    alpha = g**2 / (2 * g**2 + features.sum((1, 2), keepdims=True) * g**3)
    weights = (alpha * np.maximum(g, 0)).sum((1, 2), keepdims=True)
    np.testing.assert_allclose(found, (weights * features).sum(-1), rtol=1e-3, atol=1e-6)


def test_layer_cam_weighs_every_value_by_its_own_positive_gradient():
    found = explain.layer_cam(POOLED, IMAGES, TARGETS, feature_map="stem")
    expected = (np.maximum(GRADIENT, 0) * IMAGES).sum(-1)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


def test_grad_cam_of_a_layer_within_the_network():
    """What comes after it is linear, so its gradient is known."""
    forward, weights = make_network(), network_weights()
    fn = Partial(forward, weights)
    found = explain.grad_cam(fn, IMAGES, TARGETS, feature_map="stage4", interpolation="none")
    features = np.asarray(fn(IMAGES)[1]["stage4"])
    gradient = weights["last"].T[TARGETS] / (3 * 3)
    expected = np.einsum("bhwc,bc->bhw", features, gradient)
    assert found.shape == (4, 3, 3)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


def _with_grids(**sides):
    def fn(images):
        maps = {n: np.zeros((len(images), side, side + 1, 2)) for n, side in sides.items()}
        return images.mean((1, 2)), maps | {"pre_logits": images.mean((1, 2))}

    return fn


@pytest.mark.parametrize(
    ("sides", "expected"),
    [
        # RCAN at 64, 224 and 48 pixels
        ({"stem": 16, "stage1": 16, "stage2": 8, "stage3": 4, "stage4": 2}, ("stage2", 8, 9)),
        ({"stem": 56, "stage3": 14, "stage4": 7, "pre_logits_2d": 7}, ("stage4", 7, 8)),
        ({"stem": 12, "stage1": 12, "stage2": 6, "stage3": 3, "stage4": 1}, ("stage1", 12, 13)),
        # None is fine enough: the finest.
        ({"stage3": 2, "stage4": 1, "stem": 6}, ("stem", 6, 7)),
        # One's own names.
        ({"early": 20, "late": 9}, ("late", 9, 10)),
    ],
)
def test_the_deepest_feature_map_that_is_fine_enough_is_taken(sides, expected):
    assert find_feature_map(_with_grids(**sides), (6, 5, 3)) == expected


def test_a_feature_map_can_be_named():
    fn = _with_grids(stem=16, stage4=2)
    found = find_feature_map(fn, (6, 5, 3), "stage4")
    assert found == ("stage4", 2, 3)
    assert str(found) == "stage4, 2 x 3"
    with pytest.raises(InputError, match="no feature map 'stage9'; choose one of stage4, stem"):
        find_feature_map(fn, (6, 5, 3), "stage9")


def test_what_is_too_coarse_to_draw_is_not_chosen():
    assert find_fine(_with_grids(stem=16, stage4=7), (6, 5, 3)) == ("stage4", 7, 8)
    coarse = _with_grids(stem=6, stage4=2)
    assert find_fine(coarse, (6, 5, 3)) is None
    assert find_fine(coarse, (6, 5, 3), "stage4") == ("stage4", 2, 3)
    assert find_fine(lambda images: images.mean((1, 2)), (6, 5, 3)) is None


def test_titles_have_the_feature_map_of_class_activation_maps_alone():
    grid = find_feature_map(_with_grids(stage2=8), (6, 5, 3))
    assert METHODS["grad_cam"].titled(grid) == "Grad-CAM, stage2, 8 x 9"
    assert METHODS["grad_cam"].titled() == "Grad-CAM"
    assert METHODS["saliency"].titled(grid) == "saliency"


@pytest.mark.parametrize("interpolation", ["bilinear", "nearest"])
def test_maps_are_enlarged_to_the_size_of_the_images(interpolation):
    fn = Partial(make_network(), network_weights())
    small = explain.grad_cam(fn, IMAGES, TARGETS, interpolation="none")
    large = explain.grad_cam(fn, IMAGES, TARGETS, interpolation=interpolation)
    assert large.shape == (4, 6, 5)
    expected = jax.image.resize(small, large.shape, interpolation)
    np.testing.assert_allclose(large, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("fn", "options", "message"),
    [
        (POOLED, {"feature_map": "stage4"}, "no feature map 'stage4'; choose one of stem"),
        (linear(normal(3, 6, 5, 3)), {}, "no feature map; it returns logits only"),
        (
            lambda images: (images.mean((1, 2)), {"stage4": images}),
            {},
            "does not accept perturbations=",
        ),
        (
            POOLED,
            {"feature_map": "stem", "interpolation": "cubic"},
            "interpolation='cubic': give one of",
        ),
    ],
)
def test_what_cannot_be_mapped_is_refused(fn, options, message):
    with pytest.raises(InputError, match=message):
        explain.grad_cam(fn, IMAGES, TARGETS, **options)
