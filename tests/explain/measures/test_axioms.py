import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from models_of_maps import (
    IMAGES,
    SIDE,
    TARGETS,
    gradients,
    linear,
    quadratic,
)
from scipy.special import softmax

from cervix_jax.errors import InputError
from cervix_jax.explain.baselines import several
from cervix_jax.explain.measures import completeness

BASELINES = np.random.default_rng(3).normal(size=(2, *IMAGES.shape)).astype(np.float32)
SQUARES = gradients() * IMAGES**2  # gradient times input of `quadratic`


def integrated(baseline):
    """Integrated gradients of `quadratic` by hand: w (x^2 - b^2) / 2 for each value."""
    return gradients() * (IMAGES**2 - np.asarray(baseline, np.float64) ** 2) / 2


@pytest.mark.parametrize(
    "baseline", [0.0, [0.1, -0.2, 0.3], BASELINES[0, 0], BASELINES[1]], ids=np.ndim
)
def test_integrated_gradients_of_a_quadratic_are_complete(baseline):
    found = completeness(quadratic, IMAGES, TARGETS, integrated(baseline), baselines=baseline)
    np.testing.assert_allclose(found.delta, 0, atol=1e-4)
    assert found.relative.max() < 1e-4


def test_gradient_times_input_of_a_quadratic_counts_twice():
    """It sums to w x^2, but f(x) - f(0) is half of that."""
    found = completeness(quadratic, IMAGES, TARGETS, SQUARES, baselines=0.0)
    np.testing.assert_allclose(found.delta, SQUARES.sum((1, 2, 3)) / 2, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(found.relative, 1, rtol=1e-3)


@pytest.mark.parametrize("shape", [(2, SIDE, SIDE, 3), (2, 1, 1, 3)])
def test_maps_averaged_over_several_baselines(shape):
    many = np.random.default_rng(3).normal(size=shape).astype(np.float32)
    maps = (integrated(many[0]) + integrated(many[1])) / 2
    both = completeness(quadratic, IMAGES, TARGETS, maps, baselines=several(many))
    assert np.abs(both.delta).max() < 1e-4
    one = completeness(quadratic, IMAGES, TARGETS, maps, baselines=many[0])
    assert (np.abs(one.delta) > 0.01).all()


def test_a_map_of_zeros_is_all_wrong_and_no_change_is_undefined():
    found = completeness(linear, IMAGES, TARGETS, np.zeros(IMAGES.shape[:3]), baselines=0.0)
    np.testing.assert_allclose(found.relative, 1)
    same = completeness(linear, IMAGES, TARGETS, gradients() * IMAGES, baselines=IMAGES)
    assert np.isnan(same.relative).all()
    np.testing.assert_allclose(same.delta, (gradients() * IMAGES).sum((1, 2, 3)), rtol=1e-4)


def test_a_map_without_channels_is_summed_too():
    maps = gradients() * IMAGES
    flat = completeness(linear, IMAGES, TARGETS, maps.sum(-1), baselines=0.0)
    np.testing.assert_allclose(flat.delta, 0, atol=1e-4)


def test_the_output_that_the_maps_explain():
    """They add up in the logit, not in the probability."""
    maps = gradients() * IMAGES
    logit = completeness(linear, IMAGES, TARGETS, maps, baselines=0.0)
    probability = completeness(linear, IMAGES, TARGETS, maps, baselines=0.0, output="probability")
    assert logit.relative.max() < 1e-4
    rows = np.arange(4)
    of_image, of_black = (
        softmax(np.asarray(linear(x)), axis=1)[rows, TARGETS] for x in (IMAGES, 0 * IMAGES)
    )
    expected = maps.sum((1, 2, 3)) - (of_image - of_black)
    np.testing.assert_allclose(probability.delta, expected, rtol=1e-4, atol=1e-4)


@settings(max_examples=15)
@given(error=st.floats(-3, 3), batch_size=st.integers(1, 5), order=st.permutations(range(4)))
def test_relative_error_is_that_of_the_sum(error, batch_size, order):
    order = np.array(order)
    maps = (1 + error) * gradients() * IMAGES
    found = completeness(
        linear, IMAGES[order], TARGETS[order], maps[order], baselines=0.0, batch_size=batch_size
    )
    np.testing.assert_allclose(found.relative, abs(error), rtol=1e-3, atol=1e-4)


def test_bad_input():
    with pytest.raises(InputError, match="NaN"):
        completeness(linear, IMAGES, TARGETS, np.where(IMAGES > 2, np.nan, IMAGES), baselines=0.0)
    with pytest.raises(InputError, match="baselines have shape"):
        completeness(linear, IMAGES, TARGETS, IMAGES, baselines=np.zeros((SIDE, 5)))
    with pytest.raises(InputError, match="resize the maps"):
        completeness(linear, IMAGES, TARGETS, IMAGES[:, :3], baselines=0.0)
