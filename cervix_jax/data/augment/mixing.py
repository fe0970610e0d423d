"""Cutout, mixup and CutMix."""

import jax
import jax.numpy as jnp

from cervix_jax.data.augment.draws import uniform_per_example


def cutout(key: jax.Array, images: jax.Array, fraction: float) -> jax.Array:
    """Covers a random square of every image (DeVries and Taylor, arXiv 1708.04552).

    The square gets the image's mean colour. This corresponds to the paper's zero after
    normalisation and avoids a black patch, which never occurs in a smear.

    Args:
      key: a random key.
      images: float `[B, H, W, C]`.
      fraction: side of the square as a fraction of the shorter image side, in [0, 1].

    Returns:
      Images of the same shape.
    """
    batch, height, width, _ = images.shape
    side = fraction * min(height, width)
    centre = uniform_per_example(key, batch, 2) * jnp.array([height, width])
    rows = jnp.abs(jnp.arange(height) + 0.5 - centre[:, :1]) < side / 2
    columns = jnp.abs(jnp.arange(width) + 0.5 - centre[:, 1:]) < side / 2
    covered = (rows[:, :, None] & columns[:, None, :])[..., None]
    return jnp.where(covered, images.mean(axis=(1, 2), keepdims=True), images)


def cutmix_mask(key: jax.Array, height: int, width: int, kept: jax.Array) -> jax.Array:
    """Draws the pixels that CutMix keeps.

    Args:
      key: a random key.
      height: image height in pixels.
      width: image width in pixels.
      kept: share of the area to keep, in [0, 1]; the pasted rectangle has the image's shape.

    Returns:
      float32 `[height, width]`, 0 in the rectangle and 1 outside. The centre is uniform and the
      rectangle is trimmed to the image, so the kept share may be larger than `kept`.
    """
    side = jnp.sqrt(1.0 - kept)
    centre = jax.random.uniform(key, (2,)) * jnp.array([height, width])
    rows = jnp.abs(jnp.arange(height) + 0.5 - centre[0]) < side * height / 2
    columns = jnp.abs(jnp.arange(width) + 0.5 - centre[1]) < side * width / 2
    return 1.0 - (rows[:, None] & columns[None, :]).astype(jnp.float32)


def mix(
    key: jax.Array,
    images: jax.Array,
    targets: jax.Array,
    *,
    mixup_alpha: float = 0.0,
    cutmix_alpha: float = 0.0,
) -> tuple[jax.Array, jax.Array]:
    """Mixes a batch with a random permutation of itself.

    Mixup (Zhang et al., arXiv 1710.09412) blends with weight Beta(alpha, alpha); CutMix (Yun et
    al., arXiv 1905.04899) pastes a rectangle. The whole batch shares one weight or rectangle. If
    both methods are on, the batch uses either with probability 1/2.

    Args:
      key: a random key.
      images: float `[B, H, W, C]`.
      targets: float `[B, K]`, rows summing to 1.
      mixup_alpha: parameter of mixup; 0 is off.
      cutmix_alpha: parameter of CutMix; 0 is off. One of the two must be on.

    Returns:
      `(images, targets)` of the same shapes. An image's share of the target equals its share of the
      pixels; for CutMix that is the exact count of pixels kept.
    """
    batch, height, width, _ = images.shape
    order, choice, draw, place = jax.random.split(key, 4)
    partner = jax.random.permutation(order, batch)
    # One draw serves both methods, since the Beta sampler takes long to compile.
    pasted = jax.random.bernoulli(choice) if mixup_alpha and cutmix_alpha else bool(cutmix_alpha)
    # Below 1e-6 all draws are 0 or 1 in float32, and far below they would be NaN.
    alpha = jnp.maximum(jnp.where(pasted, cutmix_alpha, mixup_alpha), 1e-6)
    share = jax.random.beta(draw, alpha, alpha)
    mask = cutmix_mask(place, height, width, share)
    weight = jnp.where(pasted, mask, share)
    share = jnp.where(pasted, mask.mean(), share)
    weight = weight[None, :, :, None]
    return (
        weight * images + (1.0 - weight) * images[partner],
        share * targets + (1.0 - share) * targets[partner],
    )
