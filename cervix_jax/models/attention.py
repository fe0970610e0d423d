"""Channel attention and the residual channel attention block (Zhang et al., ECCV 2018)."""

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike

from cervix_jax.models.cpu.pooling import global_average_pool
from cervix_jax.models.layers import Conv


class ChannelAttention(nnx.Module):
    """Gates for C channels: global mean, 1x1 convolution to C / 16, ReLU, 1x1 to C, sigmoid.

    Source: Zhang et al., "Image Super-Resolution Using Very Deep Residual Channel Attention
    Networks", ECCV 2018, section 3.3. Pooling and gates are float32.

    Args:
      features: channels C.
      reduction: divisor of the hidden channels.
    """

    def __init__(self, features: int, *, reduction: int = 16):
        hidden = max(features // reduction, 1)
        self.squeeze = Conv(features, hidden, use_bias=True, init="torch")
        self.excite = Conv(hidden, features, use_bias=True, init="torch")

    def __call__(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Scale [B, H, W, C]; returns the result in the type of `x` and the gates [B, C]."""
        pooled = global_average_pool(x)[:, None, None, :]
        gates = jax.nn.sigmoid(self.excite(jax.nn.relu(self.squeeze(pooled))))
        return x * gates.astype(x.dtype), gates[:, 0, 0]


class ResidualChannelAttentionBlock(nnx.Module):
    """RCAB: `x + attention(conv3x3(relu(conv3x3(x))))`, both convolutions with bias and C wide.

    The equations are (12) and (13) of Zhang et al., ECCV 2018; there is no batch normalisation.
    The initial scale of the second kernel is a hundredth of Kaiming's, so that the block begins
    almost as the identity and pretrained features around it survive the first steps.

    Args:
      features: channels C.
      reduction: divisor of the hidden channels of the attention.
      dtype: type of the convolutions.
    """

    def __init__(self, features: int, *, reduction: int = 16, dtype: DTypeLike = jnp.float32):
        self.conv1 = Conv(features, features, 3, use_bias=True, dtype=dtype)
        self.conv2 = Conv(features, features, 3, use_bias=True, init_scale=0.01, dtype=dtype)
        self.attention = ChannelAttention(features, reduction=reduction)

    def __call__(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Refine [B, H, W, C]; returns the result and the gates, float32 [B, C]."""
        refined, gates = self.attention(self.conv2(jax.nn.relu(self.conv1(x))))
        return x + refined, gates
