"""Optical density, in which stains add, and matching of images to one reference stain."""

import jax
import jax.numpy as jnp

from cervix_jax.errors import InputError

# For R, G and B: averages over the 4,049 cells of SIPaKMeD of an image's mean and standard
# deviation. Herlev's 917 cells have (0.66, 0.73, 0.51) and (0.23, 0.26, 0.15).
REFERENCE_MEAN = (0.72, 0.74, 0.57)
REFERENCE_DEVIATION = (0.27, 0.26, 0.21)
# Maximum factor by which the contrast of an image is amplified.
GREATEST_GAIN = 4.0


def optical_density(images: jax.Array) -> jax.Array:
    """Returns -ln((255 v + 1) / 256) for v in [0, 1]: 0 for white, ln 256 for black.

    The offset of one grey level (Ruifrok and Johnston 2001) keeps black finite.
    """
    return -jnp.log((255.0 * images + 1.0) / 256.0)


def from_optical_density(density: jax.Array) -> jax.Array:
    """Inverts `optical_density`; values beyond white or black are clipped to [0, 1]."""
    return jnp.clip((256.0 * jnp.exp(-density) - 1.0) / 255.0, 0.0, 1.0)


def match_reference(images: jax.Array) -> jax.Array:
    """Gives every image the reference's mean and deviation of optical density, channel by channel.

    Reinhard et al. (IEEE Computer Graphics and Applications 21(5), 2001) match means and standard
    deviations of colours. Here the match is in optical density instead of their colour space, so
    images of the same stain, thicker or under another lamp, become the same image. Clear glass
    does not stay white.

    Args:
      images: RGB in [0, 1], `[..., H, W, 3]`; each image is matched separately.

    Returns:
      float32 of the same shape, in [0, 1].

    Raises:
      InputError: the arrays are not whole images.
    """
    if images.ndim < 3:
        raise InputError(
            f"images have shape {images.shape}: stain matching requires whole images, [H, W, 3]"
        )
    density = optical_density(images)
    mean = density.mean((-3, -2), keepdims=True)
    deviation = density.std((-3, -2), keepdims=True)
    wanted = jnp.asarray(REFERENCE_DEVIATION, jnp.float32)
    gain = wanted / jnp.maximum(deviation, wanted / GREATEST_GAIN)
    return from_optical_density((density - mean) * gain + jnp.asarray(REFERENCE_MEAN))
