"""Depthwise convolution in two equal forms: XLA's grouped one, and shifted products for the CPU.

On the CPU, XLA's grouped convolution is 10 to 30 times slower than a sum over the k x k shifts of
the image, each times one number per channel, which XLA fuses into one pass. The gradients have
their own rules: XLA does not vectorise the sums over all pixels that automatic differentiation
needs (row by row they are 2 to 13 times faster), and it adds up k x k padded images where one is
enough. Together the two changes nearly double the speed of a training step.
"""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import DTypeLike

from cervix_jax import target
from cervix_jax.models.cpu import convolution
from cervix_jax.models.layers import Conv


def same_padding(size: int, kernel_size: int, stride: int) -> tuple[int, int]:
    """Return the zeros before and after an axis of `size` under TensorFlow's rule 'SAME'.

    The output has ceil(size / stride) positions. If the number of zeros is odd, the extra one comes
    after the axis, so at stride 2 an even and an odd size are padded differently.
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
    """Same as `depthwise_grouped`, as a sum of shifted products."""
    return _sum_of_products(x, kernel, stride)


def _sum_of_products(x: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
    height, width = (-(-size // stride) for size in x.shape[1:3])
    return _products(_pad(x, kernel.shape[0], stride), kernel, stride, height, width)


def _products(
    padded: jax.Array, kernel: jax.Array, stride: int, height: int, width: int
) -> jax.Array:
    total = jnp.zeros((), padded.dtype)
    shifted = convolution.shifts(padded, kernel.shape[0], stride, height, width)
    for (i, j), pixels in zip(np.ndindex(kernel.shape[:2]), shifted, strict=True):
        total = total + pixels * kernel[i, j]
    return total


def _pad(x: jax.Array, kernel_size: int, stride: int) -> jax.Array:
    rows, columns = (same_padding(size, kernel_size, stride) for size in x.shape[1:3])
    return jnp.pad(x, ((0, 0), rows, columns, (0, 0)))


def _forward(x: jax.Array, kernel: jax.Array, stride: int):
    return _sum_of_products(x, kernel, stride), (x, kernel)


def _backward(stride: int, residuals: tuple[jax.Array, jax.Array], gradient: jax.Array):
    x, kernel = residuals
    to_kernel = _kernel_gradient(x, gradient, kernel.shape[0], stride)
    return _image_gradient(x.shape, kernel, gradient, stride), to_kernel.astype(kernel.dtype)


def _image_gradient(
    shape: tuple[int, ...], kernel: jax.Array, gradient: jax.Array, stride: int
) -> jax.Array:
    """Transposed convolution: gradients `stride` apart, under the kernel turned by 180°."""
    side, (height, width) = kernel.shape[0], shape[1:3]
    pads = [(0, 0, 0)]
    for size, given in zip((height, width), gradient.shape[1:3], strict=True):
        before = side - 1 - same_padding(size, side, stride)[0]
        after = size + side - 1 - before - ((given - 1) * stride + 1)
        pads.append((before, after, stride - 1))
    spread = lax.pad(gradient, jnp.zeros((), gradient.dtype), [*pads, (0, 0, 0)])
    return _products(spread, kernel[::-1, ::-1], 1, height, width)


def _kernel_gradient(x: jax.Array, gradient: jax.Array, side: int, stride: int) -> jax.Array:
    """Return the sums of image times gradient at each shift, float32 [k, k, C].

    A loop over images and rows adds products to one accumulator [W, C] per shift, which stays in
    the cache; only the accumulators are summed at the end. Each device loops over its own images.
    """
    batch, height, width, channels = gradient.shape
    devices = math.gcd(batch, jax.device_count())
    padded = _pad(x, side, stride)
    padded = padded.reshape(devices, -1, *padded.shape[1:])
    gradient = gradient.reshape(devices, -1, *gradient.shape[1:])

    def add_row(number: jax.Array, sums: list[jax.Array]) -> list[jax.Array]:
        image, row = number // height, number % height
        start, size = (0, image, row * stride, 0, 0), (devices, 1, side, *padded.shape[3:])
        rows = lax.dynamic_slice(padded, start, size)[:, 0]
        start, size = (0, image, row, 0, 0), (devices, 1, 1, width, channels)
        here = lax.dynamic_slice(gradient, start, size)[:, 0, 0].astype(jnp.float32)
        shifts = np.ndindex(side, side)
        return [
            total + rows[:, i, j : j + (width - 1) * stride + 1 : stride] * here
            for total, (i, j) in zip(sums, shifts, strict=True)
        ]

    zeros = [jnp.zeros((devices, width, channels), jnp.float32)] * side**2
    sums = lax.fori_loop(0, batch // devices * height, add_row, zeros)
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
        convolve = depthwise_shifted if target.platform() == "cpu" else depthwise_grouped
        kernel = self.kernel[...][:, :, 0].astype(self.dtype)
        return convolve(x.astype(self.dtype), kernel, self.stride)
