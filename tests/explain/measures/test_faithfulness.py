import jax
import jax.numpy as jnp
import numpy as np
import pytest
from models_of_maps import (
    IMAGES,
    SIDE,
    TARGETS,
    gradients,
    linear,
    quadratic,
)

from cervix_jax.errors import InputError
from cervix_jax.explain.measures import GaussianNoise, SquareRemoval, infidelity


@pytest.mark.parametrize("perturbation", [GaussianNoise(0.5), SquareRemoval(3, 0.25)])
def test_the_gradient_of_a_linear_model_is_perfect(perturbation):
    found = infidelity(linear, IMAGES, TARGETS, gradients(), perturbation=perturbation)
    assert found.infidelity.max() < 1e-8
    assert (found.change > 0.01).all()
    np.testing.assert_allclose(found.beta, 1, atol=1e-4)


def test_twice_the_gradient_costs_the_change_and_is_mended_by_beta():
    found = infidelity(linear, IMAGES, TARGETS, 2 * gradients())
    np.testing.assert_allclose(found.infidelity, found.change, rtol=1e-4)
    np.testing.assert_allclose(found.beta, 0.5, atol=1e-4)
    assert found.normalised.max() < 1e-8


def test_change_of_a_linear_model_has_the_closed_form():
    """E[(I . w)^2] = deviation^2 |w|^2."""
    found = infidelity(
        linear, IMAGES, TARGETS, gradients() * 0, perturbation=GaussianNoise(0.3), samples=3000
    )
    expected = 0.09 * (gradients() ** 2).sum((1, 2, 3))
    np.testing.assert_allclose(found.change, expected, rtol=0.12)


def test_a_map_of_zeros_predicts_no_change():
    found = infidelity(linear, IMAGES, TARGETS, gradients() * 0)
    np.testing.assert_allclose(found.infidelity, found.change)
    np.testing.assert_allclose(found.normalised, found.change)
    assert np.isnan(found.beta).all()


def test_what_the_method_multiplied_by_is_divided_out():
    found = infidelity(
        linear, IMAGES, TARGETS, gradients() * IMAGES, multiplied_by=IMAGES, samples=8
    )
    assert found.infidelity.max() < 1e-6
    with_zero = np.where(np.arange(3) == 1, 0, IMAGES)
    found = infidelity(
        linear, IMAGES, TARGETS, gradients() * with_zero, multiplied_by=with_zero, samples=8
    )
    assert np.isfinite(found.infidelity).all()


def test_infidelity_of_a_quadratic_model_by_hand():
    """x w x / 2 less I: the gradient w x errs by w I^2 / 2."""
    side = SquareRemoval(SIDE, 0.0)  # the whole image goes: I = x
    maps = np.moveaxis(np.asarray(jax.jacobian(quadratic)(IMAGES)), 1, 0)
    maps = np.stack([maps[TARGETS[i], i, i] for i in range(4)])
    found = infidelity(quadratic, IMAGES, TARGETS, maps, perturbation=side, samples=2)
    score = np.asarray(quadratic(IMAGES))[np.arange(4), TARGETS]
    np.testing.assert_allclose(found.infidelity, score**2, rtol=1e-3)
    np.testing.assert_allclose(found.beta, 0.5, atol=1e-4)


def test_a_map_without_channels_stands_for_each_channel():
    flat = gradients().mean(-1)
    alike = np.repeat(flat[..., None], 3, -1)
    first = infidelity(linear, IMAGES, TARGETS, flat, samples=4)
    second = infidelity(linear, IMAGES, TARGETS, alike, samples=4)
    np.testing.assert_allclose(first.infidelity, second.infidelity)


def test_normalised_does_not_depend_on_scale_nor_anything_on_batch_size_or_order():
    rng = np.random.default_rng(1)
    maps = rng.normal(size=IMAGES.shape)
    first = infidelity(linear, IMAGES, TARGETS, maps, samples=5, batch_size=32)
    scaled = infidelity(linear, IMAGES, TARGETS, -30 * maps, samples=5, batch_size=3)
    np.testing.assert_allclose(scaled.normalised, first.normalised, rtol=1e-4)
    np.testing.assert_allclose(scaled.change, first.change, rtol=1e-4)
    order = np.array([2, 0, 3, 1])
    permuted = infidelity(
        linear, IMAGES[order], TARGETS[order], maps[order], samples=5, ids=order, batch_size=7
    )
    np.testing.assert_allclose(permuted.infidelity, first.infidelity[order], rtol=1e-4)
    assert (first.normalised <= first.infidelity + 1e-9).all()
    assert (first.normalised <= first.change + 1e-9).all()


def test_square_removal_sets_a_square_anywhere_to_the_value():
    image = jnp.asarray(IMAGES[0])
    corners = set()
    for seed in range(60):
        left = image - SquareRemoval(2, 0.5)(jax.random.key(seed), image)
        changed = np.argwhere(np.asarray((jnp.abs(left - image) > 1e-6).any(-1)))
        assert len(changed) == 4
        assert np.ptp(changed, axis=0).tolist() == [1, 1]
        np.testing.assert_allclose(left[tuple(changed.T)], 0.5, atol=1e-6)
        corners.add(tuple(changed[0]))
    assert {corner[0] for corner in corners} == set(range(SIDE - 1))


def test_bad_input():
    with pytest.raises(InputError, match="side=7"):
        infidelity(linear, IMAGES, TARGETS, gradients(), perturbation=SquareRemoval(7))
    with pytest.raises(InputError, match="samples=0:"):
        infidelity(linear, IMAGES, TARGETS, gradients(), samples=0)
    with pytest.raises(InputError, match="multiplied_by"):
        infidelity(linear, IMAGES, TARGETS, gradients(), multiplied_by=np.ones(5))
