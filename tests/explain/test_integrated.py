from typing import get_args

import numpy as np
import pytest
from explained_functions import CLASSES, linear, make_network, network_weights, normal, quadratic
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.tree_util import Partial
from selection import tries

from cervix_jax import explain
from cervix_jax.errors import InputError
from cervix_jax.explain import baselines
from cervix_jax.explain.integrated import Quadrature, nodes_and_weights

IMAGES, TARGETS = normal(4, 6, 5, 3), np.array([2, 0, 1, 1])
WEIGHTS = normal(CLASSES, 6, 5, 3, seed=1)
OWN = WEIGHTS[TARGETS]
COLOUR = np.float32([-2, -1, 0.5])
FORWARD = make_network()


def integrate(fn, output="logit", baselines=COLOUR, **options):
    """Maps, and their sums less the rise of the score."""
    common = {"output": output, "baselines": baselines}
    maps = explain.integrated_gradients(fn, IMAGES, TARGETS, **common, **options)
    return maps, explain.measures.completeness(fn, IMAGES, TARGETS, maps, **common).delta


@pytest.mark.parametrize("rule", get_args(Quadrature))
def test_linear_functions_are_exact_in_every_quadrature(rule):
    """In the trapezoid too, whose weights elsewhere sum to (n - 1) / n."""
    maps, delta = integrate(linear(WEIGHTS, bias=1.0), quadrature=rule, steps=4)
    np.testing.assert_allclose(maps, (IMAGES - COLOUR) * OWN, rtol=1e-4, atol=1e-5)
    assert (maps < 0).any()
    np.testing.assert_allclose(delta, 0, atol=1e-4)


@pytest.mark.parametrize(
    ("rule", "error"),
    [("gauss_legendre", 0), ("riemann_middle", 0), ("trapezoid", 0), ("riemann_left", -1),
     ("riemann_right", 1)],
)  # fmt: skip
def test_quadratic_functions_have_the_error_of_the_quadrature(rule, error):
    """The ends of n intervals miss the integral of 2 w d^2 alpha by w d^2 / n."""
    steps = 8
    maps, delta = integrate(quadratic(WEIGHTS), quadrature=rule, steps=steps)
    missed = error * OWN * (IMAGES - COLOUR) ** 2 / steps
    np.testing.assert_allclose(maps, OWN * (IMAGES**2 - COLOUR**2) + missed, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(delta, missed.sum((1, 2, 3)), rtol=1e-3, atol=1e-3)


def _brightest(images):
    """Logits are the brightest red, green and blue: at a tie all the highest share the gradient."""
    return images.max((1, 2))


@pytest.mark.parametrize("colour", [(0.1, -2.117904, 2.64), (1e-3, 3.3, -0.7), (0.0, 0.0, 0.0)])
@pytest.mark.parametrize("rule", ["riemann_left", "trapezoid"])
def test_lines_begin_exactly_at_the_baseline_and_end_exactly_at_the_image(rule, colour):
    """A colour has ties all over, as max-pooling meets them; a rounding error would break them."""
    images = 0.3 * normal(3, 9, 8, 3, seed=2) + np.float32(colour)
    targets = np.array([0, 1, 2])
    maps = explain.integrated_gradients(
        _brightest, images, targets, baselines=np.float32(colour), steps=2, quadrature=rule
    )
    own = images - np.float32(colour)
    expected = np.zeros_like(images)
    for number, channel in enumerate(targets):
        values = images[number, ..., channel]
        # At the baseline every place has an equal share; then the brightest pixel has all of it.
        ends = (np.full(values.shape, 1 / values.size), (values == values.max()).astype(float))
        expected[number, ..., channel] = np.mean(ends, 0)
    np.testing.assert_allclose(maps, expected * own, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("output", ["logit", "log_probability", "probability"])
def test_completeness_of_a_network_with_enough_steps(output):
    fn = Partial(FORWARD, network_weights())
    maps, few = integrate(fn, steps=2, output=output, baselines=np.zeros(3))
    maps, many = integrate(fn, steps=300, output=output, batch_size=100, baselines=np.zeros(3))
    rise = maps.sum((1, 2, 3)) - many
    assert np.abs(many).max() < 2e-3 * np.abs(rise).max()
    assert np.abs(many).max() < 0.1 * np.abs(few).max()


def test_delta_compares_with_the_scores_themselves():
    fn = quadratic(WEIGHTS)
    maps, delta = integrate(fn, steps=3, quadrature="riemann_left")
    at = np.asarray(fn(IMAGES)) - np.asarray(fn(np.broadcast_to(COLOUR, IMAGES.shape)))
    np.testing.assert_allclose(
        delta, maps.sum((1, 2, 3)) - at[np.arange(4), TARGETS], rtol=1e-4, atol=1e-3
    )


@pytest.mark.parametrize("kind", ["uniform", "several"])
def test_several_baselines_give_the_mean_of_their_maps(kind):
    fn = Partial(FORWARD, network_weights())
    low, high = np.float32([-2, -2, -2]), np.float32([2, 3, 2])
    many = {
        "uniform": baselines.uniform(baselines.InputRange(low, high), 3, seed=4),
        "several": baselines.several(normal(3, 6, 5, 3, seed=5)),
    }[kind]
    each = np.asarray(many.pick(np.arange(3), IMAGES.shape[1:]))
    found, delta = integrate(fn, baselines=many, steps=4)
    parts = [integrate(fn, baselines=one, steps=4) for one in each]
    np.testing.assert_allclose(found, np.mean([m for m, _ in parts], 0), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(delta, np.mean([d for _, d in parts], 0), rtol=1e-3, atol=1e-5)


def test_one_reference_makes_expected_gradients_exact_for_a_linear_function():
    reference = normal(1, 6, 5, 3, seed=3)
    found = explain.expected_gradients(
        linear(WEIGHTS), IMAGES, TARGETS, baselines=baselines.several(reference), samples=7
    )
    np.testing.assert_allclose(found, (IMAGES - reference) * OWN, rtol=1e-4, atol=1e-5)


def test_expected_gradients_share_out_the_rise_above_the_mean_of_the_references():
    fn, references = quadratic(WEIGHTS), normal(5, 6, 5, 3, seed=3)
    found = explain.expected_gradients(
        fn, IMAGES, TARGETS, baselines=baselines.several(references), samples=4000, batch_size=1000
    )
    before = np.asarray(fn(references)).mean(0)
    rise = (np.asarray(fn(IMAGES)) - before)[np.arange(4), TARGETS]
    np.testing.assert_allclose(found.sum((1, 2, 3)), rise, rtol=0.1, atol=1.0)


def test_references_that_do_not_fit_are_refused():
    with pytest.raises(InputError, match=r"baselines have shape \[7, 5, 3\], images \[6, 5, 3\]"):
        explain.expected_gradients(
            linear(WEIGHTS), IMAGES, TARGETS, baselines=baselines.several(normal(2, 7, 5, 3))
        )


@pytest.mark.parametrize("rule", ["gauss_legendre", "riemann_middle"])
def test_blur_path_of_a_linear_function_is_what_the_blur_took(rule):
    maps = explain.blur_integrated_gradients(
        linear(WEIGHTS), IMAGES, TARGETS, max_sigma=3.0, steps=400, quadrature=rule, batch_size=400
    )
    blurred = baselines.blur(IMAGES, 3.0)
    np.testing.assert_allclose(maps, OWN * (IMAGES - blurred), rtol=2e-3, atol=2e-3)
    found = explain.measures.completeness(linear(WEIGHTS), IMAGES, TARGETS, maps, baselines=blurred)
    np.testing.assert_allclose(found.delta, 0, atol=1e-2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"quadrature": "trapezoid"}, "where the blur has no derivative"),
        ({"quadrature": "riemann_right"}, "where the blur has no derivative"),
        ({"max_sigma": 0.0}, "max_sigma=0.0: give a positive number"),
    ],
)
def test_bad_blur_paths_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        explain.blur_integrated_gradients(linear(WEIGHTS), IMAGES, TARGETS, **options)


RULES = get_args(Quadrature)


@settings(max_examples=tries(30))
@given(rule=st.sampled_from(RULES), steps=st.integers(2, 200))
def test_weights_sum_to_one_and_nodes_stay_inside(rule, steps):
    nodes, weights = nodes_and_weights(rule, steps)
    assert nodes.shape == weights.shape == (steps,)
    assert weights.sum() == pytest.approx(1, abs=1e-12)
    assert (np.diff(nodes) > 0).all()
    assert nodes[0] >= 0
    assert nodes[-1] <= 1


@pytest.mark.parametrize(
    ("rule", "degree"),
    [("gauss_legendre", 7), ("riemann_middle", 1), ("trapezoid", 1), ("riemann_left", 0),
     ("riemann_right", 0)],
)  # fmt: skip
def test_exact_for_polynomials_up_to_a_degree_and_no_further(rule, degree):
    nodes, weights = nodes_and_weights(rule, 4)
    errors = [abs(weights @ nodes**power - 1 / (power + 1)) for power in range(degree + 2)]
    assert max(errors[:-1]) < 1e-12
    assert errors[-1] > 1e-6


def test_nodes():
    np.testing.assert_allclose(nodes_and_weights("riemann_left", 4)[0], [0, 0.25, 0.5, 0.75])
    np.testing.assert_allclose(nodes_and_weights("riemann_right", 4)[0], [0.25, 0.5, 0.75, 1])
    np.testing.assert_allclose(nodes_and_weights("trapezoid", 3)[0], [0, 0.5, 1])
    np.testing.assert_allclose(nodes_and_weights("trapezoid", 3)[1], [0.25, 0.5, 0.25])


@pytest.mark.parametrize(
    ("rule", "steps", "message"),
    [
        ("simpson", 4, "quadrature='simpson': give one of gauss_legendre"),
        ("trapezoid", 1, "the trapezoid rule needs at least 2"),
        ("riemann_left", 0, "steps=0: give a whole number"),
        ("riemann_left", 2.5, "steps=2.5: give a whole number"),
    ],
)
def test_bad_rules_are_refused(rule, steps, message):
    with pytest.raises(InputError, match=message):
        nodes_and_weights(rule, steps)
