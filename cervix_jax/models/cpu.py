"""Forms of convolution and pooling that XLA runs faster on the CPU; the results are the same.

To fewer rows or columns than the kernel has, XLA does not convolve by its fast routine, and takes
up to two hundred times as long as a matrix product of the patches. Its gradient of a 3x3 kernel
over large images is a convolution whose window is the image, and takes half as long image by image.
Its gradient of max-pooling finds every maximum again in a variadic reduction, and takes four times
as long as comparing shifted images.
"""

import contextlib
import contextvars
import functools
import math
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

# From this many pixels on, the kernel's gradient is computed image by image.
LARGE_IMAGE = 28 * 28
MOST_PARTS = 16
_forced: contextvars.ContextVar[bool | None] = contextvars.ContextVar("forced", default=None)


def preferred() -> bool:
    """Whether what is traced now takes the CPU's own forms; else it takes XLA's."""
    forced = _forced.get()
    return jax.default_backend() == "cpu" if forced is None else forced


@contextlib.contextmanager
def prefer(own_forms: bool) -> Iterator[None]:
    """In the block, traced models take the CPU's own forms or XLA's, whatever the backend is.

    For programs that are traced here and run elsewhere. JAX does not know of this choice: a
    function that it has traced before is not traced again because of it.
    """
    token = _forced.set(own_forms)
    try:
        yield
    finally:
        _forced.reset(token)


def conv(x: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
    """XLA's convolution, NHWC and HWIO, with zero padding of half the kernel's side."""
    pad = kernel.shape[0] // 2
    return lax.conv_general_dilated(
        x,
        kernel,
        (stride, stride),
        ((pad, pad), (pad, pad)),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


def conv_fastest(x: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
    """The same as `conv`, in the form that is fastest on the CPU for these sizes."""
    side = kernel.shape[0]
    height, width = x.shape[1:3]
    if side == 1:
        return conv_by_point(x, kernel, stride)
    if -(-min(height, width) // stride) < side:
        return conv_by_patches(x, kernel, stride)
    if side == 3 and height * width >= LARGE_IMAGE:
        return conv_by_image(x, kernel, stride)
    return conv(x, kernel, stride)


def conv_by_point(x: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
    """The same as `conv` for a 1x1 kernel: a matrix product, 1.3 to 1.5 times as fast."""
    if stride > 1:
        x = x[:, ::stride, ::stride]
    # Two axes, because the kernel's gradient is up to 1.5 times faster than with four.
    y = x.reshape(-1, x.shape[-1]) @ kernel[0, 0]
    return y.reshape(*x.shape[:3], -1)


def conv_by_patches(x: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
    """The same as `conv`: a matrix product of all patches, for images of few pixels."""
    side, pad = kernel.shape[0], kernel.shape[0] // 2
    rows, columns = (-(-size // stride) for size in x.shape[1:3])
    bordered = jnp.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    patches = jnp.concatenate(list(shifts(bordered, side, stride, rows, columns)), axis=-1)
    y = patches.reshape(-1, patches.shape[-1]) @ kernel.reshape(-1, kernel.shape[-1])
    return y.reshape(x.shape[0], rows, columns, -1)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def conv_by_image(x: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
    """The same as `conv`; the kernel's gradient is a loop over the images."""
    return conv(x, kernel, stride)


def _conv_forward(x: jax.Array, kernel: jax.Array, stride: int):
    return conv(x, kernel, stride), (x, kernel)


def _conv_backward(stride: int, residuals: tuple[jax.Array, jax.Array], gradient: jax.Array):
    x, kernel = residuals
    (to_x,) = jax.vjp(lambda x: conv(x, kernel, stride), x)[1](gradient)
    parts = math.gcd(len(x), MOST_PARTS)

    def part(number: int) -> jax.Array:
        # Every `parts`-th image, so that each device has its share of every part. Written out
        # rather than as a loop, in which XLA would not use its fast convolution.
        image, own = x[number::parts], gradient[number::parts]
        (here,) = jax.vjp(lambda kernel: conv(image, kernel, stride), kernel)[1](own)
        return here.astype(jnp.float32)

    to_kernel = functools.reduce(jnp.add, map(part, range(parts)))
    return to_x, to_kernel.astype(kernel.dtype)


conv_by_image.defvjp(_conv_forward, _conv_backward)


@jax.custom_vjp
def max_pool(x: jax.Array) -> jax.Array:
    """3x3 maxima of [B, H, W, C] at stride 2 with a border of minus infinity."""
    return functools.reduce(jnp.maximum, _pooled(x))


def _pooled(x: jax.Array) -> Iterator[jax.Array]:
    """The nine pixels under each window, as nine images of the pooled size."""
    bordered = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=-jnp.inf)
    rows, columns = (-(-size // 2) for size in x.shape[1:3])
    return shifts(bordered, 3, 2, rows, columns)


def shifts(
    bordered: jax.Array, side: int, stride: int, rows: int, columns: int
) -> Iterator[jax.Array]:
    """The pixels under each place of a square window, row by row, as images [B, rows, columns, C].

    Args:
      bordered: [B, H, W, C], with what lies beyond the border.
      side: of the window.
      stride: of the window.
      rows: how often it fits from top to bottom.
      columns: and from left to right.
    """
    for i, j in np.ndindex(side, side):
        down = slice(i, i + (rows - 1) * stride + 1, stride)
        across = slice(j, j + (columns - 1) * stride + 1, stride)
        yield bordered[:, down, across]


def _pool_forward(x: jax.Array):
    pooled = max_pool(x)
    return pooled, (x, pooled)


def _pool_backward(residuals: tuple[jax.Array, jax.Array], gradient: jax.Array):
    x, pooled = residuals
    height, width = x.shape[1:3]
    rows, columns = gradient.shape[1:3]
    zero = jnp.zeros((), gradient.dtype)
    free = jnp.ones(pooled.shape, bool)
    total = jnp.zeros((), gradient.dtype)
    for (i, j), shift in zip(np.ndindex(3, 3), _pooled(x), strict=True):
        # Of equal maxima the first has the gradient, as in XLA and PyTorch.
        chosen = free & (shift == pooled)
        free &= ~chosen
        # Back to its place in the bordered image, then without the border.
        after = (height + 2 - i - (2 * rows - 1), width + 2 - j - (2 * columns - 1))
        pads = ((0, 0, 0), (i - 1, after[0] - 1, 1), (j - 1, after[1] - 1, 1), (0, 0, 0))
        total += lax.pad(jnp.where(chosen, gradient, zero), zero, pads)
    return (total,)


max_pool.defvjp(_pool_forward, _pool_backward)
