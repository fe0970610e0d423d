from typing import get_args

import numpy as np
import pytest
from cervix_jax.explain.quadrature import Quadrature, nodes_and_weights
from hypothesis import given, settings
from hypothesis import strategies as st

from cervix_jax.errors import InputError

RULES = get_args(Quadrature)


@settings(max_examples=30, deadline=None)
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
        ("simpson", 4, "quadrature is 'simpson'; choose one of gauss_legendre"),
        ("trapezoid", 1, "trapezoids need at least 2"),
        ("riemann_left", 0, "steps is 0; give a whole number"),
        ("riemann_left", 2.5, "steps is 2.5; give a whole number"),
    ],
)
def test_bad_rules_are_refused(rule, steps, message):
    with pytest.raises(InputError, match=message):
        nodes_and_weights(rule, steps)
