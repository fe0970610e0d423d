"""Loss and gradients of a batch: at once, in parts, or separately on each device for its groups."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.flatten_util import ravel_pytree
from jax.sharding import Mesh, PartitionSpec

from cervix_jax import distributed, target

Gradient = Callable[..., tuple[jax.Array, Any, jax.Array, Any]]
"""`(params, stats, images, targets, dropout, class_weights) -> (loss, stats, logits, gradients)`"""


def make_gradient(value_and_grad: Callable, parts: int, group: int, mesh: Mesh) -> Gradient:
    """Return the function for loss, running statistics, logits and gradients of a global batch.

    Without groups the devices compute jointly, so that every normalisation waits for all of them.
    With groups each device computes independently on its share of the batch, and the values common
    to all (loss, gradients and running statistics) are summed once, at the end.

    Args:
      value_and_grad: value and gradient of a loss `(params, stats, images, targets, dropout,
        class_weights) -> (loss, (stats, logits))`.
      parts: number of equal parts in which a batch is computed one after the other. Each part is
        normalised by its own moments, and the running statistics are updated by each part in turn.
        Part i contains every `parts`-th image (or group) from i on, so each device has its share.
      group: number of images that are normalised together; 0 is the whole batch or part.
      mesh: the devices; the groups of each part divide by their number.
    """
    accumulated = _accumulate(value_and_grad, parts, group)
    if not group or mesh.devices.size == 1:
        return accumulated

    def of_share(*arguments: Any) -> tuple[jax.Array, Any, jax.Array, Any]:
        loss, stats, logits, grads = accumulated(*arguments)
        loss, stats, grads = _mean_over_devices((loss, stats, grads))
        return loss, stats, logits, grads

    all_of_it, share = PartitionSpec(), PartitionSpec(distributed.DATA_AXIS)
    return jax.shard_map(
        of_share,
        mesh=mesh,
        in_specs=(all_of_it, all_of_it, share, share, all_of_it, all_of_it),
        out_specs=(all_of_it, all_of_it, share, all_of_it),
        # With the check, the transpose of each use of a parameter would be a separate sum.
        check_vma=False,
    )


def _mean_over_devices(tree: Any) -> Any:
    if target.platform() != "cpu":
        # The compilers for TPU and GPU combine the sums of all arrays into one or a few. A single
        # vector of all arrays would need copies, and minutes of compilation on a TPU.
        return lax.pmean(tree, distributed.DATA_AXIS)
    vector, restore = ravel_pytree(tree)
    return restore(lax.pmean(vector, distributed.DATA_AXIS))


def _accumulate(value_and_grad: Callable, parts: int, group: int) -> Gradient:
    def whole(params, stats, images, targets, dropout, class_weights):
        (loss, (stats, logits)), grads = value_and_grad(
            params, stats, images, targets, dropout, class_weights
        )
        return loss, stats, logits, grads

    def in_parts(params, stats, images, targets, dropout, class_weights):
        def one(carry, part):
            loss, stats, grads = carry
            own_loss, stats, logits, own = whole(
                params,
                stats,
                part["images"],
                part["targets"],
                jax.random.fold_in(dropout, part["number"]),
                class_weights,
            )
            return (loss + own_loss / parts, stats, _add(grads, own, 1 / parts)), logits

        together = max(group, 1)

        def divide(x: jax.Array) -> jax.Array:
            x = x.reshape(-1, parts, together, *x.shape[1:]).swapaxes(0, 1)
            return x.reshape(parts, -1, *x.shape[3:])

        split = {"images": divide(images), "targets": divide(targets), "number": jnp.arange(parts)}
        start = (jnp.float32(0), stats, jax.tree.map(jnp.zeros_like, params))
        (loss, stats, grads), logits = lax.scan(one, start, split)
        of_image = logits.shape[2:]
        logits = logits.reshape(parts, -1, together, *of_image)
        return loss, stats, logits.swapaxes(0, 1).reshape(-1, *of_image), grads

    return whole if parts == 1 else in_parts


def _add(total: Any, more: Any, share: float) -> Any:
    return jax.tree.map(lambda a, b: a + share * b, total, more)
