"""What is explained: the logit, log-probability or probability of a class, per image."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen, nnx
from jax.tree_util import Partial
from numpy.typing import ArrayLike
from scipy.special import log_softmax, softmax

from cervix_jax.errors import InputError, check_choice

LogitsFn = Callable[..., Any]
"""Maps images [B, H, W, 3] to logits [B, C], or to a tuple that begins with them.

A function, a `jax.tree_util.Partial` of one, an `nnx` module or a bound `linen` module. A compiled
program is known by the function and by the structure of what a `Partial` or a module holds, whose
arrays are its arguments: modules of the same structure share a program. The arrays that a plain
function closes over become constants of a program that is its own.
"""

Output = Literal["logit", "log_probability", "probability"]


def as_pytree(fn: LogitsFn) -> Partial:
    """The same function as something that can be an argument of a compiled program.

    Flax modules are taken apart; those of `nnx` are called in evaluation mode.

    Raises:
      InputError: a `linen` module without its variables, or what cannot be called.
    """
    if isinstance(fn, Partial):
        return fn
    if isinstance(fn, nnx.Module):
        return Partial(_call_nnx, *nnx.split(fn))
    if isinstance(fn, linen.Module):
        if fn.scope is None:
            raise InputError("the linen module has no variables; give module.bind(variables).")
        module, variables = fn.unbind()
        return Partial(_Linen(module), variables)
    if not callable(fn):
        raise InputError(f"what is explained is a {type(fn).__name__}; give a function or a model.")
    return Partial(fn)


def _call_nnx(graphdef: nnx.GraphDef, state: nnx.State, images: jax.Array, **options: Any) -> Any:
    model = nnx.merge(graphdef, state, copy=True)
    model.eval()
    return model(images, **options)


@dataclasses.dataclass(frozen=True)
class _Linen:
    """An unbound module as a function; equal modules are equal functions."""

    module: linen.Module

    def __call__(self, variables: Mapping, images: jax.Array, **options: Any) -> Any:
        return self.module.apply(variables, images, **options)


@dataclasses.dataclass(frozen=True)
class _Narrow:
    """Gives a function its images in the narrow type that the caller's have."""

    dtype: np.dtype

    def __call__(self, fn: Callable, images: jax.Array, **options: Any) -> Any:
        return fn(images.astype(self.dtype), **options)


def call(fn: LogitsFn, images: jax.Array, **options: Any) -> tuple[jax.Array, Mapping]:
    """Logits float32 [B, C] and the features on the way, empty where `fn` gives none."""
    result = fn(images, **options)
    logits, out = (result[0], result[1]) if isinstance(result, tuple) else (result, {})
    return logits.astype(jnp.float32), out


def score_of(logits: jax.Array, targets: jax.Array, output: str) -> jax.Array:
    """The scores [B] of the targets int [B] from logits [B, C], within a traced program."""
    values = {
        "logit": lambda x: x,
        "log_probability": jax.nn.log_softmax,
        "probability": jax.nn.softmax,
    }[output](logits)
    return jnp.take_along_axis(values, targets[:, None], axis=1)[:, 0]


def exact_scores(logits: np.ndarray, targets: np.ndarray, output: str) -> np.ndarray:
    """The scores [N, S] of the targets int [N] from logits [N, S, C], on the host in float64."""
    logits = logits.astype(np.float64)
    values = {
        "logit": lambda x: x,
        "log_probability": lambda x: log_softmax(x, axis=-1),
        "probability": lambda x: softmax(x, axis=-1),
    }[output](logits)
    return np.take_along_axis(values, targets[:, None, None], axis=-1)[..., 0]


def gradient(fn: LogitsFn, images: jax.Array, targets: jax.Array, output: str) -> jax.Array:
    """The gradient of each image's own score with respect to it, [B, H, W, 3]."""
    return jax.grad(lambda x: score_of(call(fn, x)[0], targets, output).sum())(images)


def check_inputs(
    fn: LogitsFn, images: ArrayLike, targets: ArrayLike, output: str = "logit"
) -> tuple[Partial, dict[str, np.ndarray]]:
    """The function as a pytree, and `{"images", "targets"}` as arrays on the host.

    Args:
      fn: see `LogitsFn`.
      images: floating point [N, H, W, 3], finite. The function is given bfloat16 (or float16) where
        they are that, and float32 otherwise; all else is computed in float32.
      targets: int [N], or one class for all.
      output: one of `Output`.

    Raises:
      InputError: any of these is otherwise, or `fn` does not return logits.
    """
    check_choice("output", output, get_args(Output))
    images, targets = np.asarray(images), np.asarray(targets)
    if images.ndim != 4 or images.shape[-1] != 3 or not jnp.issubdtype(images.dtype, jnp.floating):
        raise InputError(
            f"images are {images.dtype} {list(images.shape)}; give floating point [N, H, W, 3], "
            "as the model takes them (run.preprocess makes them)."
        )
    fn = as_pytree(fn)
    if images.dtype.itemsize < 4:
        fn = Partial(_Narrow(images.dtype), fn)
    images = images.astype(np.float32, copy=False)
    finite = np.isfinite(images).all((1, 2, 3))
    if not finite.all():
        raise InputError(f"image {int(np.argmin(finite))} has values that are not finite.")
    if targets.ndim == 0:
        targets = np.broadcast_to(targets, len(images))
    if targets.shape != (len(images),) or not np.issubdtype(targets.dtype, np.integer):
        raise InputError(
            f"targets are {targets.dtype} {list(targets.shape)}; give int [{len(images)}], or one."
        )
    classes = count_classes(fn, images.shape[1:])
    outside = targets[(targets < 0) | (targets >= classes)]
    if len(outside):
        raise InputError(f"target {outside[0]} is no class: the model has 0 to {classes - 1}.")
    return fn, {"images": images, "targets": targets.astype(np.int32)}


# Compiled never; but what `jit` has traced once it need not trace again.
_shapes = jax.jit(lambda fn, images: fn(images))


def count_classes(fn: LogitsFn, shape: tuple[int, ...]) -> int:
    """How many classes a function has, by the logits that it returns for an image of this shape.

    Raises:
      InputError: it returns no logits.
    """
    result = _shapes.eval_shape(as_pytree(fn), jax.ShapeDtypeStruct((1, *shape), jnp.float32))
    logits = result[0] if isinstance(result, tuple) else result
    if getattr(logits, "ndim", 0) != 2 or logits.shape[0] != 1:
        raise InputError(
            f"the function returns {getattr(logits, 'shape', type(logits).__name__)} for one "
            "image; it must return logits [1, C]."
        )
    return logits.shape[1]
