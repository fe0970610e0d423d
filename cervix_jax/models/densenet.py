"""DenseNet-121 (Huang et al., CVPR 2017) with torchvision's names, and RCAN, its attention form."""

from typing import Literal, get_args

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax
from jax.typing import DTypeLike

from cervix_jax.errors import InputError
from cervix_jax.models.attention import ChannelAttention, ResidualChannelAttentionBlock
from cervix_jax.models.classifier import Classifier, Endpoints, Perturb
from cervix_jax.models.cpu.pooling import average_pool
from cervix_jax.models.layers import (
    BatchNorm,
    Conv,
    Linear,
    Moments,
    batch_moments,
    concatenate_moments,
    rematerialised,
)
from cervix_jax.models.stem import pooled_stem

Attention = Literal["none", "last_layer", "blocks"]
GROWTH = 32
BOTTLENECK = 4 * GROWTH


class DenseLayer(nnx.Module):
    """Normalise, 1x1 convolution to 128 channels, normalise, 3x3 to 32 new channels."""

    remat = False

    def __init__(self, in_features: int, *, dtype: DTypeLike):
        self.norm1 = BatchNorm(in_features, dtype=dtype)
        self.conv1 = Conv(in_features, BOTTLENECK, dtype=dtype)
        self.norm2 = BatchNorm(BOTTLENECK, dtype=dtype)
        self.conv2 = Conv(BOTTLENECK, GROWTH, 3, dtype=dtype)

    @rematerialised
    def __call__(self, x: jax.Array, moments: Moments | None) -> jax.Array:
        """Map [B, H, W, in] with its moments (training only) to the new [B, H, W, 32]."""
        x = self.conv1(jax.nn.relu(self.norm1(x, moments)))
        return self.conv2(jax.nn.relu(self.norm2(x)))


class DenseBlock(nnx.Module):
    """Dense layers, each of which receives the concatenation of all previous features.

    All layers normalise the same features with their own scale and bias, so in training the
    moments of each segment are computed once, when it appears, and shared.

    Args:
      in_features: input channels.
      layers: number of dense layers.
      attention: whether channel attention scales the 32 channels of the last layer.
      dtype: type of the computation.
    """

    def __init__(self, in_features: int, layers: int, *, attention: bool, dtype: DTypeLike):
        self.layers = layers
        for index in range(layers):
            layer = DenseLayer(in_features + index * GROWTH, dtype=dtype)
            setattr(self, f"denselayer{index + 1}", layer)
        self.attention = ChannelAttention(GROWTH) if attention else nnx.data(None)

    def __call__(self, x: jax.Array) -> tuple[jax.Array, Moments | None, jax.Array | None]:
        """Map [B, H, W, in] to [B, H, W, in + 32 layers].

        Returns:
          The features, their moments in training (else None), and the gates of the last layer,
          float32 [B, 32], with attention (else None).
        """
        gates = None
        layers = [getattr(self, f"denselayer{index + 1}") for index in range(self.layers)]
        training = not layers[0].norm1.use_running_average
        group = layers[0].norm1.norm_groups
        moments = batch_moments(x, group) if training else None
        for layer in layers:
            new = layer(x, moments)
            if layer is layers[-1] and self.attention is not None:
                new, gates = self.attention(new)
            x = lax.concatenate([x, new], 3)
            if moments is not None:
                moments = concatenate_moments([moments, batch_moments(new, group)])
        return x, moments, gates


class Transition(nnx.Module):
    """Normalise, halve the size by 2x2 means and the channels by a 1x1 convolution.

    The paper convolves first. Both operations are linear, so the result is the same, at a quarter
    of the arithmetic.
    """

    def __init__(self, in_features: int, *, dtype: DTypeLike):
        self.norm = BatchNorm(in_features, dtype=dtype)
        self.conv = Conv(in_features, in_features // 2, dtype=dtype)

    def __call__(self, x: jax.Array, moments: Moments | None) -> jax.Array:
        """Map [B, H, W, C] to [B, H // 2, W // 2, C / 2]."""
        return self.conv(average_pool(jax.nn.relu(self.norm(x, moments))))


class Features(nnx.Module):
    """The convolutional part, torchvision's `features`."""

    def __init__(self, blocks: tuple[int, ...], *, attention: Attention, dtype: DTypeLike):
        self.conv0 = Conv(3, 64, 7, stride=2, dtype=dtype)
        self.norm0 = BatchNorm(64, dtype=dtype)
        channels = 64
        for stage, layers in enumerate(blocks, 1):
            last = stage == len(blocks)
            block = DenseBlock(
                channels, layers, attention=last and attention == "last_layer", dtype=dtype
            )
            setattr(self, f"denseblock{stage}", block)
            channels += GROWTH * layers
            if attention == "blocks":
                setattr(self, f"rcab{stage}", ResidualChannelAttentionBlock(channels, dtype=dtype))
            if not last:
                setattr(self, f"transition{stage}", Transition(channels, dtype=dtype))
                channels //= 2
        self.norm5 = BatchNorm(channels, dtype=dtype)
        self.blocks = blocks
        self.channels = channels

    def __call__(self, images: jax.Array, perturb: Perturb) -> Endpoints:
        """Map images [B, H, W, 3] to the outputs named in `Classifier.__call__`."""
        x = perturb("stem", pooled_stem(self.conv0, self.norm0, images))
        out, gates, moments = {"stem": x}, {}, None
        for stage in range(1, len(self.blocks) + 1):
            name = f"denseblock{stage}"
            x, moments, last_layer_gates = getattr(self, name)(x)
            if last_layer_gates is not None:
                gates[f"attention/{name}"] = last_layer_gates
            if hasattr(self, f"rcab{stage}"):
                x, gates[f"attention/{name}"] = getattr(self, f"rcab{stage}")(x)
                moments = None
            out[f"stage{stage}"] = x = perturb(f"stage{stage}", x)
            if stage < len(self.blocks):
                x = getattr(self, f"transition{stage}")(x, moments)
        return out | {"pre_logits_2d": jax.nn.relu(self.norm5(x, moments))} | gates


class DenseNet(Classifier):
    """DenseNet-121, or RCAN if `attention` is set; `stageN` is the end of dense block N.

    RCAN of "Towards Interpretable Attention Networks for Cervical Cancer Analysis"
    (arXiv 2106.00557) has two forms. `"last_layer"` follows the authors' code: channel attention
    (see `ChannelAttention`) scales the 32 channels that the last dense layer of block 4 produces,
    before they join the 992 others; 162 parameters. `"blocks"` follows the paper's text: a residual
    channel attention block on all C = 256, 512, 1024, 1024 channels after each dense block and
    before its transition (or the last normalisation); see `ResidualChannelAttentionBlock`.

    Args:
      num_classes: length of the logits.
      attention: `"none"`, `"last_layer"` or `"blocks"`.
      blocks: dense layers in each of the four blocks; (6, 12, 24, 16) is DenseNet-121.
      dropout_rate: dropout before the classifier.
      dtype: type of the computation.
    """

    def __init__(
        self,
        *,
        num_classes: int,
        attention: Attention = "none",
        blocks: tuple[int, int, int, int] = (6, 12, 24, 16),
        dropout_rate: float = 0.0,
        dtype: DTypeLike = jnp.float32,
    ):
        if attention not in get_args(Attention):
            raise InputError(
                f"attention is {attention!r}; choose one of {', '.join(get_args(Attention))}"
            )
        super().__init__(num_classes=num_classes, dropout_rate=dropout_rate, dtype=dtype)
        self.features = Features(blocks, attention=attention, dtype=dtype)
        self.classifier = Linear(self.features.channels, num_classes)

    def endpoints(self, images: jax.Array, perturb: Perturb) -> Endpoints:
        """See `Classifier.__call__`."""
        return self.features(images, perturb)

    @property
    def linear(self) -> Linear:
        """The classifier, `classifier`."""
        return self.classifier
