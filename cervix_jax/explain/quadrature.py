"""Rules that turn an integral over 0 to 1 into a weighted sum."""

from collections.abc import Callable
from typing import Literal, get_args

import numpy as np

from cervix_jax.errors import InputError
from cervix_jax.explain.batches import check_choice, check_count

Quadrature = Literal[
    "gauss_legendre", "riemann_middle", "riemann_left", "riemann_right", "trapezoid"
]


def nodes_and_weights(rule: Quadrature, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Where the integrand is evaluated, and what each value counts.

    Args:
      rule: Gauss and Legendre's nodes; the middle, left or right ends of `steps` equal intervals;
        or trapezoids over `steps - 1` intervals, whose ends count half.
      steps: number of nodes; at least 2 for trapezoids.

    Returns:
      Nodes in [0, 1] and weights, float64 [steps]. The weights of every rule sum to 1.

    Raises:
      InputError: an unknown rule, or too few steps.
    """
    check_choice("quadrature", rule, get_args(Quadrature))
    check_count("steps", steps)
    if rule == "trapezoid" and steps < 2:
        raise InputError("steps is 1; trapezoids need at least 2.")
    return _RULES[rule](steps)


def _gauss_legendre(steps: int) -> tuple[np.ndarray, np.ndarray]:
    nodes, weights = np.polynomial.legendre.leggauss(steps)
    return (nodes + 1) / 2, weights / 2


def _riemann(offset: float) -> Callable[[int], tuple[np.ndarray, np.ndarray]]:
    return lambda steps: ((np.arange(steps) + offset) / steps, np.full(steps, 1 / steps))


def _trapezoid(steps: int) -> tuple[np.ndarray, np.ndarray]:
    weights = np.full(steps, 1 / (steps - 1))
    weights[[0, -1]] /= 2
    return np.linspace(0, 1, steps), weights


_RULES = {
    "gauss_legendre": _gauss_legendre,
    "riemann_middle": _riemann(0.5),
    "riemann_left": _riemann(0.0),
    "riemann_right": _riemann(1.0),
    "trapezoid": _trapezoid,
}
