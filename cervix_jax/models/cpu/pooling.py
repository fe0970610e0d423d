"""Pooling of [B, H, W, C]; on the CPU with a custom gradient of maxima that gives equal results.

XLA's gradient searches every maximum again in a variadic reduction, which takes 2.5 to 3.7 times as
long as storing the positions (benchmarks/README.md, jaxlib 0.12).
"""

import functools
from collections.abc import Iterator
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from cervix_jax import target
from cervix_jax.models.cpu import convolution


def max_pool(x: jax.Array) -> jax.Array:
    """3x3 maxima at stride 2 with a border of minus infinity: [B, H, W, C] to ceil(H / 2)."""
    if target.platform() == "cpu":
        return max_pool_by_place(x)
    # Flax's annotation allows padding only as a string; its documentation allows pairs too.
    return nnx.max_pool(x, (3, 3), (2, 2), cast(Any, ((1, 1), (1, 1))))


def average_pool(x: jax.Array) -> jax.Array:
    """2x2 means at stride 2: [B, H, W, C] to H // 2; an odd last row or column is dropped."""
    return nnx.avg_pool(x, (2, 2), (2, 2))


def global_average_pool(x: jax.Array) -> jax.Array:
    """Mean over height and width: [B, H, W, C] to float32 [B, C]."""
    return x.astype(jnp.float32).mean((1, 2))


@jax.custom_vjp
def max_pool_by_place(x: jax.Array) -> jax.Array:
    """`max_pool` that stores for its gradient which of the nine pixels each maximum was."""
    return functools.reduce(jnp.maximum, _windows(x))


def _windows(x: jax.Array) -> Iterator[jax.Array]:
    """Yield the nine pixels under each window, as nine images of the pooled size."""
    bordered = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=-jnp.inf)
    rows, columns = (-(-size // 2) for size in x.shape[1:3])
    return convolution.shifts(bordered, 3, 2, rows, columns)


def _max_pool_forward(x: jax.Array):
    pixels = _windows(x)
    highest = next(pixels)
    place = jnp.zeros(highest.shape, jnp.int8)
    for number, pixel in enumerate(pixels, 1):
        # Of equal maxima the first receives the gradient, as in XLA and PyTorch.
        place = jnp.where(pixel > highest, jnp.int8(number), place)
        highest = jnp.maximum(highest, pixel)
    return highest, (place, x[:0])  # nothing of x except its size


def _max_pool_backward(residuals: tuple[jax.Array, jax.Array], gradient: jax.Array):
    place, empty = residuals
    rows, columns = gradient.shape[1:3]
    below_right = ((0, 0), (0, 1), (0, 1), (0, 0))
    place = jnp.pad(place, below_right, constant_values=-1)
    gradient = jnp.pad(gradient, below_right)
    # An even row is in the middle of one window; an odd one is the last of a window and the first
    # of the next: (which window, which of its rows). The same applies to columns.
    owners = (((0, 1),), ((0, 2), (1, 0)))

    def parity(row: int, column: int) -> jax.Array:
        total = jnp.zeros((), gradient.dtype)
        for down, i in owners[row]:
            for across, j in owners[column]:
                here = np.s_[:, down : down + rows, across : across + columns]
                total += jnp.where(place[here] == 3 * i + j, gradient[here], 0)
        return total

    four = jnp.stack([jnp.stack([parity(i, j) for j in (0, 1)], 3) for i in (0, 1)], 3)
    batch, _, _, _, _, features = four.shape
    whole = four.swapaxes(2, 3).reshape(batch, 2 * rows, 2 * columns, features)
    return (whole[:, : empty.shape[1], : empty.shape[2]],)


max_pool_by_place.defvjp(_max_pool_forward, _max_pool_backward)
