"""Conversion of images in memory to the square inputs of a run's model."""

from collections.abc import Mapping
from typing import Any

import jax
import ml_collections
import numpy as np

from cervix_jax.data.decode import needs_scale, picture_shape, resize_square
from cervix_jax.data.resolution import network_scale
from cervix_jax.errors import InputError
from cervix_jax.runs.arguments import Images, check_image


def image_scale(
    config: ml_collections.ConfigDict, recorded: Mapping[str, Any], mpp: float | None
) -> float | None:
    """Return pixels of the square of fixed resolution per pixel of an image.

    None unless `data.resize` is "scale" or contains it.

    Args:
      config: the run's config.
      recorded: the checkpoint's description of its data set.
      mpp: resolution of the image in micrometres per pixel; None or 0 uses that of the data set.

    Raises:
      InputError: the resolution is unknown or not plausible.
    """
    if not needs_scale(config.data.resize):
        return None
    microns = mpp or recorded.get("microns_per_pixel")
    if not microns:
        raise InputError(
            f"the run brings images to one resolution (data.resize={config.data.resize}), and the "
            "pixel size of these images is unknown; give mpp, e.g. --mpp=0.25."
        )
    return network_scale(config.data, microns, "the images")


def make_squares(
    images: Images,
    config: ml_collections.ConfigDict,
    recorded: Mapping[str, Any],
    mpp: float | None = None,
    first: int = 0,
) -> np.ndarray:
    """Return the model's input squares, uint8 [N, S, S, 3]; two side by side are [N, S, 2 S, 3].

    An array of that shape without `mpp` is taken as finished squares, such as those of
    `ExperimentData.pipeline`; otherwise "scale" would resample them twice.

    Args:
      images: N images, uint8 [H, W, 3].
      config: see `image_scale`.
      recorded: see `image_scale`.
      mpp: see `image_scale`.
      first: number of the first image, for errors.

    Raises:
      InputError: an image is not uint8 RGB, or its resolution is required and unknown.
    """
    for number, image in enumerate(images, first):
        check_image(number, image)
    size, resize = config.image_size, config.data.resize
    shape = (*picture_shape(size, resize), 3)
    made = isinstance(images, np.ndarray | jax.Array) and images.shape[1:] == shape
    if needs_scale(resize) and made and not mpp:
        return np.asarray(images)
    scale = image_scale(config, recorded, mpp) if len(images) else None
    squares = [resize_square(np.asarray(image), size, resize, scale) for image in images]
    return np.stack(squares) if squares else np.zeros((0, *shape), np.uint8)
