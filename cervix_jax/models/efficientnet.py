"""EfficientNet-Lite0 to Lite2 (TensorFlow TPU's EfficientNet-Lite; Tan and Le, ICML 2019).

This is the form without squeeze-and-excitation, with ReLU6, an epsilon of 1e-3 in the
normalisations and TensorFlow's padding 'SAME'. The names of the variables are those of timm, which
calls the networks `tf_efficientnet_lite0` and so on.
"""

import math
from typing import Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax
from jax.typing import DTypeLike

from cervix_jax import target
from cervix_jax.errors import InputError
from cervix_jax.models.attention import ResidualChannelAttentionBlock
from cervix_jax.models.classifier import Classifier, Endpoints, Perturb
from cervix_jax.models.cpu.depthwise import DepthwiseConv
from cervix_jax.models.layers import BatchNorm, Conv, Linear, rematerialised
from cervix_jax.models.space_to_depth import conv_by_depth

Attention = Literal["none", "head"]
EPSILON = 1e-3
STEM, HEAD = 32, 1280


class Group(NamedTuple):
    """Blocks of one size: number, width, and the first block's change of size and depth."""

    repeats: int
    features: int
    kernel_size: int
    stride: int
    expansion: int


LITE0 = (
    Group(1, 16, 3, 1, 1),
    Group(2, 24, 3, 2, 6),
    Group(2, 40, 5, 2, 6),
    Group(3, 80, 3, 2, 6),
    Group(3, 112, 5, 1, 6),
    Group(4, 192, 5, 2, 6),
    Group(1, 320, 3, 1, 6),
)


def scaled(width: float, depth: float) -> tuple[Group, ...]:
    """Return the groups of a scaled version of Lite0 (compound scaling, Tan and Le 2019).

    Args:
      width: factor of the features, which become multiples of 8 and decrease by at most a tenth.
      depth: factor of the repeats, rounded up; the first and the last group keep one block.
    """
    groups = []
    for group in LITE0:
        features = max(8, int(width * group.features + 4) // 8 * 8)
        features += 8 if features < 0.9 * width * group.features else 0
        inner = group not in (LITE0[0], LITE0[-1])
        repeats = math.ceil(depth * group.repeats) if inner else group.repeats
        groups.append(group._replace(repeats=repeats, features=features))
    return tuple(groups)


LITE1, LITE2 = scaled(1.0, 1.1), scaled(1.1, 1.2)
STAGES = {1: "stage1", 2: "stage2", 4: "stage3", 6: "stage4"}
"""The last group of each size (1/4, 1/8, 1/16, 1/32 of the image) to its name in the outputs."""


class StemConv(Conv):
    """3x3 at stride 2, padding 'SAME': zeros at the end for an even size, all round for an odd."""

    def __init__(self, features: int, *, dtype: DTypeLike):
        super().__init__(3, features, 3, stride=2, init="fan_out", dtype=dtype)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Convolve images [B, H, W, 3] to [B, ceil(H / 2), ceil(W / 2), features]."""
        x, kernel = x.astype(self.dtype), self.kernel[...].astype(self.dtype)
        odd = {size % 2 for size in x.shape[1:3]}
        if target.platform() == "tpu" and len(odd) == 1:
            return conv_by_depth(x, kernel, odd.pop())
        return lax.conv_general_dilated(
            x, kernel, (2, 2), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )


class SeparableBlock(nnx.Module):
    """Depthwise, then 1x1 to the new width without activation; used as the first block only."""

    remat = False

    def __init__(self, in_features: int, group: Group, stride: int, *, dtype: DTypeLike):
        self.conv_dw = DepthwiseConv(in_features, group.kernel_size, stride=stride, dtype=dtype)
        self.bn1 = _norm(in_features, dtype)
        self.conv_pw = Conv(in_features, group.features, init="fan_out", dtype=dtype)
        self.bn2 = _norm(group.features, dtype)
        self.skips = stride == 1 and in_features == group.features

    @rematerialised
    def __call__(self, x: jax.Array) -> jax.Array:
        """Map [B, H, W, in] to [B, ceil(H / stride), ceil(W / stride), out]."""
        y = jax.nn.relu6(self.bn1(self.conv_dw(x)))
        y = self.bn2(self.conv_pw(y))
        return x + y if self.skips else y


class InvertedResidual(nnx.Module):
    """1x1 to the expanded width, depthwise, and 1x1 to the new width without activation."""

    remat = False

    def __init__(self, in_features: int, group: Group, stride: int, *, dtype: DTypeLike):
        width = in_features * group.expansion
        self.conv_pw = Conv(in_features, width, init="fan_out", dtype=dtype)
        self.bn1 = _norm(width, dtype)
        self.conv_dw = DepthwiseConv(width, group.kernel_size, stride=stride, dtype=dtype)
        self.bn2 = _norm(width, dtype)
        self.conv_pwl = Conv(width, group.features, init="fan_out", dtype=dtype)
        self.bn3 = _norm(group.features, dtype)
        self.skips = stride == 1 and in_features == group.features

    @rematerialised
    def __call__(self, x: jax.Array) -> jax.Array:
        """Map [B, H, W, in] to [B, ceil(H / stride), ceil(W / stride), out]."""
        y = jax.nn.relu6(self.bn1(self.conv_pw(x)))
        y = jax.nn.relu6(self.bn2(self.conv_dw(y)))
        y = self.bn3(self.conv_pwl(y))
        return x + y if self.skips else y


class EfficientNet(Classifier):
    """EfficientNet-Lite0 to Lite2 as a classifier.

    `stem` is the activated first convolution, [B, H / 2, W / 2, 32]. `stage1` to `stage4` are the
    ends of `blocks.1`, `blocks.2`, `blocks.4` and `blocks.6`, at 1/4, 1/8, 1/16 and 1/32 of the
    image size with 24, 40, 112 and 320 channels (Lite2: 24, 48, 120 and 352); `stage4` comes after
    the attention, if there is any. `pre_logits_2d` has the 1280 channels of the activated head
    convolution.

    Args:
      num_classes: length of the logits.
      attention: `"none"`, or `"head"` for a residual channel attention block on the
        channels of `stage4` before the head convolution; it starts almost as the identity
        (see `ResidualChannelAttentionBlock`) and its gates are `attention/stage4`.
      groups: the blocks; `LITE0`, `LITE1`, `LITE2` or a variation with seven groups.
      dropout_rate: dropout before the classifier; 0.2 in the original.
      dtype: type of the computation.
    """

    def __init__(
        self,
        *,
        num_classes: int,
        attention: Attention = "none",
        groups: tuple[Group, ...] = LITE0,
        dropout_rate: float = 0.2,
        dtype: DTypeLike = jnp.float32,
    ):
        if attention not in get_args(Attention):
            raise InputError(
                f"attention is {attention!r}; choose one of {', '.join(get_args(Attention))}"
            )
        super().__init__(num_classes=num_classes, dropout_rate=dropout_rate, dtype=dtype)
        self.conv_stem = StemConv(STEM, dtype=dtype)
        self.bn1 = _norm(STEM, dtype)
        features, built = STEM, []
        for group in groups:
            kind = InvertedResidual if group.expansion > 1 else SeparableBlock
            blocks = []
            for index in range(group.repeats):
                stride = group.stride if index == 0 else 1
                blocks.append(kind(features, group, stride, dtype=dtype))
                features = group.features
            built.append(nnx.List(blocks))
        self.blocks = nnx.List(built)
        self.rcab = nnx.data(None)
        if attention == "head":
            self.rcab = ResidualChannelAttentionBlock(features, dtype=dtype)
        self.conv_head = Conv(features, HEAD, init="fan_out", dtype=dtype)
        self.bn2 = _norm(HEAD, dtype)
        self.classifier = Linear(HEAD, num_classes)

    def endpoints(self, images: jax.Array, perturb: Perturb) -> Endpoints:
        """See `Classifier.__call__`."""
        x = perturb("stem", jax.nn.relu6(self.bn1(self.conv_stem(images))))
        out, gates = {"stem": x}, {}
        for index, group in enumerate(self.blocks):
            for block in group:
                x = block(x)
            if index == len(self.blocks) - 1 and self.rcab is not None:
                x, gates["attention/stage4"] = self.rcab(x)
            if index in STAGES:
                out[STAGES[index]] = x = perturb(STAGES[index], x)
        return out | {"pre_logits_2d": jax.nn.relu6(self.bn2(self.conv_head(x)))} | gates

    @property
    def linear(self) -> Linear:
        """The classifier, `classifier`."""
        return self.classifier


def _norm(features: int, dtype: DTypeLike) -> BatchNorm:
    return BatchNorm(features, epsilon=EPSILON, dtype=dtype)
