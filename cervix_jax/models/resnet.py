"""ResNet-50 (He et al., CVPR 2016) in torchvision's form V1.5: the stride is on the 3x3."""

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike

from cervix_jax.models.classifier import Classifier, Endpoints, Perturb
from cervix_jax.models.layers import BatchNorm, Conv, Linear, rematerialised
from cervix_jax.models.stem import pooled_stem

EXPANSION = 4


class Bottleneck(nnx.Module):
    """1x1, 3x3 and 1x1 convolutions, each normalised, beside an identity or projection."""

    remat = False

    def __init__(self, in_features: int, width: int, *, stride: int, dtype: DTypeLike):
        out_features = EXPANSION * width
        self.conv1 = Conv(in_features, width, init="fan_out", dtype=dtype)
        self.bn1 = BatchNorm(width, dtype=dtype)
        self.conv2 = Conv(width, width, 3, stride=stride, init="fan_out", dtype=dtype)
        self.bn2 = BatchNorm(width, dtype=dtype)
        self.conv3 = Conv(width, out_features, init="fan_out", dtype=dtype)
        self.bn3 = BatchNorm(out_features, dtype=dtype)
        self.downsample = nnx.data(None)
        if stride > 1 or in_features != out_features:
            project = Conv(in_features, out_features, stride=stride, init="fan_out", dtype=dtype)
            self.downsample = nnx.List([project, BatchNorm(out_features, dtype=dtype)])

    @rematerialised
    def __call__(self, x: jax.Array) -> jax.Array:
        """Map [B, H, W, in] to [B, ceil(H / stride), ceil(W / stride), 4 width]."""
        y = jax.nn.relu(self.bn1(self.conv1(x)))
        y = jax.nn.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        if self.downsample is not None:
            project, norm = self.downsample
            x = norm(project(x))
        return jax.nn.relu(y + x)


class ResNet(Classifier):
    """A residual network of bottlenecks; torchvision's names.

    Args:
      num_classes: length of the logits.
      blocks: bottlenecks in each of the four stages; (3, 4, 6, 3) is ResNet-50.
      dropout_rate: dropout before the classifier.
      dtype: type of the computation.
    """

    def __init__(
        self,
        *,
        num_classes: int,
        blocks: tuple[int, int, int, int] = (3, 4, 6, 3),
        dropout_rate: float = 0.0,
        dtype: DTypeLike = jnp.float32,
    ):
        super().__init__(num_classes=num_classes, dropout_rate=dropout_rate, dtype=dtype)
        self.conv1 = Conv(3, 64, 7, stride=2, init="fan_out", dtype=dtype)
        self.bn1 = BatchNorm(64, dtype=dtype)
        features = 64
        for stage, count in enumerate(blocks):
            width = 64 * 2**stage
            layer = []
            for index in range(count):
                stride = 2 if stage > 0 and index == 0 else 1
                layer.append(Bottleneck(features, width, stride=stride, dtype=dtype))
                features = EXPANSION * width
            setattr(self, f"layer{stage + 1}", nnx.List(layer))
        self.fc = Linear(features, num_classes)

    def endpoints(self, images: jax.Array, perturb: Perturb) -> Endpoints:
        """See `Classifier.__call__`; `stage4` and `pre_logits_2d` are identical here."""
        x = perturb("stem", pooled_stem(self.conv1, self.bn1, images))
        out = {"stem": x}
        for stage in range(1, 5):
            for block in getattr(self, f"layer{stage}"):
                x = block(x)
            out[f"stage{stage}"] = x = perturb(f"stage{stage}", x)
        return out | {"pre_logits_2d": x}

    @property
    def linear(self) -> Linear:
        """The classifier `fc`."""
        return self.fc
