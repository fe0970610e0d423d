"""Random augmentation of image batches, on the device.

Everything is a pure function of a key and a batch. The changes of example i depend only on the key
and on i, so the result is the same on one device and on many. Only mixup and CutMix, which pair
examples, use the whole batch.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any, Protocol

import jax
import jax.numpy as jnp

from cervix_jax import target
from cervix_jax.data.augment import planar, separable
from cervix_jax.data.augment.colour import random_blur, random_recolour, stain
from cervix_jax.data.augment.geometry import (
    check_square,
    random_affine,
    random_dihedral,
    warp,
)
from cervix_jax.data.augment.mixing import cutout, mix
from cervix_jax.data.augment.settings import PRESETS, AugmentSettings, parse_settings
from cervix_jax.data.normalization import unit_range
from cervix_jax.errors import InputError

__all__ = ["PRESETS", "Augment", "AugmentSettings", "make_augment", "parse_settings"]


class Augment(Protocol):
    """A compiled augmentation of a batch."""

    def __call__(
        self, key: jax.Array, images: jax.Array, labels: jax.Array, num_classes: int
    ) -> tuple[jax.Array, jax.Array]:
        """Augments a batch.

        Args:
          key: a random key.
          images: uint8 RGB `[B, H, W, 3]`, with the margin on each side.
          labels: integer `[B]` in [0, num_classes), or one per pixel `[B, H, W]`, which are warped
            with the pixels; a label outside this range gives an all-zero target.
          num_classes: length of a target.

        Returns:
          `(images, targets)`: float32 `[B, H, W, 3]` in [0, 1], not normalised and without the
          margin, and float32 `[B, num_classes]` or `[B, H, W, num_classes]`, whose last axis sums
          to 1 (to less where a warp blends in pixels that have no target).

        Raises:
          InputError: shapes or dtypes are wrong, `rot90` is used on images that are not square, or
            cutout or mixing is used with labels of pixels.
        """
        ...


def make_augment(settings: Mapping[str, Any], margin: int = 0, views: int = 1) -> Augment:
    """Build the augmentation that the settings define.

    The order follows the microscope: flips and quarter turns (exact), one affine warp sampled once,
    stain and lamp, focus; then cutout and mixing.

    Args:
      settings: names and values as in `AugmentSettings`, with an optional `preset`. An empty
        mapping only scales the pixels and makes the labels one-hot.
      margin: pixels on each side of the images that only serve as input of the warp, see
        `AugmentSettings.margin`; the augmentation removes them.
      views: number of squares side by side in an image, which are turned, stretched and coloured
        alike.

    Returns:
      The augmentation, jitted; it may be called inside another jitted function.

    Raises:
      InputError: a name is unknown, or a value is out of range.
    """
    parsed = parse_settings(settings)

    def augment(
        key: jax.Array, images: jax.Array, labels: jax.Array, num_classes: int
    ) -> tuple[jax.Array, jax.Array]:
        _check_batch(images, labels, margin)
        if labels.ndim > 1 and (parsed.mixes or parsed.cutout):
            raise InputError(
                "augment.mixup_alpha, cutmix_alpha and cutout require one label per image; set "
                "them to 0 for data with a label per pixel."
            )
        form = _in_rows if target.platform() == "cpu" else _in_planes
        # The same key, hence the same draws, for every square.
        squares = [
            form(parsed, margin, key, square, labels, num_classes)
            for square in jnp.split(images, views, axis=2)
        ]
        pixels, targets = squares[0]
        if views > 1:
            pixels = jnp.concatenate([square for square, _ in squares], axis=2)
        return pixels, targets

    return augment


@partial(jax.jit, static_argnums=(0, 1, 5))
def _in_planes(
    settings: AugmentSettings,
    margin: int,
    key: jax.Array,
    images: jax.Array,
    labels: jax.Array,
    num_classes: int,
) -> tuple[jax.Array, jax.Array]:
    """The form for GPU and TPU, equal to `_in_rows` except for the rounding stated in `planar`."""
    height, width = (side - 2 * margin for side in images.shape[1:3])
    symmetry, affine, dyes, focus, cover, pairs = jax.random.split(key, 6)
    images, targets = _with_targets(images, labels, num_classes)
    if settings.rot90:
        check_square(images)
    if settings.warps:
        planes = images.transpose(0, 3, 1, 2)
        pixels = planar.random_warp(symmetry, affine, planes, (height, width), settings)
    else:
        if settings.flip or settings.rot90:
            images = random_dihedral(symmetry, images, flip=settings.flip, rot90=settings.rot90)
        pixels = unit_range(images).transpose(0, 3, 1, 2)
        pixels = pixels[:, :, margin : height + margin, margin : width + margin]
    if targets is None:
        pixels, targets = pixels[:, :3], pixels[:, 3:].transpose(0, 2, 3, 1)
    if settings.recolours:
        channels = [pixels[:, channel] for channel in range(3)]
        pixels = planar.stain(pixels, *random_recolour(dyes, channels, settings))
    if settings.blur_sigma:
        pixels = separable.random_blur(focus, pixels, settings.blur_sigma)
    return _cover_and_mix(settings, cover, pairs, pixels.transpose(0, 2, 3, 1), targets)


@partial(jax.jit, static_argnums=(0, 1, 5))
def _in_rows(
    settings: AugmentSettings,
    margin: int,
    key: jax.Array,
    images: jax.Array,
    labels: jax.Array,
    num_classes: int,
) -> tuple[jax.Array, jax.Array]:
    batch, height, width = images.shape[0], *(side - 2 * margin for side in images.shape[1:3])
    # Every part has its own stream, drawn even if the part is off: switching one part on does not
    # change the random numbers of the others.
    symmetry, affine, dyes, focus, cover, pairs = jax.random.split(key, 6)
    images, targets = _with_targets(images, labels, num_classes)
    if settings.flip or settings.rot90:
        images = random_dihedral(symmetry, images, flip=settings.flip, rot90=settings.rot90)
    pixels = unit_range(images)
    if settings.warps:
        maps = random_affine(affine, batch, height, width, settings)
        pixels = warp(pixels, maps, settings.fill, margin)
    elif margin:
        pixels = pixels[:, margin:-margin, margin:-margin]
    if targets is None:
        pixels, targets = pixels[..., :3], pixels[..., 3:]
    if settings.recolours:
        channels = [pixels[..., channel] for channel in range(3)]
        pixels = stain(pixels, *random_recolour(dyes, channels, settings))
    if settings.blur_sigma:
        pixels = random_blur(focus, pixels, settings.blur_sigma)
    return _cover_and_mix(settings, cover, pairs, pixels, targets)


def _with_targets(
    images: jax.Array, labels: jax.Array, num_classes: int
) -> tuple[jax.Array, jax.Array | None]:
    """Return images with pixel targets as further channels, or images and their own targets."""
    targets = jax.nn.one_hot(labels, num_classes, dtype=jnp.float32)
    if labels.ndim == 1:
        return images, targets
    return jnp.concatenate([images, (255 * targets).astype(jnp.uint8)], axis=-1), None


def _cover_and_mix(
    settings: AugmentSettings,
    cover: jax.Array,
    pairs: jax.Array,
    pixels: jax.Array,
    targets: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    if settings.cutout:
        pixels = cutout(cover, pixels, settings.cutout)
    if settings.mixes:
        pixels, targets = mix(
            pairs,
            pixels,
            targets,
            mixup_alpha=settings.mixup_alpha,
            cutmix_alpha=settings.cutmix_alpha,
        )
    # Weights of an interpolation may sum to one plus a rounding error.
    return jnp.clip(pixels, 0.0, 1.0), targets


def _check_batch(images: jax.Array, labels: jax.Array, margin: int) -> None:
    if images.dtype != jnp.uint8 or images.ndim != 4 or images.shape[-1] != 3:
        raise InputError(
            f"images to augment are {images.dtype} {images.shape}: give uint8 [B, H, W, 3]"
        )
    if min(images.shape[1:3]) < 2 + 2 * margin:
        about = f" beside a margin of {margin} on each side" if margin else ""
        raise InputError(f"images to augment are {images.shape}: give at least 2 x 2 pixels{about}")
    fits = labels.shape in (images.shape[:1], images.shape[:3])
    if not jnp.issubdtype(labels.dtype, jnp.integer) or not fits:
        raise InputError(
            f"labels are {labels.dtype} {labels.shape}: give integers [{images.shape[0]}] or "
            f"{list(images.shape[:3])}"
        )
