import numpy as np
import pytest
from explained_functions import CLASSES, linear, normal, quadratic
from scipy.special import log_softmax, softmax

from cervix_jax import explain
from cervix_jax.errors import InputError

IMAGES, TARGETS = normal(4, 6, 5, 3), np.array([2, 0, 1, 1])
WEIGHTS = normal(CLASSES, 6, 5, 3, seed=1)
OWN = WEIGHTS[TARGETS]


def test_saliency_of_a_linear_function_is_its_weights_with_their_signs():
    maps = explain.saliency(linear(WEIGHTS), IMAGES, TARGETS)
    np.testing.assert_array_equal(maps, OWN)
    assert (maps < 0).any()


def test_input_x_gradient_of_a_linear_function_sums_to_the_logit_without_its_bias():
    fn = linear(WEIGHTS, bias=5.0)
    maps = explain.input_x_gradient(fn, IMAGES, TARGETS)
    logits = np.asarray(fn(IMAGES))[np.arange(4), TARGETS]
    np.testing.assert_allclose(maps.sum((1, 2, 3)), logits - 5, rtol=1e-5, atol=1e-5)


def test_one_target_for_all():
    np.testing.assert_array_equal(
        explain.saliency(linear(WEIGHTS), IMAGES, 1), np.broadcast_to(WEIGHTS[1], IMAGES.shape)
    )


def test_log_probability_and_probability():
    fn = linear(0.1 * WEIGHTS)
    probabilities = softmax(np.asarray(fn(IMAGES)), axis=1)
    mean = np.einsum("bc,chwi->bhwi", probabilities, 0.1 * WEIGHTS)
    expected = 0.1 * OWN - mean
    found = explain.saliency(fn, IMAGES, TARGETS, output="log_probability")
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)
    own = probabilities[np.arange(4), TARGETS][:, None, None, None]
    found = explain.saliency(fn, IMAGES, TARGETS, output="probability")
    np.testing.assert_allclose(found, own * expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("output", ["logit", "log_probability", "probability"])
def test_the_output_is_what_falls_when_all_is_covered(output):
    fn = linear(0.1 * WEIGHTS, bias=np.arange(CLASSES))
    map_ = explain.occlusion(
        fn, IMAGES, TARGETS, baselines=np.zeros(3), window=(6, 5), output=output
    )
    values = {
        "logit": lambda x: x,
        "log_probability": lambda x: log_softmax(x, axis=1),
        "probability": lambda x: softmax(x, axis=1),
    }[output]
    falls = values(np.asarray(fn(IMAGES))) - values(np.arange(CLASSES, dtype=float)[None])
    expected = falls[np.arange(4), TARGETS]
    np.testing.assert_allclose(map_[:, 3, 3], expected, rtol=1e-4, atol=1e-6)


def test_without_noise_smooth_grad_is_the_gradient():
    fn = quadratic(WEIGHTS)
    plain = explain.saliency(fn, IMAGES, TARGETS)
    np.testing.assert_allclose(plain, 2 * OWN * IMAGES, rtol=1e-5)
    run = {"noise": 0.0, "samples": 3}
    mean = explain.smooth_grad(fn, IMAGES, TARGETS, **run)
    squared = explain.smooth_grad(fn, IMAGES, TARGETS, kind="squared", **run)
    variance = explain.smooth_grad(fn, IMAGES, TARGETS, kind="variance", **run)
    np.testing.assert_allclose(mean, plain, rtol=1e-5)
    np.testing.assert_allclose(squared, plain**2, rtol=1e-5)
    np.testing.assert_allclose(variance, 0, atol=1e-5)


def test_smooth_grad_of_a_quadratic_function_has_the_noise_s_moments():
    """The gradient 2 w (x + noise) has mean 2 w x and variance (2 w sigma)^2."""
    fn, samples, noise = quadratic(WEIGHTS), 500, 0.1
    sigma = noise * np.ptp(IMAGES, axis=(1, 2, 3))[:, None, None, None]
    run = {"noise": noise, "samples": samples, "batch_size": 500}
    mean = explain.smooth_grad(fn, IMAGES, TARGETS, **run)
    deviation = np.abs(2 * OWN * sigma)
    standardised = (mean - 2 * OWN * IMAGES) / deviation * np.sqrt(samples)
    assert np.abs(standardised).max() < 5
    assert standardised.std() == pytest.approx(1, abs=0.2)
    variance = explain.smooth_grad(fn, IMAGES, TARGETS, kind="variance", **run)
    assert (variance / deviation**2).mean() == pytest.approx(1, abs=0.05)
    squared = explain.smooth_grad(fn, IMAGES, TARGETS, kind="squared", **run)
    np.testing.assert_allclose(squared, variance + mean**2, rtol=1e-3, atol=1e-4)


def test_the_seed_decides_the_noise():
    maps = [
        explain.smooth_grad(quadratic(WEIGHTS), IMAGES, TARGETS, samples=2, seed=seed)
        for seed in (0, 0, 1)
    ]
    np.testing.assert_array_equal(maps[0], maps[1])
    assert not np.allclose(maps[0], maps[2])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "median"}, "kind='median'.*: give one of mean, squared, variance"),
        ({"samples": 1, "kind": "variance"}, "samples=1: give a whole number of at least 2"),
        ({"noise": -1}, "noise=-1: give a share"),
        ({"noise": np.nan}, "noise=nan"),
    ],
)
def test_bad_settings_of_smooth_grad_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        explain.smooth_grad(linear(WEIGHTS), IMAGES, TARGETS, **options)


def test_functions_that_return_no_logits_are_refused():
    with pytest.raises(InputError, match=r"it must return logits \[1, C\]"):
        explain.saliency(lambda images: images.sum(), IMAGES, TARGETS)
    with pytest.raises(InputError, match=r"it must return logits \[1, C\]"):
        explain.saliency(lambda images: images.sum((1, 2, 3)), IMAGES, TARGETS)


def test_plain_functions_and_what_they_close_over_will_do():
    maps = explain.saliency(lambda images: linear(WEIGHTS)(images), IMAGES, TARGETS)
    np.testing.assert_array_equal(maps, OWN)
