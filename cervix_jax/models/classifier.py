"""The base class of all classifiers: from images to logits, with access to all feature maps."""

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike

from cervix_jax import distributed
from cervix_jax.errors import InputError
from cervix_jax.models.cpu.pooling import global_average_pool
from cervix_jax.models.layers import Linear

Endpoints = dict[str, jax.Array]
Perturb = Callable[[str, jax.Array], jax.Array]
FEATURE_MAPS = ("stem", "stage1", "stage2", "stage3", "stage4", "pre_logits_2d")


class Classifier(nnx.Module):
    """Base class of image classifiers; subclasses define `endpoints` and `linear`.

    `train()` and `eval()` select batch or running statistics and turn dropout on or off. The module
    has only variables of the types `nnx.Param` and `nnx.BatchStat`; the call provides the dropout
    key.

    Attributes:
      num_classes: number of classes, i.e. length of the logits.
      minimum_size: minimum height and width in pixels.
      dtype: type of the computation; pooling and logits are float32.
      norm_groups: see `layers.BatchNorm`; if it is not 0, each image has its own dropout key.
      views: number of squares side by side in an image. The model maps each square with the same
        weights, and the classifier receives the features of all.
    """

    minimum_size = 32
    norm_groups = 0
    views = 1

    def __init__(self, *, num_classes: int, dropout_rate: float, dtype: DTypeLike):
        if num_classes < 1:
            raise InputError(f"num_classes is {num_classes}; give at least 1")
        if not 0 <= dropout_rate < 1:
            raise InputError(f"dropout_rate is {dropout_rate}; give a number from 0 to below 1")
        self.num_classes = num_classes
        self.dtype = dtype
        self.dropout = nnx.Dropout(dropout_rate)

    def __call__(
        self,
        images: jax.Array,
        *,
        rngs: nnx.Rngs | None = None,
        perturbations: Mapping[str, jax.Array] | None = None,
    ) -> tuple[jax.Array, Endpoints]:
        """Classify a batch.

        Args:
          images: float [B, H, W, 3], normalised as in training; H and W (the width of each of
            the `views`) are at least `minimum_size`.
          rngs: random keys with the stream `dropout`; required only in training with dropout.
          perturbations: arrays by the names of feature maps (`FEATURE_MAPS`), which are added to
            these feature maps. The gradient with respect to a perturbation of zeros is the
            gradient with respect to the feature map, as Grad-CAM requires. None adds nothing.

        Returns:
          The logits, float32 [B, num_classes], and a dict of features: `stem` (after its pooling),
          `stage1` to `stage4` and `pre_logits_2d` (after the last normalisation and
          rectification), all [B, h, w, c] in the compute type; `pre_logits`, float32 [B, c]; and
          `attention/<block>`, the attention gates between 0 and 1. With several `views` the feature
          maps are side by side, `pre_logits` concatenates the features of the views, and channel
          gates are means over the views.

        Raises:
          InputError: the images have a wrong rank, type or number of channels, or are too small;
            `rngs` is missing in training with dropout; or a perturbation names no feature map.
        """
        _check_images(images, self.minimum_size, self.views)
        perturb = _make_perturb(perturbations or {}, self.views)
        squares = apart(images.astype(self.dtype), self.views)
        out = self.endpoints(squares, perturb)
        out["pre_logits_2d"] = perturb("pre_logits_2d", out["pre_logits_2d"])
        if self.views > 1:
            out = {name: _joined(value, self.views) for name, value in out.items()}
        out["pre_logits"] = self._pooled(out["pre_logits_2d"])
        return self.head(out["pre_logits_2d"], rngs=rngs), out

    def head(self, pre_logits_2d: jax.Array, *, rngs: nnx.Rngs | None = None) -> jax.Array:
        """Map the last feature map [B, h, w, c] to float32 logits [B, num_classes]."""
        pooled = self._pooled(pre_logits_2d)
        if self.dropout.rate > 0 and not self.dropout.deterministic:
            if rngs is None:
                raise InputError(
                    f"{type(self).__name__} has dropout {self.dropout.rate} and is in training: "
                    "call it with rngs=nnx.Rngs(dropout=key), or call eval() on it first"
                )
            pooled = self._drop(pooled, rngs)
        return self.linear(pooled)

    def _pooled(self, pre_logits_2d: jax.Array) -> jax.Array:
        """Return the means over each view, concatenated in the order of the views."""
        pooled = global_average_pool(apart(pre_logits_2d, self.views))
        # In an exported program the batch size is symbolic and cannot be combined with `-1`.
        return pooled.reshape(pre_logits_2d.shape[0], self.views * pooled.shape[1])

    def _drop(self, pooled: jax.Array, rngs: nnx.Rngs) -> jax.Array:
        if not self.norm_groups:
            return self.dropout(pooled, rngs=rngs)
        # With groups, `shard_map` may pass each device only its own images: their keys derive from
        # their numbers in the whole batch, so that they do not depend on the number of devices.
        numbers = distributed.first_of_share(len(pooled)) + jnp.arange(len(pooled))
        keys = jax.vmap(jax.random.fold_in, (None, 0))(rngs.dropout(), numbers)
        return jax.vmap(lambda image, key: self.dropout(image, rngs=key))(pooled, keys)

    def endpoints(self, images: jax.Array, perturb: Perturb) -> Endpoints:
        """Compute every output except `pre_logits`, from images in the compute type.

        Implementations pass `stem` and the stages through `perturb(name, x)` and continue with
        its result.
        """
        raise TypeError(f"{type(self).__name__} defines no endpoints")

    @property
    def linear(self) -> Linear:
        """The last layer, under its name in the published weights."""
        raise TypeError(f"{type(self).__name__} defines no linear layer")


def apart(images: jax.Array, views: int) -> jax.Array:
    """Split images into their squares, which become a batch.

    The squares of one image are consecutive, so that devices which share a batch of images also
    share its squares.

    Args:
      images: [B, H, views W, C].
      views: number of squares side by side in an image.

    Returns:
      [B views, H, W, C].

    Raises:
      InputError: the width is not a multiple of `views`.
    """
    if views == 1:
        return images
    batch, height, width, channels = images.shape
    if width % views:
        raise InputError(
            f"images are {height} x {width} pixels; this model takes {views} squares side by "
            f"side, so the width must be a multiple of {views}."
        )
    split = images.reshape(batch, height, views, width // views, channels)
    return split.swapaxes(1, 2).reshape(batch * views, height, width // views, channels)


def _joined(values: jax.Array, views: int) -> jax.Array:
    """Undo `apart` for feature maps [B views, h, w, C]; for [B views, C], average over views."""
    if values.ndim == 2:
        return values.reshape(-1, views, values.shape[1]).mean(1)
    count, height, width, channels = values.shape
    split = values.reshape(count // views, views, height, width, channels)
    return split.swapaxes(1, 2).reshape(count // views, height, views * width, channels)


def _make_perturb(perturbations: Mapping[str, jax.Array], views: int) -> Perturb:
    for name in perturbations:
        if name not in FEATURE_MAPS:
            raise InputError(
                f"no feature map is called {name!r}; choose one of {', '.join(FEATURE_MAPS)}"
            )

    def perturb(name: str, x: jax.Array) -> jax.Array:
        if name not in perturbations:
            return x
        return x + apart(perturbations[name].astype(x.dtype), views)

    return perturb


def _check_images(images: jax.Array, minimum_size: int, views: int) -> None:
    if images.ndim != 4 or images.shape[-1] != 3:
        raise InputError(
            f"images have shape {images.shape}; a model takes [batch, height, width, 3]"
        )
    if not jnp.issubdtype(images.dtype, jnp.floating):
        raise InputError(f"images are {images.dtype}; normalise them to floating point first")
    height, width = images.shape[1:3]
    if min(height, width // views) < minimum_size:
        raise InputError(
            f"images are {height} x {width} pixels; this model needs at least "
            f"{minimum_size} x {views * minimum_size}: resize them"
        )
