"""Stain, lamp and focus: random changes of colour in optical density, and Gaussian blur.

A Pap smear is not stained with haematoxylin and eosin but with haematoxylin, orange G and the
several dyes of EA, so the fixed H&E matrix of "HED jitter" (Tellez et al., Medical Image Analysis
58, 2019) does not unmix it. Its form od' = a * od + b still applies, since dyes add in optical
density (Beer-Lambert) and clear glass stays clear under a. Here it acts on the densities of the RGB
channels; a random channel-mixing matrix represents dyes with other spectra. `stain_vectors` finds
the two stains of each image and changes those.
"""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp

from cervix_jax.data.augment.draws import spread, uniform_per_example
from cervix_jax.data.augment.settings import AugmentSettings
from cervix_jax.data.augment.stain_vectors import random_stain_vectors
from cervix_jax.data.optical_density import from_optical_density, optical_density

# Examples are numbered from 0, so no example has this number.
_DIRECTIONS = 2**32 - 1


def random_recolour(
    key: jax.Array, channels: Sequence[jax.Array], settings: AugmentSettings
) -> tuple[jax.Array, jax.Array]:
    """Draw one affine map of optical densities per example, with all changes that are switched on.

    The image's stains are changed first, then the channels as in `random_stain`.

    Args:
      key: a random key.
      channels: R, G and B in [0, 1], `[B, H, W]` each, from which `stain_vectors` derives the
        stains.
      settings: `stain_vectors`, and the settings of `random_stain`.

    Returns:
      `(matrix, offset)` as for `random_stain`.
    """
    batch = len(channels[0])
    matrix, offset = random_stain(key, batch, settings)
    if not settings.stain_vectors:
        return matrix, offset
    moments = density_moments([optical_density(channel) for channel in channels])
    # A separate key keeps the draws of `random_stain` unchanged.
    key = jax.random.fold_in(key, _DIRECTIONS)
    turned = random_stain_vectors(key, *moments, settings.stain_vectors)
    return jnp.matmul(matrix, turned, precision="highest"), offset


def density_moments(densities: Sequence[jax.Array]) -> tuple[jax.Array, jax.Array]:
    """Return the means over the pixels of three densities `[B, H, W]`, and of their products.

    Returns:
      float32 `[B, 3]` and `[B, 3, 3]`.
    """
    mean = jnp.stack([density.mean(axis=(1, 2)) for density in densities], axis=1)
    products = {
        (i, k): (densities[i] * densities[k]).mean(axis=(1, 2))
        for i in range(3)
        for k in range(i + 1)
    }
    rows = [[products[max(i, k), min(i, k)] for k in range(3)] for i in range(3)]
    return mean, jnp.stack([jnp.stack(row, axis=1) for row in rows], axis=1)


def random_stain(
    key: jax.Array, batch: int, settings: AugmentSettings
) -> tuple[jax.Array, jax.Array]:
    """Draw one affine map of optical densities per example, independent of the image.

    Args:
      key: a random key.
      batch: number of maps.
      settings: `stain_jitter`, `hue`, `brightness`, `contrast` and `grey`.

    Returns:
      `(matrix, offset)`, float32 `[batch, 3, 3]` and `[batch, 3]`: the new density of channel c is
      `sum_k matrix[c, k] * od[k] + offset[c]`. The identity where the settings are 0.
    """
    draws = uniform_per_example(key, batch, 15)
    gain = 1.0 + spread(draws[:, 0:3], settings.stain_jitter)
    offset = spread(draws[:, 3:6], settings.stain_jitter)
    cross = spread(draws[:, 6:12], settings.hue)
    lamp = spread(draws[:, 12:13], settings.brightness)
    strength = 1.0 + spread(draws[:, 13:14], settings.contrast)

    rows, columns = jnp.array([0, 0, 1, 1, 2, 2]), jnp.array([1, 2, 0, 2, 0, 1])
    mixing = jnp.zeros((batch, 3, 3)).at[:, rows, columns].set(cross)
    # Every row sums to one, so equal densities, i.e. greys, stay equal.
    mixing += jnp.eye(3) * (1.0 - mixing.sum(axis=2, keepdims=True))
    matrix = (gain * strength)[:, :, None] * mixing
    offset += lamp

    grey = draws[:, 14] < settings.grey
    matrix = jnp.where(grey[:, None, None], matrix.mean(axis=1, keepdims=True), matrix)
    offset = jnp.where(grey[:, None], offset.mean(axis=1, keepdims=True), offset)
    return matrix, offset


def stain(images: jax.Array, matrix: jax.Array, offset: jax.Array) -> jax.Array:
    """Applies maps of `random_stain` to RGB images `[B, H, W, 3]` in [0, 1]; returns the same."""
    red, green, blue = (optical_density(images[..., channel]) for channel in range(3))
    matrix, offset = matrix[:, None, None], offset[:, None, None]
    density = (
        matrix[..., 0] * red[..., None]
        + matrix[..., 1] * green[..., None]
        + matrix[..., 2] * blue[..., None]
        + offset
    )
    return from_optical_density(density)


def random_blur(key: jax.Array, images: jax.Array, blur_sigma: float) -> jax.Array:
    """Blurs every image with a Gaussian of its own width.

    Args:
      key: a random key.
      images: float `[B, H, W, C]`.
      blur_sigma: greatest standard deviation in pixels, above 0; drawn uniformly from 0 to it.

    Returns:
      Images of the same shape. The kernel is cut at three times `blur_sigma` and sums to one;
      edge pixels repeat outside the image.
    """
    batch, height, width, channels = images.shape
    sigma = uniform_per_example(key, batch, 1) * blur_sigma
    radius = max(1, math.ceil(3 * blur_sigma))
    taps = jnp.arange(-radius, radius + 1)
    # The floor keeps sigma = 0 finite; there the kernel is a delta to all float32 digits.
    kernel = jnp.exp(-0.5 * jnp.square(taps / jnp.maximum(sigma, 0.05)))
    kernel = (kernel / kernel.sum(axis=1, keepdims=True))[:, :, None, None]
    # The kernels differ over the batch, so both passes are sums of shifted products. Columns and
    # channels share one axis: long contiguous rows make this six times as fast on a CPU.
    padded = jnp.pad(images, ((0, 0), (radius, radius), (0, 0), (0, 0)), mode="edge")
    padded = padded.reshape(batch, height + 2 * radius, width * channels)
    rows = [kernel[:, tap] * padded[:, tap : tap + height] for tap in range(len(taps))]
    images = jnp.asarray(sum(rows))
    images = images.reshape(batch, height, width, channels)
    padded = jnp.pad(images, ((0, 0), (0, 0), (radius, radius), (0, 0)), mode="edge")
    padded = padded.reshape(batch, height, (width + 2 * radius) * channels)
    columns = [
        kernel[:, tap] * padded[:, :, tap * channels : (tap + width) * channels]
        for tap in range(len(taps))
    ]
    return jnp.asarray(sum(columns)).reshape(batch, height, width, channels)
