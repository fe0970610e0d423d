"""The augmentation of pixels on GPU and TPU: colour planes, matrix products, no gather.

A TPU computes 128 neighbouring values of the last axis at once, so the channels come before the
rows. The draws are the same as in the CPU form in `geometry` and `colour`.
"""

import jax
import jax.numpy as jnp

from cervix_jax.data.augment import separable, spectral
from cervix_jax.data.augment.geometry import dihedral_bits, random_affine
from cervix_jax.data.augment.settings import AugmentSettings
from cervix_jax.data.optical_density import from_optical_density, optical_density


def random_warp(
    symmetry: jax.Array,
    affine: jax.Array,
    images: jax.Array,
    shape: tuple[int, int],
    settings: AugmentSettings,
) -> jax.Array:
    """Flip, turn and warp every image, as `random_dihedral` and `geometry.warp` do in sequence.

    Args:
      symmetry: random key of flips and quarter turns.
      affine: random key of the warp.
      images: uint8 `[B, C, H, W]`.
      shape: height and width of the output, about the same centre.
      settings: the geometric settings.

    Returns:
      float32 `[B, C, *shape]` in [0, 1].
    """
    batch, _, height, width = images.shape
    maps = random_affine(affine, batch, *shape, settings)
    transposed = jnp.zeros(batch, bool)
    if settings.flip or settings.rot90:
        left_right, up_down, transposed = dihedral_bits(
            symmetry, batch, flip=settings.flip, rot90=settings.rot90
        )
        signs = jnp.where(jnp.stack([up_down, left_right], axis=1), -1.0, 1.0)
        maps = maps * signs[:, :, None]
    if settings.rotation_degrees > 45:
        # A rotation beyond 45 degrees is a quarter turn and a remainder. The maps lead from the
        # output to the image or, transposed, to the image with rows and columns exchanged.
        turned = jnp.abs(maps[:, 1, 0]) > jnp.abs(maps[:, 0, 0])
        maps = jnp.where(turned[:, None, None], maps[:, ::-1], maps)
        transposed ^= turned
    elif not settings.rot90:
        return _warp(images, maps, shape, settings)
    chosen = transposed[:, None, None, None]
    if height == width:
        images = jnp.where(chosen, images.swapaxes(2, 3), images)
        return _warp(images, maps, shape, settings)
    return jnp.where(
        chosen,
        _warp(images.swapaxes(2, 3), maps, shape, settings),
        _warp(images, maps, shape, settings),
    )


def _warp(
    images: jax.Array, maps: jax.Array, shape: tuple[int, int], settings: AugmentSettings
) -> jax.Array:
    if not settings.rotation_degrees:
        return separable.warp(images, maps, shape, settings.fill)
    reach = spectral.reach(settings, *shape)
    return spectral.warp(images, maps, shape, settings.fill, reach)


def stain(images: jax.Array, matrix: jax.Array, offset: jax.Array) -> jax.Array:
    """Applies maps of `random_stain` to RGB images `[B, 3, H, W]` in [0, 1]; returns the same."""
    density = optical_density(images)
    matrix, offset = matrix[..., None, None], offset[..., None, None]
    mixed = sum(matrix[:, :, k] * density[:, k : k + 1] for k in range(3))
    return from_optical_density(mixed + offset)
