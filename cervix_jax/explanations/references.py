"""Maps that know nothing of the network, which an explanation should beat.

Of cells that were cut out of a smear the nucleus is dark, has an edge and lies in the middle: a map
that says no more than that may lie on nuclei better than an explanation does.
"""

import zlib

import numpy as np
from skimage.filters import sobel

from cervix_jax.data.normalization import InputRange

CENTRE_WIDTH = 0.2  # standard deviation of `centre`, as a share of the side


def random(images: np.ndarray, seed: int) -> np.ndarray:
    """Uniform noise, seeded by the pixels: a function of the image, as explanations are.

    Args:
      images: float32 [N, S, S, 3].
      seed: of the noise.

    Returns:
      float32 [N, S, S] in [0, 1).
    """
    seeds = [[seed, zlib.crc32(np.ascontiguousarray(image).tobytes())] for image in images]
    shape = images.shape[1:3]
    return np.stack([np.random.default_rng(s).random(shape, np.float32) for s in seeds])


def edges(images: np.ndarray, input_range: InputRange) -> np.ndarray:
    """Sobel magnitude of the grey image, float32 [N, S, S], never negative."""
    return np.stack([sobel(image) for image in _grey(images, input_range)]).astype(np.float32)


def darkness(images: np.ndarray, input_range: InputRange) -> np.ndarray:
    """1 for black pixels to 0 for white ones, float32 [N, S, S]."""
    return (1 - _grey(images, input_range)).astype(np.float32)


def centre(images: np.ndarray) -> np.ndarray:
    """A Gaussian about the middle, the same for every image, float32 [N, S, S]."""
    place = (np.arange(images.shape[1]) + 0.5) / images.shape[1] - 0.5
    squared = place[:, None] ** 2 + place**2
    return np.broadcast_to(
        np.exp(-squared / (2 * CENTRE_WIDTH**2)).astype(np.float32), images.shape[:3]
    )


def _grey(images: np.ndarray, input_range: InputRange) -> np.ndarray:
    """From 0, black, to 1, white, [N, S, S]."""
    low, high = input_range
    return ((images - low) / (high - low)).mean(-1)
