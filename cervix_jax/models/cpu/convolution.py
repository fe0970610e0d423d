"""Forms of convolution that XLA computes faster on the CPU; the results are the same.

If the image has fewer rows or columns than the kernel, XLA does not use its fast routine and takes
5 to 60 times as long as a matrix product of the patches. The gradients of a 1x1 convolution take
1.4 to 2.9 times as long as those of a matrix product (benchmarks/README.md, jaxlib 0.12).
"""

from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax


def conv(x: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
    """XLA's convolution, NHWC and HWIO, with zero padding of half the kernel size."""
    pad = kernel.shape[0] // 2
    return lax.conv_general_dilated(
        x,
        kernel,
        (stride, stride),
        ((pad, pad), (pad, pad)),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


def conv_fastest(x: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
    """Same as `conv`, in the form that is fastest on the CPU for these sizes."""
    side = kernel.shape[0]
    height, width = x.shape[1:3]
    if side == 1:
        return conv_by_point(x, kernel, stride)
    if -(-min(height, width) // stride) < side:
        return conv_by_patches(x, kernel, stride)
    return conv(x, kernel, stride)


def conv_by_point(x: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
    """Same as `conv` for a 1x1 kernel, as a matrix product."""
    if stride > 1:
        x = x[:, ::stride, ::stride]
    # Two axes, because the kernel's gradient is up to 1.5 times faster than with four.
    y = x.reshape(-1, x.shape[-1]) @ kernel[0, 0]
    return y.reshape(*x.shape[:3], -1)


def conv_by_patches(x: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
    """Same as `conv`, as a matrix product of all patches; for images of few pixels."""
    side, pad = kernel.shape[0], kernel.shape[0] // 2
    rows, columns = (-(-size // stride) for size in x.shape[1:3])
    bordered = jnp.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    patches = jnp.concatenate(list(shifts(bordered, side, stride, rows, columns)), axis=-1)
    y = patches.reshape(-1, patches.shape[-1]) @ kernel.reshape(-1, kernel.shape[-1])
    return y.reshape(x.shape[0], rows, columns, -1)


def shifts(
    bordered: jax.Array, side: int, stride: int, rows: int, columns: int
) -> Iterator[jax.Array]:
    """Yield the pixels under each position of a square window as images [B, rows, columns, C].

    Args:
      bordered: [B, H, W, C], including the border.
      side: side of the window.
      stride: stride of the window.
      rows: number of window positions from top to bottom.
      columns: number of window positions from left to right.
    """
    for i, j in np.ndindex(side, side):
        down = slice(i, i + (rows - 1) * stride + 1, stride)
        across = slice(j, j + (columns - 1) * stride + 1, stride)
        yield bordered[:, down, across]
