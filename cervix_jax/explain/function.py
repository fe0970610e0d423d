"""What is explained: the logit, log-probability or probability of a class, per image."""

from collections.abc import Callable, Mapping
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.tree_util import Partial

from cervix_jax.errors import InputError
from cervix_jax.explain.batches import check_choice

LogitsFn = Callable[[jax.Array], Any]
"""Maps float32 images [B, H, W, 3] to logits [B, C], or to a tuple that begins with them."""

Output = Literal["logit", "log_probability", "probability"]


def as_pytree(fn: LogitsFn) -> Partial:
    """The same function as something that can be an argument of a compiled program.

    A `jax.tree_util.Partial` keeps its arrays as arguments; those that some other function
    closes over become constants of the program. A Flax module is taken apart, in evaluation mode.
    """
    if isinstance(fn, nnx.Module):
        graphdef, state = nnx.split(fn)
        return Partial(_call_module, graphdef, state)
    return fn if isinstance(fn, Partial) else Partial(fn)


def _call_module(graphdef: nnx.GraphDef, state: nnx.State, images: jax.Array, **options: Any):
    model = nnx.merge(graphdef, state, copy=True)
    model.eval()
    return model(images, **options)


def call(fn: LogitsFn, images: jax.Array, **options: Any) -> tuple[jax.Array, Mapping]:
    """Logits float32 [B, C] and the features on the way, empty where `fn` gives none."""
    result = fn(images, **options)
    logits, out = (result[0], result[1]) if isinstance(result, tuple) else (result, {})
    return logits.astype(jnp.float32), out


def score_of(logits: jax.Array, targets: jax.Array, output: str) -> jax.Array:
    """The scores [B] of the targets int [B] from logits [B, C]."""
    values = {
        "logit": lambda x: x,
        "log_probability": jax.nn.log_softmax,
        "probability": jax.nn.softmax,
    }[output](logits)
    return jnp.take_along_axis(values, targets[:, None], axis=1)[:, 0]


def gradient(fn: LogitsFn, images: jax.Array, targets: jax.Array, output: str) -> jax.Array:
    """The gradient of each image's own score with respect to it, [B, H, W, 3]."""
    return jax.grad(lambda x: score_of(call(fn, x)[0], targets, output).sum())(images)


def check_inputs(
    fn: LogitsFn, images: np.ndarray | jax.Array, targets: Any, output: str
) -> tuple[Partial, dict[str, np.ndarray]]:
    """The function as a pytree, and `{"images", "targets"}` as arrays on the host.

    Args:
      fn: see `LogitsFn`.
      images: floating point [N, H, W, 3], finite.
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
    images = images.astype(np.float32, copy=False)
    finite = np.isfinite(images).all((1, 2, 3))
    if not finite.all():
        raise InputError(f"image {int(np.argmin(finite))} has values that are not finite.")
    if targets.ndim == 0:
        targets = np.broadcast_to(targets, len(images))
    if targets.shape != (len(images),) or not np.issubdtype(targets.dtype, np.integer):
        raise InputError(
            f"targets are {targets.dtype} {list(targets.shape)}; give int [{len(images)}]."
        )
    fn = as_pytree(fn)
    classes = _count_classes(fn, images.shape[1:])
    outside = targets[(targets < 0) | (targets >= classes)]
    if len(outside):
        raise InputError(f"target {outside[0]} is no class: the model has 0 to {classes - 1}.")
    return fn, {"images": images, "targets": targets.astype(np.int32)}


# Compiled never; but what `jit` has traced once it need not trace again.
_shapes = jax.jit(lambda fn, images: fn(images))


def _count_classes(fn: Partial, shape: tuple[int, ...]) -> int:
    result = _shapes.eval_shape(fn, jax.ShapeDtypeStruct((1, *shape), jnp.float32))
    logits = result[0] if isinstance(result, tuple) else result
    if getattr(logits, "ndim", 0) != 2 or logits.shape[0] != 1:
        raise InputError(
            f"the function returns {getattr(logits, 'shape', type(logits).__name__)} for one "
            "image; it must return logits [1, C]."
        )
    return logits.shape[1]
