"""The layers of all networks in this package: convolution, batch normalisation, linear map.

They replace those of `flax.nnx` for four reasons: torch's batch statistics (unbiased running
variance), sharing batch moments between normalisations of the same features (DenseNet), 1x1
convolutions as matrix products on the CPU, and drawing all parameters at once. The parameter names
are Flax's: `kernel`, `bias`, `scale`, and `mean`, `var` for the statistics.
"""

import contextlib
import contextvars
import dataclasses
import functools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Literal, NamedTuple, TypeVar, cast

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import core, lax
from jax.typing import DTypeLike

from cervix_jax import target
from cervix_jax.errors import InputError
from cervix_jax.models.cpu import convolution
from cervix_jax.models.space_to_depth import conv_by_depth

Init = Literal["fan_in", "fan_out", "torch"]


def _constant(value: float, features: int) -> jax.Array:
    # Through NumPy: jnp.ones would compile a program for each of the many widths of a network.
    return jnp.asarray(np.full(features, value, np.float32))


def _undrawn(*shape: int) -> jax.Array:
    # NumPy's zeros cost no time or memory; `initialise` replaces them with JAX arrays.
    return cast(jax.Array, np.zeros(shape, np.float32))


class Conv(nnx.Module):
    """A square convolution, NHWC with an HWIO kernel; zero padding of half the kernel size.

    The kernel is zero until `initialise` draws it.

    Args:
      in_features: input channels.
      out_features: output channels.
      kernel_size: side of the kernel in pixels.
      stride: step in pixels, the same in both directions.
      use_bias: whether to add a bias per output channel.
      init: `"fan_in"` or `"fan_out"`: Kaiming normal, gain sqrt(2); `"torch"`: normal with
        variance 1 / (3 fan_in), as torch's default.
      init_scale: factor on the drawn kernel.
      dtype: type of the computation; parameters are float32.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        kernel_size: int = 1,
        *,
        stride: int = 1,
        use_bias: bool = False,
        init: Init = "fan_in",
        init_scale: float = 1.0,
        dtype: DTypeLike = jnp.float32,
    ):
        shape = (kernel_size, kernel_size, in_features, out_features)
        self.kernel = nnx.Param(_undrawn(*shape))
        self.bias = nnx.Param(_constant(0, out_features)) if use_bias else nnx.data(None)
        self.kernel_size = kernel_size
        self.stride = stride
        self.init = init
        self.init_scale = init_scale
        self.dtype = dtype

    def __call__(self, x: jax.Array) -> jax.Array:
        """Convolve float [B, H, W, in] to [B, ceil(H / stride), ceil(W / stride), out]."""
        x = x.astype(self.dtype)
        kernel = self.kernel[...].astype(self.dtype)
        if target.platform() == "cpu":
            y = convolution.conv_fastest(x, kernel, self.stride)
        elif target.platform() == "tpu" and self.stride == 2 and x.shape[-1] == 3:
            y = conv_by_depth(x, kernel, self.kernel_size // 2)
        else:
            y = convolution.conv(x, kernel, self.stride)
        return y if self.bias is None else y + self.bias[...].astype(self.dtype)


class Linear(nnx.Module):
    """The classifier: float32 for any input type, kernel [in, out] and bias [out]."""

    def __init__(self, in_features: int, out_features: int):
        self.kernel = nnx.Param(_undrawn(in_features, out_features))
        self.bias = nnx.Param(_constant(0, out_features))

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map [B, in] to float32 [B, out]."""
        return x.astype(jnp.float32) @ self.kernel[...] + self.bias[...]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Moments:
    """Mean and biased variance per channel, and the number of values behind each.

    Attributes:
      mean: float32 [C], or [B, C] if each image has the moments of its group.
      var: the same.
      size: number of values that each was computed from.
    """

    mean: jax.Array
    var: jax.Array
    size: int = dataclasses.field(metadata={"static": True})


class _Adaptation(NamedTuple):
    weights: jax.Array
    prior: jax.Array


_ADAPTATION: contextvars.ContextVar[_Adaptation | None] = contextvars.ContextVar(
    "adaptation", default=None
)


@contextlib.contextmanager
def adapting(weights: jax.Array, prior: jax.Array) -> Iterator[None]:
    """A block in which batch normalisations blend in their running statistics.

    Every `BatchNorm` in training mode takes `prior` times the running mean and variance plus
    1 - `prior` times those of the batch, biased, normalises by the sums, and stores them as
    running statistics. A later call in evaluation mode therefore gives the same outputs.

    Args:
      weights: float32 [B], weight of each image; 0 for an image that only pads the batch.
      prior: a number from 0 to 1.
    """
    token = _ADAPTATION.set(_Adaptation(weights, prior))
    try:
        yield
    finally:
        _ADAPTATION.reset(token)


def batch_moments(x: jax.Array, group: int = 0) -> Moments:
    """Return the moments of [B, H, W, C] over all but the channels, in float32 and in one pass.

    With `group` they are computed for each `group` consecutive images, and repeated for each image.

    The variance is the mean square minus the squared mean, which loses digits if the mean is many
    standard deviations from zero: its relative error is about 1e-7 (mean / deviation)^2, that is
    1e-5 at 10 deviations and 2e-3 at 100, and it is never below 0. A second pass, or values
    relative to a shift of their own, would be accurate to 4e-7 at any mean, but takes 0 to 25 %
    more CPU time for a convolution and its normalisation, forward and backward. A trained RCAN has
    means of at most 3 deviations in all of its 121 normalisations.

    Raises:
      InputError: the batch size is not a multiple of `group`.
    """
    x = x.astype(jnp.float32)
    if adaptation := _ADAPTATION.get():
        return _weighted_moments(x, adaptation.weights)
    if group and group != x.shape[0]:
        return _group_moments(x, group)
    axes = tuple(range(x.ndim - 1))
    mean = x.mean(axes)
    var = jnp.maximum(jnp.square(x).mean(axes) - jnp.square(mean), 0.0)
    return Moments(mean, var, math.prod(x.shape[:-1]))


def _weighted_moments(x: jax.Array, weights: jax.Array) -> Moments:
    # Several views of an image are consecutive in the batch.
    weights = jnp.repeat(weights, len(x) // len(weights))
    shares = weights / weights.sum()
    within = tuple(range(1, x.ndim - 1))
    # Two passes: these few programs run once, so precision matters more than speed.
    mean = jnp.einsum("b,bc->c", shares, x.mean(within), precision="highest")
    square = jnp.square(x - mean).mean(within)
    var = jnp.einsum("b,bc->c", shares, square, precision="highest")
    return Moments(mean, var, math.prod(x.shape[:-1]))


def _group_moments(x: jax.Array, group: int) -> Moments:
    images, channels = x.shape[0], x.shape[-1]
    if images % group:
        raise InputError(
            f"{images} images cannot be divided into groups of norm_groups={group}; "
            f"use a multiple of {group}."
        )

    def mean_of_groups(values: jax.Array) -> jax.Array:
        # Images first: an array as large as `x` keeps its shape and its layout.
        of_images = values.mean(tuple(range(1, values.ndim - 1)))
        of_groups = of_images.reshape(-1, group, channels).mean(1)
        # Not `jnp.repeat`, which compiles to a gather.
        return jnp.broadcast_to(of_groups[:, None], (images // group, group, channels)).reshape(
            images, channels
        )

    mean = mean_of_groups(x)
    var = jnp.maximum(mean_of_groups(jnp.square(x)) - jnp.square(mean), 0.0)
    return Moments(mean, var, group * math.prod(x.shape[1:-1]))


def concatenate_moments(parts: Sequence[Moments]) -> Moments:
    """Return the moments of a concatenation along the channels from those of its parts."""
    mean = jnp.concatenate([p.mean for p in parts], -1)
    return Moments(mean, jnp.concatenate([p.var for p in parts], -1), parts[0].size)


class BatchNorm(nnx.Module):
    """Batch normalisation with torch's conventions; statistics and arithmetic are float32.

    As in torch and unlike `nnx.BatchNorm`, the running variance uses the unbiased estimate
    (n - 1), while the batch itself is normalised by the biased one. `train()` and `eval()` of the
    model select batch or running statistics. In a `jax.jit` over several devices the
    batch is the global one.

    If the attribute `norm_groups` is n > 0, each n consecutive images of the batch are normalised
    by their own moments (ghost batch normalisation: Hoffer et al., "Train longer, generalize
    better", NIPS 2017), and the running statistics follow the means over the G groups:

        mean <- momentum * mean + (1 - momentum) / G * sum_g mean_g
        var <- momentum * var + (1 - momentum) / G * sum_g var_g * m / (m - 1),  m = n H W

    Args:
      features: channels.
      momentum: weight of the old running value (torch's momentum is one minus this).
      epsilon: added to the variance.
      dtype: type of the output.
    """

    norm_groups = 0

    def __init__(
        self,
        features: int,
        *,
        momentum: float = 0.9,
        epsilon: float = 1e-5,
        dtype: DTypeLike = jnp.float32,
    ):
        self.scale = nnx.Param(_constant(1, features))
        self.bias = nnx.Param(_constant(0, features))
        self.mean = nnx.BatchStat(_constant(0, features))
        self.var = nnx.BatchStat(_constant(1, features))
        self.momentum = momentum
        self.epsilon = epsilon
        self.dtype = dtype
        self.use_running_average = False

    def __call__(self, x: jax.Array, moments: Moments | None = None) -> jax.Array:
        """Normalise [..., C]; in training, known `moments` of `x` save their computation."""
        if self.use_running_average:
            mean, var = self.mean[...], self.var[...]
        else:
            moments = moments or batch_moments(x, self.norm_groups)
            mean, var = moments.mean, moments.var
            # `variable[...] = value` would compare shardings, which takes seconds in a trace.
            if adaptation := _ADAPTATION.get():
                mean = adaptation.prior * self.mean[...] + (1 - adaptation.prior) * mean
                var = adaptation.prior * self.var[...] + (1 - adaptation.prior) * var
                self.mean.set_value(mean)
                self.var.set_value(var)
            else:
                unbiased = var * (moments.size / max(moments.size - 1, 1))
                self.mean.set_value(self._running(self.mean[...], mean))
                self.var.set_value(self._running(self.var[...], unbiased))
        # One multiplication and one addition per value, which leaves XLA few operations to
        # optimise.
        gain = self.scale[...] * lax.rsqrt(var + self.epsilon)
        shift = self.bias[...] - mean * gain
        if gain.ndim == 2:  # one per image
            gain, shift = (jnp.expand_dims(v, tuple(range(1, x.ndim - 1))) for v in (gain, shift))
        return (x.astype(jnp.float32) * gain + shift).astype(self.dtype)

    def _running(self, old: jax.Array, new: jax.Array) -> jax.Array:
        if new.ndim == 2:
            new = new.mean(0)
        return self.momentum * old + (1 - self.momentum) * lax.stop_gradient(new)


Call = TypeVar("Call", bound=Callable)


def rematerialised(call: Call) -> Call:
    """Decorate a block's `__call__`: if its attribute `remat` is true, the backward pass stores
    only the inputs and recomputes everything inside.
    """

    @functools.wraps(call)
    def wrapped(self, *args):
        return nnx.remat(call)(self, *args) if self.remat else call(self, *args)

    return wrapped  # pyright: ignore[reportReturnType]


def initialise(model: nnx.Module, key: jax.Array) -> None:
    """Draw every kernel of `model` in place from `key`; biases, scales and statistics stay.

    Kernels of `Linear` are uniform within 1 / sqrt(fan_in), as torch's default.
    """
    modules = [module for _, module in nnx.iter_modules(model)]
    convs = [module for module in modules if isinstance(module, Conv)]
    # One draw that is cut into pieces: XLA takes seconds to compile a draw or slice for each. NumPy
    # does the cutting, unless `key` is traced.
    drawn = jax.random.normal(key, (sum(conv.kernel.size for conv in convs),))
    drawn = drawn if isinstance(drawn, core.Tracer) else np.asarray(drawn)
    start = 0
    for conv in convs:
        size, shape = conv.kernel.size, conv.kernel.shape
        variance = {
            "fan_in": 2 / math.prod(shape[:3]),
            "fan_out": 2 / (math.prod(shape[:2]) * shape[3]),
            "torch": 1 / (3 * math.prod(shape[:3])),
        }[conv.init]
        deviation = np.float32(conv.init_scale * math.sqrt(variance))
        kernel = drawn[start : start + size].reshape(shape) * deviation
        conv.kernel.set_value(jnp.asarray(kernel))
        start += size
    for index, layer in enumerate(module for module in modules if isinstance(module, Linear)):
        shape, bound = layer.kernel.shape, 1 / math.sqrt(layer.kernel.shape[0])
        own_key = jax.random.fold_in(key, index)
        layer.kernel.set_value(jax.random.uniform(own_key, shape, minval=-bound, maxval=bound))
