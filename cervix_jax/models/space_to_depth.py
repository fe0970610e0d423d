"""Convolution of images at stride 2 with pixels moved into channels, for TPUs.

A TPU's matrix unit processes 128 channels at a time, of which an image fills 3. With 2x2 pixels
moved into 12 channels, the same sums have stride 1 and a kernel of half the side (as in MLPerf's
ResNet-50: Kumar et al., "Exploring the limits of Concurrency in ML Training on Google TPUs", MLSys
2021).
"""

import jax
import jax.numpy as jnp
from jax import lax


def conv_by_depth(x: jax.Array, kernel: jax.Array, before: int) -> jax.Array:
    """Convolve at stride 2; equal to XLA's convolution up to rounding.

    Args:
      x: [B, H, W, C].
      kernel: [k, k, C, out].
      before: rows and columns of zeros above and left of the image; the zeros below and right
        complete ceil(H / 2) x ceil(W / 2) positions.

    Returns:
      [B, ceil(H / 2), ceil(W / 2), out].
    """
    side, _, channels, features = kernel.shape
    # Zeros in front, so that the kernel begins at the first pixel of a pair; behind, to even sizes.
    front = before % 2
    behind = (side + front) % 2
    kernel = jnp.pad(kernel, ((front, behind), (front, behind), (0, 0), (0, 0)))
    side = kernel.shape[0] // 2
    kernel = kernel.reshape(side, 2, side, 2, channels, features).transpose(0, 2, 1, 3, 4, 5)
    height, width = x.shape[1:3]
    x = jnp.pad(x, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)))
    rows, columns = x.shape[1] // 2, x.shape[2] // 2
    x = x.reshape(-1, rows, 2, columns, 2, channels).transpose(0, 1, 3, 2, 4, 5)
    first = (before + front) // 2
    return lax.conv_general_dilated(
        x.reshape(-1, rows, columns, 4 * channels),
        kernel.reshape(side, side, 4 * channels, features),
        (1, 1),
        [(first, side - 1 - first)] * 2,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
