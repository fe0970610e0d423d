"""Depthwise convolution in two equal forms: XLA's grouped one, and shifted products for the CPU.

On the CPU, XLA's grouped convolution is 10 to 30 times slower than a sum over the k x k shifts of
the image, each times one number per channel, which XLA fuses into one pass. The gradient of the
kernel has its own rule, because XLA does not vectorise the sums over all pixels that automatic
differentiation asks for; row by row it is 2 to 13 times faster.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import DTypeLike

from cervix_jax.models.layers import Conv


def same_padding(size: int, kernel_size: int, stride: int) -> tuple[int, int]:
    """Zeros before and after an axis of `size` under TensorFlow's rule 'SAME'.

    The output has ceil(size / stride) places. Where the number of zeros is odd, the last one is
    behind, so at stride 2 an even and an odd size are padded differently.
    """
    total = max((-(-size // stride) - 1) * stride + kernel_size - size, 0)
    return total // 2, total - total // 2


def depthwise_grouped(x: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
    """Convolve [B, H, W, C] with [k, k, C] channel by channel, 'SAME', as a grouped convolution."""
    return lax.conv_general_dilated(
        x,
        kernel[:, :, None, :],
        (stride, stride),
        "SAME",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=x.shape[-1],
    )


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def depthwise_shifted(x: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
    """The same as `depthwise_grouped`, as a sum of shifted products."""
    return _sum_of_products(x, kernel, stride)


def _sum_of_products(x: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
    side = kernel.shape[0]
    padded = _pad(x, side, stride)
    height, width = (-(-size // stride) for size in x.shape[1:3])
    total = jnp.zeros((), x.dtype)
    for i, j in np.ndindex(side, side):
        rows = slice(i, i + (height - 1) * stride + 1, stride)
        columns = slice(j, j + (width - 1) * stride + 1, stride)
        total = total + padded[:, rows, columns] * kernel[i, j]
    return total


def _pad(x: jax.Array, kernel_size: int, stride: int) -> jax.Array:
    rows, columns = (same_padding(size, kernel_size, stride) for size in x.shape[1:3])
    return jnp.pad(x, ((0, 0), rows, columns, (0, 0)))


def _forward(x: jax.Array, kernel: jax.Array, stride: int):
    return _sum_of_products(x, kernel, stride), (x, kernel)


def _backward(stride: int, residuals: tuple[jax.Array, jax.Array], gradient: jax.Array):
    x, kernel = residuals
    (to_x,) = jax.vjp(lambda x: _sum_of_products(x, kernel, stride), x)[1](gradient)
    return to_x, _kernel_gradient(x, gradient, kernel.shape[0], stride).astype(kernel.dtype)


def _kernel_gradient(x: jax.Array, gradient: jax.Array, side: int, stride: int) -> jax.Array:
    """Sums of image times gradient at each shift, float32 [k, k, C].

    A loop over the rows of the output adds products to one accumulator [B, W, C] for each shift,
    which stays in the cache; only these are summed at the end. The batch stays a free axis, so
    that it can be spread over devices.
    """
    batch, height, width, channels = gradient.shape
    padded = _pad(x, side, stride)

    def add_row(row: jax.Array, sums: list[jax.Array]) -> list[jax.Array]:
        rows = lax.dynamic_slice_in_dim(padded, row * stride, side, 1)
        here = lax.dynamic_slice_in_dim(gradient, row, 1, 1)[:, 0].astype(jnp.float32)
        shifts = np.ndindex(side, side)
        return [
            total + rows[:, i, j : j + (width - 1) * stride + 1 : stride] * here
            for total, (i, j) in zip(sums, shifts, strict=True)
        ]

    zeros = [jnp.zeros((batch, width, channels), jnp.float32)] * side**2
    sums = lax.fori_loop(0, height, add_row, zeros)
    return jnp.stack([total.sum((0, 1)) for total in sums]).reshape(side, side, channels)


depthwise_shifted.defvjp(_forward, _backward)


class DepthwiseConv(Conv):
    """One k x k kernel for each channel, padding 'SAME', no bias; kernel [k, k, 1, C]."""

    def __init__(
        self, features: int, kernel_size: int, *, stride: int = 1, dtype: DTypeLike = jnp.float32
    ):
        super().__init__(1, features, kernel_size, stride=stride, dtype=dtype)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Convolve float [B, H, W, C] to [B, ceil(H / stride), ceil(W / stride), C]."""
        on_cpu = jax.default_backend() == "cpu"
        convolve = depthwise_shifted if on_cpu else depthwise_grouped
        kernel = self.kernel[...][:, :, 0].astype(self.dtype)
        return convolve(x.astype(self.dtype), kernel, self.stride)
