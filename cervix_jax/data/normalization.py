"""Pixel scaling and the per-channel normalisations that published weights expect.

A name that ends in "+reinhard", such as "imagenet+reinhard", first matches every image to one
reference stain. This is part of the model's input preprocessing, so it applies to training,
evaluation, predictions, explanations and exported programs alike.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from cervix_jax.data.optical_density import match_reference
from cervix_jax.errors import InputError

Triple = tuple[float, float, float]

NORMALIZATIONS: dict[str, tuple[Triple, Triple]] = {
    # torchvision: mean and standard deviation of the ImageNet training images.
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    # TensorFlow-Slim Inception preprocessing: [0, 1] to [-1, 1].
    "inception": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    # TensorFlow TPU EfficientNet-Lite: (pixel - 127) / 128.
    "efficientnet_lite": ((127 / 255, 127 / 255, 127 / 255), (128 / 255, 128 / 255, 128 / 255)),
    "none": ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
}
"""Name to (mean, standard deviation) per RGB channel, for images in [0, 1]."""
REINHARD = "+reinhard"


def normalization_names() -> tuple[str, ...]:
    """Return all names that `normalize` accepts."""
    return (*NORMALIZATIONS, *(name + REINHARD for name in NORMALIZATIONS))


def scaling_of(name: str) -> str:
    """Return the name in `NORMALIZATIONS` of a normalisation's scaling, without stain matching."""
    return name.removesuffix(REINHARD)


def unit_range(images: jax.Array | np.ndarray) -> jax.Array:
    """Scales pixels to [0, 1].

    Args:
      images: uint8 in [0, 255], or floating point already in [0, 1]; any shape.

    Returns:
      float32 of the same shape. A uint8 value v becomes the float32 nearest to v / 255, with and
      without compilation; floating point is only cast.

    Raises:
      InputError: if the dtype is neither uint8 nor floating point.
    """
    images = jnp.asarray(images)
    if jnp.issubdtype(images.dtype, jnp.floating):
        return images.astype(jnp.float32)
    if images.dtype != jnp.uint8:
        raise InputError(
            f"images have dtype {images.dtype}: give uint8 in [0, 255] or floating point in [0, 1]"
        )
    values = images.astype(jnp.float32)
    # XLA replaces division by a constant with multiplication by its rounded inverse, which is off
    # by one unit in the last place for half of the values. No uint8 exceeds 255, so the divisor is
    # always 255, but XLA cannot infer this.
    return values / jnp.maximum(values, 255.0)


def normalize(images: jax.Array | np.ndarray, name: str) -> jax.Array:
    """Applies a named normalisation, `(image - mean) / deviation` per channel.

    Args:
      images: `[..., 3]` RGB, uint8 in [0, 255] or floating point in [0, 1]; for a name that ends
        in "+reinhard" whole images `[..., H, W, 3]`, see `optical_density.match_reference`.
      name: one of `normalization_names()`.

    Returns:
      float32 of the same shape; the range depends on `name` ("none" gives [0, 1]).

    Raises:
      InputError: if the name is unknown, the last axis is not 3, or the dtype is another integer.
    """
    scaling = scaling_of(name)
    if scaling not in NORMALIZATIONS:
        known = ", ".join(sorted(normalization_names()))
        raise InputError(f"normalization {name!r} is unknown: choose one of {known}")
    pixels = unit_range(images)
    if pixels.ndim < 1 or pixels.shape[-1] != 3:
        raise InputError(f"images have shape {pixels.shape}: the last axis must be 3 (RGB)")
    if name != scaling:
        pixels = match_reference(pixels)
    if scaling == "none":
        return pixels
    mean, deviation = (jnp.asarray(values, jnp.float32) for values in NORMALIZATIONS[scaling])
    return (pixels - mean) / deviation


class InputRange(NamedTuple):
    """Normalised values of the darkest and the brightest pixel, float32 [3] each."""

    low: np.ndarray
    high: np.ndarray


def input_range(name: str) -> InputRange:
    """Return the normalised values of a black and of a white pixel of the image that it scales.

    Raises:
      InputError: the name is unknown.
    """
    ends = np.array([[0] * 3, [255] * 3], np.uint8)
    return InputRange(*np.asarray(normalize(ends, scaling_of(name))))
