"""Replaces the gradient rule of every ReLU in a function, by rewriting its traced program.

The function is traced, and its program (a jaxpr) is evaluated operation by operation with
`max(x, 0)` replaced. This works with any model, also with compiled parts, and does not change the
model. A context manager that switches this package's ReLU would be shorter, but it would not reach
the ReLUs of a user's own network, nor programs that were traced and cached before the switch.
"""

from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core

from cervix_jax.errors import InputError

_RECTIFIERS = ("relu", "relu6")  # functions of jax.nn whose own gradient rule is replaced
_REMATERIALISED = ("checkpoint", "remat2")  # names of rematerialisation in different JAX versions


@jax.custom_vjp
def guided_relu(x: jax.Array) -> jax.Array:
    """`max(x, 0)`, whose gradient passes only if both the gradient and `x` are positive.

    Source: Springenberg et al., "Striving for Simplicity", 2015.
    """
    return jnp.maximum(x, 0)


def _forward(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    return jnp.maximum(x, 0), x > 0


def _backward(positive: jax.Array, gradient: jax.Array) -> tuple[jax.Array]:
    return (jnp.where(positive & (gradient > 0), gradient, jnp.zeros_like(gradient)),)


guided_relu.defvjp(_forward, _backward)


def with_guided_rectifiers(fn: Callable[[jax.Array], Any]) -> Callable[[jax.Array], Any]:
    """The function with every `max(x, 0)` replaced by `guided_relu`.

    This replaces `jax.nn.relu`, `jax.nn.relu6` (its upper bound keeps its gradient) and
    `jnp.maximum(x, 0)`, also inside compiled or rematerialised functions. All other operations,
    such as sigmoid and SiLU, keep their gradients.

    Args:
      fn: function of an array that returns a pytree of arrays, without side effects.

    Raises:
      InputError: the returned function was called, and `fn` has no ReLU, or has one inside a loop,
        a condition or a function with its own gradient rule, where it cannot be replaced.
    """

    def guided(x: jax.Array) -> Any:
        traced, shapes = jax.make_jaxpr(fn, return_shape=True)(x)
        if not _has_rectifier(traced.jaxpr):
            raise InputError(
                "guided backpropagation changes the gradient of ReLU, and the model has no ReLU; "
                "choose another method."
            )
        values = _evaluate(traced.jaxpr, traced.consts, [x])
        return jax.tree.unflatten(jax.tree.structure(shapes), values)

    return guided


def has_rectifier(fn: Callable[[jax.Array], Any], shape: tuple[int, ...]) -> bool:
    """Whether the program of `fn`, for an array of this shape, contains a `max(x, 0)`."""
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
            f"guided backpropagation cannot replace the ReLU inside {equation.primitive.name!r}; "
            "choose another method."
        )
    return _ordinary(equation, values, info)


def _ordinary(equation: core.JaxprEqn, values: list, info: Any) -> list:
    # Evaluated as a program of one operation, so that JAX passes the operation's parameters.
    inputs = [(var, value) for var, value in zip(equation.invars, values, strict=True)
              if not isinstance(var, core.Literal)]  # fmt: skip
    unnamed = info._replace(
        arg_names=("",) * len(inputs), result_paths=("",) * len(equation.outvars)
    )
    variables = [var for var, _ in inputs]
    program = core.Jaxpr([], variables, equation.outvars, [equation], debug_info=unnamed)
    return core.jaxpr_as_fun(core.ClosedJaxpr(program, []))(*(value for _, value in inputs))


def _rectified(equation: core.JaxprEqn) -> int | None:
    """Position of the operand of `max` whose other operand is the number 0; else None."""
    if equation.primitive.name != "max":
        return None
    zero = [isinstance(v, core.Literal) and not np.shape(v.val) and v.val == 0
            for v in equation.invars]  # fmt: skip
    return zero.index(False) if sorted(zero) == [False, True] else None


def _inlined(equation: core.JaxprEqn) -> core.ClosedJaxpr | None:
    """The program inside an operation, if it can be evaluated in place of the operation."""
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
