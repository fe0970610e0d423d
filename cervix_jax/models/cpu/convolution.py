"""Forms of convolution that XLA runs faster on the CPU; the results are the same.

To fewer rows or columns than the kernel has, XLA does not convolve by its fast routine, and takes
up to two hundred times as long as a matrix product of the patches. Its gradient of a 3x3 kernel
over large images is a convolution whose window is the image, and takes half as long image by image.
Its gradient to the images of a first convolution at stride 2 meets mostly zeros, and takes three
times as long as a smaller convolution for each parity of row and column.
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
# Up to this many input channels, the gradient to the images is computed by parity.
FEW_CHANNELS = 4
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
    return conv_own_gradients(x, kernel, stride)


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
def conv_own_gradients(x: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
    """The same as `conv`; its gradients are computed in parts where that is faster."""
    return conv(x, kernel, stride)


def _conv_forward(x: jax.Array, kernel: jax.Array, stride: int):
    return conv(x, kernel, stride), (x, kernel)


def _conv_backward(stride: int, residuals: tuple[jax.Array, jax.Array], gradient: jax.Array):
    x, kernel = residuals
    if stride == 2 and x.shape[3] <= FEW_CHANNELS:
        to_x = _to_x_by_parity(gradient, kernel, (x.shape[1], x.shape[2]))
    else:
        (to_x,) = jax.vjp(lambda x: conv(x, kernel, stride), x)[1](gradient)
    if len(kernel) == 3 and x.shape[1] * x.shape[2] >= LARGE_IMAGE:
        to_kernel = _to_kernel_by_image(x, gradient, kernel, stride)
    else:
        (to_kernel,) = jax.vjp(lambda kernel: conv(x, kernel, stride), kernel)[1](gradient)
    return to_x, to_kernel


conv_own_gradients.defvjp(_conv_forward, _conv_backward)


def _to_kernel_by_image(
    x: jax.Array, gradient: jax.Array, kernel: jax.Array, stride: int
) -> jax.Array:
    """The gradient of `conv` to its kernel, a sum over the images."""
    parts = math.gcd(len(x), MOST_PARTS)

    def part(number: int) -> jax.Array:
        # Every `parts`-th image, so that each device has its share of every part. Written out
        # rather than as a loop, in which XLA would not use its fast convolution.
        image, own = x[number::parts], gradient[number::parts]
        (here,) = jax.vjp(lambda kernel: conv(image, kernel, stride), kernel)[1](own)
        return here.astype(jnp.float32)

    return functools.reduce(jnp.add, map(part, range(parts))).astype(kernel.dtype)


def _to_x_by_parity(gradient: jax.Array, kernel: jax.Array, size: tuple[int, int]) -> jax.Array:
    """The gradient of `conv` at stride 2 to its images, [B, *size, in].

    Pixels of even rows meet every second row of the kernel, those of odd rows the others, and
    columns likewise: four small kernels, applied in one convolution with four times the channels.
    """
    pad, (_, _, in_features, features) = len(kernel) // 2, kernel.shape
    batch, rows, columns, _ = gradient.shape
    # One more row of zeros gives both parities pad + 1 rows; in front where the first row is odd's.
    border = (pad % 2, 1 - pad % 2)
    even_odd = jnp.pad(kernel, (border, border, (0, 0), (0, 0)))
    even_odd = even_odd.reshape(pad + 1, 2, pad + 1, 2, in_features, features)[::-1, :, ::-1]
    even_odd = even_odd.transpose(0, 2, 5, 1, 3, 4).reshape(pad + 1, pad + 1, features, -1)
    reach = (pad // 2, (pad + 1) // 2)
    four = lax.conv_general_dilated(
        gradient, even_odd, (1, 1), (reach, reach), dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    four = four.reshape(batch, rows, columns, 2, 2, in_features)
    return interleaved(four)[:, : size[0], : size[1]]


def interleaved(four: jax.Array) -> jax.Array:
    """[B, H, W, 2, 2, C], pixels by parity of row and column, as an image [B, 2 H, 2 W, C]."""
    batch, rows, columns, _, _, features = four.shape
    return four.swapaxes(2, 3).reshape(batch, 2 * rows, 2 * columns, features)


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
