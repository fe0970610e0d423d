"""The beginning of a network: convolution, normalisation, ReLU and max-pooling."""

import jax
import jax.numpy as jnp

from cervix_jax import target
from cervix_jax.models.cpu.pooling import max_pool
from cervix_jax.models.layers import BatchNorm, Conv, Moments, batch_moments


def pooled_stem(conv: Conv, norm: BatchNorm, images: jax.Array) -> jax.Array:
    """`max_pool(relu(norm(conv(images))))`: [B, H, W, 3] to [B, H / 4, W / 4, C], rounded up.

    On GPU and TPU the pooling comes first, so that only a quarter of the values is normalised.
    Channels with a negative normalisation scale are pooled with inverted sign, so the result is
    identical to the last bit; a gradient may go to another pixel of a window if several are equal
    after rounding. A TPU's compiler estimates half the cycles for the stem of ResNet-50, forward
    and backward (docs/accelerators.md).
    """
    if target.platform() == "cpu":
        return max_pool(jax.nn.relu(norm(conv(images))))
    mirror = jnp.where(norm.scale[...] < 0, -1.0, 1.0)
    x = conv(images) * mirror.astype(conv.dtype)
    moments = None
    if not norm.use_running_average:
        moments = batch_moments(x, norm.norm_groups)
        moments = Moments(moments.mean * mirror, moments.var, moments.size)
    return jax.nn.relu(norm(max_pool(x) * mirror.astype(conv.dtype), moments))
