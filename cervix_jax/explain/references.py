"""Maps that know nothing of the network, which an explanation should beat.

Of cells that were cut out of a smear the nucleus is dark, has an edge and lies in the middle: a map
that says no more than that may lie on nuclei better than an explanation does. They are called as
the methods are.
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
    """Uniform noise, seeded by the pixels: a function of the image, as explanations are.

    Args:
      fn: not used.
      images: floating point [N, S, S, 3].
      targets: not used.
      seed: of the noise.
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
    """Sobel magnitude of the grey image, float32 [N, S, S], never negative.

    Args:
      fn: not used.
      images: floating point [N, S, S, 3].
      targets: not used.
      input_range: what black and white are, such as `run.input_range`.
      **common: not used.

    Raises:
      InputError: no range.
    """
    del fn, targets, common
    shades = _grey(images, input_range)
    return np.reshape([sobel(image) for image in shades], shades.shape).astype(np.float32)


def darkness(
    fn: Any, images: Images, targets: Any, *, input_range: InputRange | None = None, **common: Any
) -> np.ndarray:
    """1 for black pixels to 0 for white ones, float32 [N, S, S]; arguments as for `edges`."""
    del fn, targets, common
    return (1 - _grey(images, input_range)).astype(np.float32)


def centre(fn: Any, images: Images, targets: Any, **common: Any) -> np.ndarray:
    """A Gaussian about the middle, the same for every image, float32 [N, S, S]."""
    del fn, targets, common
    rows, columns = (
        ((np.arange(side) + 0.5) / side - 0.5) ** 2 / (2 * CENTRE_WIDTH**2)
        for side in images.shape[1:3]
    )
    bell = np.exp(-(rows[:, None] + columns)).astype(np.float32)
    return np.broadcast_to(bell, images.shape[:3])


def _grey(images: Images, input_range: InputRange | None) -> np.ndarray:
    """From 0, black, to 1, white, [N, S, S]."""
    if input_range is None:
        raise InputError("give input_range=, such as run.input_range, to know black from white.")
    low, high = input_range
    return ((np.asarray(images, np.float32) - low) / (high - low)).mean(-1)
