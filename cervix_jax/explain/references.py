"""Control maps that ignore the network; an explanation should score better than they do.

In crops of single cells the nucleus is dark, has an edge and lies in the centre. A map of darkness,
edges or the centre may therefore cover nuclei better than an explanation does. Control maps have
the same signature as the methods.
"""

import zlib
from typing import Any

import jax
import numpy as np
from skimage.filters import sobel

from cervix_jax.data.normalization import InputRange
from cervix_jax.errors import InputError

CENTRE_WIDTH = 0.2  # standard deviation of `centre`, as a share of the side

Images = np.ndarray | jax.Array


def random(fn: Any, images: Images, targets: Any, *, seed: int = 0, **common: Any) -> np.ndarray:
    """Uniform noise, seeded by the pixels, so that the map is a function of the image.

    Args:
      fn: not used.
      images: floating point [N, S, S, 3].
      targets: not used.
      seed: random seed of the noise.
      **common: not used.

    Returns:
      float32 [N, S, S] in [0, 1).
    """
    del fn, targets, common
    pixels = np.asarray(images, np.float32)
    seeds = [[seed, zlib.crc32(np.ascontiguousarray(image).tobytes())] for image in pixels]
    shape = pixels.shape[1:3]
    if not len(pixels):
        return np.zeros((0, *shape), np.float32)
    return np.stack([np.random.default_rng(s).random(shape, np.float32) for s in seeds])


def edges(
    fn: Any, images: Images, targets: Any, *, input_range: InputRange | None = None, **common: Any
) -> np.ndarray:
    """Sobel magnitude of the grey image, float32 [N, S, S], non-negative.

    Args:
      fn: not used.
      images: floating point [N, S, S, 3].
      targets: not used.
      input_range: values of black and white, such as `run.input_range`.
      **common: not used.

    Raises:
      InputError: `input_range` is missing.
    """
    del fn, targets, common
    shades = _grey(images, input_range)
    return np.reshape([sobel(image) for image in shades], shades.shape).astype(np.float32)


def darkness(
    fn: Any, images: Images, targets: Any, *, input_range: InputRange | None = None, **common: Any
) -> np.ndarray:
    """Darkness from 1 (black) to 0 (white), float32 [N, S, S]; arguments as for `edges`."""
    del fn, targets, common
    return (1 - _grey(images, input_range)).astype(np.float32)


def centre(fn: Any, images: Images, targets: Any, **common: Any) -> np.ndarray:
    """A Gaussian around the centre, the same for every image, float32 [N, S, S]."""
    del fn, targets, common
    rows, columns = (
        ((np.arange(side) + 0.5) / side - 0.5) ** 2 / (2 * CENTRE_WIDTH**2)
        for side in images.shape[1:3]
    )
    bell = np.exp(-(rows[:, None] + columns)).astype(np.float32)
    return np.broadcast_to(bell, images.shape[:3])


def _grey(images: Images, input_range: InputRange | None) -> np.ndarray:
    """Grey values from 0 (black) to 1 (white), [N, S, S]."""
    if input_range is None:
        raise InputError("input_range= is missing; give the range of the input, run.input_range.")
    low, high = input_range
    return ((np.asarray(images, np.float32) - low) / (high - low)).mean(-1)
