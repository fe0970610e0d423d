"""The explained function and score: logit, log-probability or probability of a class."""

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

A function, a `jax.tree_util.Partial` of a function, an `nnx` module or a bound `linen` module. The
key of a compiled program is the function and the structure of the arrays in a `Partial` or a
module; the arrays are arguments of the program, so modules of the same structure share a program.
Arrays that a plain function closes over become constants of a separate program.
"""

Output = Literal["logit", "log_probability", "probability"]


def as_pytree(fn: LogitsFn) -> Partial:
    """The function as a pytree that can be an argument of a compiled program.

    Flax modules are split into structure and arrays; `nnx` modules run in evaluation mode.

    Raises:
      InputError: `fn` is a `linen` module without variables, or cannot be called.
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
        raise InputError(f"fn is a {type(fn).__name__}; give a function or a model.")
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
    """Passes images to a function in the caller's narrow type, such as bfloat16."""

    dtype: np.dtype

    def __call__(self, fn: Callable, images: jax.Array, **options: Any) -> Any:
        return fn(images.astype(self.dtype), **options)


def call(fn: LogitsFn, images: jax.Array, **options: Any) -> tuple[jax.Array, Mapping]:
    """Logits float32 [B, C] and the features; the features are empty if `fn` returns none."""
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
    """The gradient of each image's score with respect to the image, [B, H, W, 3]."""
    return jax.grad(lambda x: score_of(call(fn, x)[0], targets, output).sum())(images)


def check_inputs(
    fn: LogitsFn, images: ArrayLike, targets: ArrayLike, output: str = "logit"
) -> tuple[Partial, dict[str, np.ndarray]]:
    """The function as a pytree, and `{"images", "targets"}` as arrays on the host.

    Args:
      fn: see `LogitsFn`.
      images: floating point [N, H, W, 3], finite. The function receives bfloat16 or float16 images
        if they have that type, else float32; everything else is computed in float32.
      targets: int [N], or one class for all.
      output: one of `Output`.

    Raises:
      InputError: an argument is invalid, or `fn` does not return logits.
    """
    check_choice("output", output, get_args(Output))
    images, targets = np.asarray(images), np.asarray(targets)
    if images.ndim != 4 or images.shape[-1] != 3 or not jnp.issubdtype(images.dtype, jnp.floating):
        raise InputError(
            f"images are {images.dtype} {list(images.shape)}; give floating point [N, H, W, 3], "
            "preprocessed for the model (by run.preprocess)."
        )
    fn = as_pytree(fn)
    if images.dtype.itemsize < 4:
        fn = Partial(_Narrow(images.dtype), fn)
    images = images.astype(np.float32, copy=False)
    finite = np.isfinite(images).all((1, 2, 3))
    if not finite.all():
        raise InputError(
            f"image {int(np.argmin(finite))} has values that are not finite; remove or correct it."
        )
    if targets.ndim == 0:
        targets = np.broadcast_to(targets, len(images))
    if targets.shape != (len(images),) or not np.issubdtype(targets.dtype, np.integer):
        raise InputError(
            f"targets are {targets.dtype} {list(targets.shape)}; give int [{len(images)}], or one "
            "class."
        )
    classes = count_classes(fn, images.shape[1:])
    outside = targets[(targets < 0) | (targets >= classes)]
    if len(outside):
        raise InputError(f"target {outside[0]} is not a class; give 0 to {classes - 1}.")
    return fn, {"images": images, "targets": targets.astype(np.int32)}


# Never compiled; `jit` caches the traced program for `eval_shape`.
_shapes = jax.jit(lambda fn, images: fn(images))


def count_classes(fn: LogitsFn, shape: tuple[int, ...]) -> int:
    """Number of classes of a function, from its logits for an image of this shape.

    Raises:
      InputError: the function returns no logits.
    """
    result = _shapes.eval_shape(as_pytree(fn), jax.ShapeDtypeStruct((1, *shape), jnp.float32))
    logits = result[0] if isinstance(result, tuple) else result
    if getattr(logits, "ndim", 0) != 2 or logits.shape[0] != 1:
        raise InputError(
            f"the function returns {getattr(logits, 'shape', type(logits).__name__)} for one "
            "image; it must return logits [1, C]."
        )
    return logits.shape[1]
