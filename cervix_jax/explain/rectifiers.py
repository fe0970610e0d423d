"""A function with another gradient rule for its rectifiers, found in its traced program.

There are no hooks and no switches in the models: the function is traced, and its program
(a jaxpr) is evaluated operation by operation with `max(x, 0)` replaced. So it works with any
model, whether or not it is compiled inside, and leaves nothing behind. A ReLU of this package that
a context switches would be shorter, but would leave the ReLUs of a user's own network as they are,
and would miss every program that was traced, and so cached, before the switch.
"""

from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core

from cervix_jax.errors import InputError

_RECTIFIERS = ("relu", "relu6")  # functions of jax.nn whose own gradient rule is left out
_REMATERIALISED = ("checkpoint", "remat2")  # JAX has called it both


@jax.custom_vjp
def guided_relu(x: jax.Array) -> jax.Array:
    """`max(x, 0)`, whose gradient passes only where it and `x` are positive.

    Source: Springenberg et al., "Striving for Simplicity", 2015.
    """
    return jnp.maximum(x, 0)


def _forward(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    return jnp.maximum(x, 0), x > 0


def _backward(positive: jax.Array, gradient: jax.Array) -> tuple[jax.Array]:
    return (jnp.where(positive & (gradient > 0), gradient, jnp.zeros_like(gradient)),)


guided_relu.defvjp(_forward, _backward)


def with_guided_rectifiers(fn: Callable[[jax.Array], Any]) -> Callable[[jax.Array], Any]:
    """The function with `guided_relu` in the place of every `max(x, 0)`.

    That is `jax.nn.relu`, `jax.nn.relu6` (whose upper bound keeps its gradient) and
    `jnp.maximum(x, 0)`, also inside functions that are compiled or rematerialised. All other
    operations, sigmoid and SiLU among them, keep their gradients.

    Args:
      fn: maps an array to a pytree of arrays; values only, it cannot have side effects.

    Raises:
      InputError: when called, if `fn` has no rectifier, or has one inside a loop, a condition or a
        function with a gradient rule of its own, where it cannot be replaced.
    """

    def guided(x: jax.Array) -> Any:
        traced, shapes = jax.make_jaxpr(fn, return_shape=True)(x)
        if not _has_rectifier(traced.jaxpr):
            raise InputError(
                "guided backpropagation changes the gradient of ReLU, and this model has none; "
                "choose another method."
            )
        values = _evaluate(traced.jaxpr, traced.consts, [x])
        return jax.tree.unflatten(jax.tree.structure(shapes), values)

    return guided


def has_rectifier(fn: Callable[[jax.Array], Any], shape: tuple[int, ...]) -> bool:
    """Whether `fn`, of an array of this shape, has a `max(x, 0)` anywhere in its program."""
    return _has_rectifier(jax.make_jaxpr(fn)(jax.ShapeDtypeStruct(shape, jnp.float32)).jaxpr)


def _evaluate(jaxpr: core.Jaxpr, consts: list, arguments: list) -> list:
    known = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*consts, *arguments], strict=True))

    def read(var: Any) -> Any:
        return var.val if isinstance(var, core.Literal) else known[var]

    for equation in jaxpr.eqns:
        values = [read(var) for var in equation.invars]
        results = _apply(equation, values, jaxpr.debug_info)
        for var, value in zip(equation.outvars, results, strict=True):
            known[var] = value
    return [read(var) for var in jaxpr.outvars]


def _apply(equation: core.JaxprEqn, values: list, info: Any) -> list:
    rectified = _rectified(equation)
    if rectified is not None:
        return [guided_relu(values[rectified])]
    inner = _inlined(equation)
    if inner is not None and _has_rectifier(inner.jaxpr):
        if equation.primitive.name in _REMATERIALISED:
            call = jax.checkpoint(lambda *args: _evaluate(inner.jaxpr, inner.consts, list(args)))
            return call(*values)
        return _evaluate(inner.jaxpr, inner.consts, values)
    if any(_has_rectifier(other) for other in _inside(equation)):
        raise InputError(
            f"a ReLU inside {equation.primitive.name!r} cannot be given the guided rule; choose "
            "another method."
        )
    return _ordinary(equation, values, info)


def _ordinary(equation: core.JaxprEqn, values: list, info: Any) -> list:
    # As a program of its own, since only JAX knows how the parameters of an operation are passed.
    inputs = [(var, value) for var, value in zip(equation.invars, values, strict=True)
              if not isinstance(var, core.Literal)]  # fmt: skip
    unnamed = info._replace(
        arg_names=("",) * len(inputs), result_paths=("",) * len(equation.outvars)
    )
    variables = [var for var, _ in inputs]
    program = core.Jaxpr([], variables, equation.outvars, [equation], debug_info=unnamed)
    return core.jaxpr_as_fun(core.ClosedJaxpr(program, []))(*(value for _, value in inputs))


def _rectified(equation: core.JaxprEqn) -> int | None:
    """Which operand of `max` is rectified, where the other one is the number 0."""
    if equation.primitive.name != "max":
        return None
    zero = [isinstance(v, core.Literal) and not np.shape(v.val) and v.val == 0
            for v in equation.invars]  # fmt: skip
    return zero.index(False) if sorted(zero) == [False, True] else None


def _inlined(equation: core.JaxprEqn) -> core.ClosedJaxpr | None:
    """The program inside an operation that may be evaluated in its place."""
    if equation.primitive.name == "jit":
        return equation.params["jaxpr"]
    if equation.primitive.name in _REMATERIALISED:
        return core.ClosedJaxpr(equation.params["jaxpr"], [])
    if equation.primitive.name == "custom_jvp_call":
        inner = equation.params["call_jaxpr"]
        return inner if inner.jaxpr.debug_info.func_name in _RECTIFIERS else None
    return None


def _has_rectifier(jaxpr: core.Jaxpr) -> bool:
    return any(
        _rectified(equation) is not None or any(map(_has_rectifier, _inside(equation)))
        for equation in jaxpr.eqns
    )


def _inside(equation: core.JaxprEqn) -> Iterator[core.Jaxpr]:
    for value in jax.tree.leaves(
        list(equation.params.values()), is_leaf=lambda x: isinstance(x, core.ClosedJaxpr)
    ):
        if isinstance(value, core.ClosedJaxpr):
            yield value.jaxpr
        elif isinstance(value, core.Jaxpr):
            yield value
