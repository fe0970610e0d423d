"""Warps without rotation, and blur, as one matrix product along each axis."""

import math

import jax
import jax.numpy as jnp

from cervix_jax.data.augment.draws import uniform_per_example


def warp(images: jax.Array, maps: jax.Array, shape: tuple[int, int], fill: str) -> jax.Array:
    """Sample images bilinearly at positions without rotation, as `geometry.warp` does.

    Args:
      images: values 0 to 255, `[B, C, H, W]`, H and W at least 2.
      maps: `[B, 2, 3]` as for `geometry.warp`, with `map[0, 1]` and `map[1, 0]` zero.
      shape: height and width of the output, about the same centre.
      fill: one of `settings.FILLS`.

    Returns:
      float32 `[B, C, *shape]` in [0, 1].
    """
    outside = float(fill == "white")
    values = images.astype(jnp.float32) / 255.0 - outside
    scales, shifts = jnp.stack([maps[:, 0, 0], maps[:, 1, 1]]), maps[:, :, 2].T
    weights = [
        _tents(scale, shift, out, side, fill)
        for scale, shift, out, side in zip(scales, shifts, shape, images.shape[2:], strict=True)
    ]
    return jnp.clip(_along_both(values, *weights) + outside, 0.0, 1.0)


def random_blur(key: jax.Array, images: jax.Array, blur_sigma: float) -> jax.Array:
    """Blur every image with the draws and the kernel of `colour.random_blur`.

    Args:
      key: a random key.
      images: float `[B, C, H, W]` in [0, 1].
      blur_sigma: maximum standard deviation in pixels, above 0.

    Returns:
      Images of the same shape.
    """
    sigma = uniform_per_example(key, images.shape[0], 1)[:, :, None] * blur_sigma
    radius = max(1, math.ceil(3 * blur_sigma))
    taps = jnp.arange(-radius, radius + 1)

    def gaussian(distance: jax.Array) -> jax.Array:
        return jnp.exp(-0.5 * jnp.square(distance / jnp.maximum(sigma, 0.05)))

    def weights(side: int) -> jax.Array:
        place = jnp.arange(side)
        distance = place[None, :] - place[:, None]
        kernel = jnp.where(jnp.abs(distance) <= radius, gaussian(distance), 0.0)
        # Beyond an end, the kernel reads the pixel at that end.
        aim = place[:, None] + taps
        beyond = [
            jnp.sum(jnp.where(over, gaussian(taps), 0.0), axis=2, keepdims=True)
            for over in (aim < 0, aim > side - 1)
        ]
        kernel += jnp.where(place == 0, beyond[0], 0.0)
        kernel += jnp.where(place == side - 1, beyond[1], 0.0)
        return kernel / gaussian(taps).sum(axis=2, keepdims=True)

    # Values below half a unit are rounded half as coarsely.
    return _along_both(images - 0.5, *(weights(side) for side in images.shape[2:])) + 0.5


def _tents(scale: jax.Array, shift: jax.Array, out: int, side: int, fill: str) -> jax.Array:
    """Return the weights `[B, out, side]` of the pixels of one axis."""
    centred = jnp.arange(out) - (out - 1) / 2
    place = scale[:, None] * centred + shift[:, None] + (side - 1) / 2
    if fill == "reflect":
        period = 2.0 * (side - 1)
        place = jnp.abs(place - period * jnp.round(place / period))
    elif fill == "edge":
        place = jnp.clip(place, 0.0, side - 1.0)
    return jnp.maximum(1.0 - jnp.abs(place[:, :, None] - jnp.arange(side)), 0.0)


def _along_both(images: jax.Array, rows: jax.Array, columns: jax.Array) -> jax.Array:
    """Multiply `[B, C, H, W]` with `[B, I, H]` along rows and `[B, J, W]` along columns.

    The products use two bfloat16 halves of every number; their error is below 1e-4 of a unit.
    """
    images = jnp.einsum("bchw,bjw->bchj", images, columns, precision=jax.lax.Precision.HIGH)
    return jnp.einsum("bchj,bih->bcij", images, rows, precision=jax.lax.Precision.HIGH)
