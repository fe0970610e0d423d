"""A small U-Net that detects the centres of nuclei at every position of an image."""

import itertools

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike

from cervix_jax.errors import InputError
from cervix_jax.models.layers import BatchNorm, Conv

# Pixels of an image per position of the output, in both directions.
STRIDE = 2
# Image sides must be multiples of this number, because they are halved four times.
MULTIPLE = 16


class ConvBlock(nnx.Module):
    """A 3x3 convolution, normalised and rectified."""

    def __init__(self, in_features: int, out_features: int, *, stride: int = 1, dtype: DTypeLike):
        self.conv = Conv(in_features, out_features, 3, stride=stride, dtype=dtype)
        self.norm = BatchNorm(out_features, dtype=dtype)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map [B, H, W, in] to [B, ceil(H / stride), ceil(W / stride), out]."""
        return jax.nn.relu(self.norm(self.conv(x)))


class NucleusDetector(nnx.Module):
    """A U-Net (Ronneberger et al., MICCAI 2015) of 350 thousand parameters, fully convolutional.

    The image is halved four times. From the coarsest level, where a cell covers a few pixels, the
    features are upsampled by two and added to those of the next level (as in a feature pyramid, Lin
    et al., CVPR 2017), up to half of the image's size.

    Args:
      num_classes: 2, background and nucleus.
      dropout_rate: must be 0; every network of this package has this argument.
      widths: channels of the levels, from the finest.
      dtype: type of the computation; the logits are float32.
    """

    def __init__(
        self,
        *,
        num_classes: int = 2,
        dropout_rate: float = 0.0,
        widths: tuple[int, int, int, int] = (16, 32, 64, 96),
        dtype: DTypeLike = jnp.float32,
    ):
        if dropout_rate:
            raise InputError(
                f"model.dropout={dropout_rate:g}: a nucleus detector has no dropout; leave it at 0."
            )
        self.num_classes, self.dtype = num_classes, dtype
        ends = [3, *widths]
        self.down = nnx.List(
            [ConvBlock(a, b, stride=2, dtype=dtype) for a, b in itertools.pairwise(ends)]
        )
        self.level = nnx.List([ConvBlock(width, width, dtype=dtype) for width in widths])
        self.deepest = ConvBlock(widths[-1], widths[-1], dtype=dtype)
        pairs = list(itertools.pairwise(widths))
        self.lateral = nnx.List([Conv(b, a, dtype=dtype) for a, b in pairs])
        self.up = nnx.List([ConvBlock(a, a, dtype=dtype) for a, _ in pairs])
        self.classifier = Conv(widths[0], num_classes, use_bias=True, init="torch", dtype=dtype)

    def __call__(
        self, images: jax.Array, *, rngs: nnx.Rngs | None = None
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Detect nuclei in a batch.

        Args:
          images: float [B, H, W, 3], normalised as in training; H and W multiples of `MULTIPLE`.
          rngs: not used; every network of this package has this argument.

        Returns:
          Logits float32 [B, H / STRIDE, W / STRIDE, num_classes] of background and nucleus, and {}.

        Raises:
          InputError: a side is not a multiple of `MULTIPLE`.
        """
        del rngs
        if images.ndim != 4 or any(side % MULTIPLE or not side for side in images.shape[1:3]):
            raise InputError(
                f"images are {images.shape}; a nucleus detector takes [B, H, W, 3] with sides that "
                f"are multiples of {MULTIPLE}."
            )
        x = images.astype(self.dtype)
        levels = []
        for down, level in zip(self.down, self.level, strict=True):
            x = level(down(x))
            levels.append(x)
        x = self.deepest(x)
        for fine, lateral, up in reversed(
            list(zip(levels[:-1], self.lateral, self.up, strict=True))
        ):
            x = up(_doubled(lateral(x)) + fine)
        return self.classifier(x).astype(jnp.float32), {}


def _doubled(x: jax.Array) -> jax.Array:
    """Repeat each pixel of [B, H, W, C] four times: [B, 2 H, 2 W, C]."""
    batch, height, width, channels = x.shape
    x = jnp.broadcast_to(x[:, :, None, :, None], (batch, height, 2, width, 2, channels))
    return x.reshape(batch, 2 * height, 2 * width, channels)
