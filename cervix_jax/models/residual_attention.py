"""Residual Attention Network-92 (Wang et al., CVPR 2017), as in its public PyTorch version.

p = 1 unit before and after trunk and mask, t = 2 units in the trunk, r = 1 unit between pooling
steps of the mask. The names are those of the public `ResidualAttentionModel_92`.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.typing import DTypeLike

from cervix_jax.models.classifier import Classifier, Endpoints, Perturb
from cervix_jax.models.cpu.pooling import max_pool
from cervix_jax.models.layers import BatchNorm, Conv, Linear, rematerialised
from cervix_jax.models.stem import pooled_stem


class ResidualUnit(nnx.Module):
    """A pre-activation bottleneck; the shortcut is projected where its shape changes.

    The public version allocates the projection `conv4` in every unit, although it is unused if the
    shape does not change. It is kept here (and has no gradient), because the published number of
    parameters and the published weights include it.
    """

    remat = False

    def __init__(self, in_features: int, out_features: int, *, stride: int = 1, dtype: DTypeLike):
        width = out_features // 4
        self.bn1 = BatchNorm(in_features, dtype=dtype)
        self.conv1 = Conv(in_features, width, init="torch", dtype=dtype)
        self.bn2 = BatchNorm(width, dtype=dtype)
        self.conv2 = Conv(width, width, 3, stride=stride, init="torch", dtype=dtype)
        self.bn3 = BatchNorm(width, dtype=dtype)
        self.conv3 = Conv(width, out_features, init="torch", dtype=dtype)
        self.conv4 = Conv(in_features, out_features, stride=stride, init="torch", dtype=dtype)
        self.projects = stride > 1 or in_features != out_features

    @rematerialised
    def __call__(self, x: jax.Array) -> jax.Array:
        """Map [B, H, W, in] to [B, ceil(H / stride), ceil(W / stride), out]."""
        active = jax.nn.relu(self.bn1(x))
        y = jax.nn.relu(self.bn2(self.conv1(active)))
        y = jax.nn.relu(self.bn3(self.conv2(y)))
        return self.conv3(y) + (self.conv4(active) if self.projects else x)


class AttentionModule(nnx.Module):
    """`(1 + mask) * trunk` between two residual units; the mask branch pools `levels` times.

    Args:
      features: channels, the same throughout.
      levels: number of max-poolings in the soft mask branch: 3, 2, 1 at stages 1, 2, 3.
      dtype: type of the computation.
    """

    def __init__(self, features: int, levels: int, *, dtype: DTypeLike):
        def unit():
            return ResidualUnit(features, features, dtype=dtype)

        self.first_residual_blocks = unit()
        self.trunk_branches = nnx.List([unit(), unit()])
        # The deepest level has two units and no skip connection; its halves are the way down and
        # up.
        self.down = nnx.List([unit() for _ in range(levels)])
        self.skip = nnx.List([unit() for _ in range(levels - 1)])
        self.up = nnx.List([unit() for _ in range(levels)])
        self.mask = MaskHead(features, dtype=dtype)
        self.last_blocks = unit()

    def __call__(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Map [B, H, W, C] to the same shape; returns the result and the mask in 0 to 1."""
        x = trunk = self.first_residual_blocks(x)
        for unit in self.trunk_branches:
            trunk = unit(trunk)
        levels = []
        for unit in self.down:
            x = unit(max_pool(x))
            levels.append(x)
        x = self.up[-1](levels[-1])
        for level in reversed(range(len(self.skip))):
            below = levels[level]
            x = resize_bilinear(x, below.shape[1:3]) + below + self.skip[level](below)
            x = self.up[level](x)
        mask = self.mask(resize_bilinear(x, trunk.shape[1:3]) + trunk)
        return self.last_blocks((1 + mask) * trunk), mask


class MaskHead(nnx.Module):
    """Two rounds of normalisation, ReLU and 1x1 convolution, then the sigmoid."""

    def __init__(self, features: int, *, dtype: DTypeLike):
        self.norm1 = BatchNorm(features, dtype=dtype)
        self.conv1 = Conv(features, features, init="torch", dtype=dtype)
        self.norm2 = BatchNorm(features, dtype=dtype)
        self.conv2 = Conv(features, features, init="torch", dtype=dtype)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map [B, H, W, C] to gates of the same shape."""
        x = self.conv1(jax.nn.relu(self.norm1(x)))
        return jax.nn.sigmoid(self.conv2(jax.nn.relu(self.norm2(x))))


class ResidualAttentionNetwork(Classifier):
    """Residual Attention Network-92; designed for 224 pixels, works from 64 pixels on.

    `stage1` to `stage3` are the ends of the attention modules of that size, `stage4` the last
    residual unit. `attention/stage2_1` is the soft mask [B, h, w, C] of the first module of stage
    2. The final pooling is global, which at 224 pixels equals the 7x7 pooling of the original; the
    mask is resized to the actual size, so any input side of at least 64 pixels is valid.

    Args:
      num_classes: length of the logits.
      dropout_rate: dropout before the classifier.
      dtype: type of the computation.
    """

    minimum_size = 64

    def __init__(
        self, *, num_classes: int, dropout_rate: float = 0.0, dtype: DTypeLike = jnp.float32
    ):
        super().__init__(num_classes=num_classes, dropout_rate=dropout_rate, dtype=dtype)
        self.conv1 = nnx.List(
            [
                Conv(3, 64, 7, stride=2, init="torch", dtype=dtype),
                BatchNorm(64, dtype=dtype),
            ]
        )
        self.residual_block1 = ResidualUnit(64, 256, dtype=dtype)
        self.attention_module1 = AttentionModule(256, 3, dtype=dtype)
        self.residual_block2 = ResidualUnit(256, 512, stride=2, dtype=dtype)
        self.attention_module2 = AttentionModule(512, 2, dtype=dtype)
        self.attention_module2_2 = AttentionModule(512, 2, dtype=dtype)
        self.residual_block3 = ResidualUnit(512, 1024, stride=2, dtype=dtype)
        self.attention_module3 = AttentionModule(1024, 1, dtype=dtype)
        self.attention_module3_2 = AttentionModule(1024, 1, dtype=dtype)
        self.attention_module3_3 = AttentionModule(1024, 1, dtype=dtype)
        self.residual_block4 = ResidualUnit(1024, 2048, stride=2, dtype=dtype)
        self.residual_block5 = ResidualUnit(2048, 2048, dtype=dtype)
        self.residual_block6 = ResidualUnit(2048, 2048, dtype=dtype)
        self.norm = BatchNorm(2048, dtype=dtype)
        self.fc = Linear(2048, num_classes)

    def endpoints(self, images: jax.Array, perturb: Perturb) -> Endpoints:
        """See `Classifier.__call__`."""
        conv, norm = self.conv1
        assert isinstance(conv, Conv)
        assert isinstance(norm, BatchNorm)
        x = perturb("stem", pooled_stem(conv, norm, images))
        out, masks = {"stem": x}, {}
        stages = (
            (self.residual_block1, [self.attention_module1]),
            (self.residual_block2, [self.attention_module2, self.attention_module2_2]),
            (
                self.residual_block3,
                [self.attention_module3, self.attention_module3_2, self.attention_module3_3],
            ),
        )
        for stage, (unit, modules) in enumerate(stages, 1):
            x = unit(x)
            for index, module in enumerate(modules, 1):
                x, masks[f"attention/stage{stage}_{index}"] = module(x)
            out[f"stage{stage}"] = x = perturb(f"stage{stage}", x)
        x = self.residual_block6(self.residual_block5(self.residual_block4(x)))
        x = perturb("stage4", x)
        return out | {"stage4": x, "pre_logits_2d": jax.nn.relu(self.norm(x))} | masks

    @property
    def linear(self) -> Linear:
        """The classifier `fc`."""
        return self.fc


def resize_bilinear(x: jax.Array, size: Sequence[int]) -> jax.Array:
    """Resize [B, h, w, C] to `size`, [H, W], with corner pixels aligned (align_corners).

    `jax.image.resize` aligns the outer edges of the corners instead, which is another function.
    """
    rows, columns = (
        jnp.asarray(_interpolation(source, target), x.dtype)
        for source, target in zip(x.shape[1:3], size, strict=True)
    )
    return jnp.einsum("bhwc,Hh,Ww->bHWc", x, rows, columns)


def _interpolation(source: int, target: int) -> np.ndarray:
    """Return the matrix [target, source] of linear interpolation that keeps both end points."""
    position = np.linspace(0, source - 1, target)
    return np.maximum(1 - np.abs(position[:, None] - np.arange(source)), 0)
