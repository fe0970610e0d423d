"""Changes of an image that each remove one cue from the classifier's input.

Every change takes a uint8 RGB image of any size and returns one of the same size and type.
"""

import dataclasses
from collections.abc import Iterable

import numpy as np
from skimage.color import lab2rgb, rgb2gray, rgb2lab

FRAME_SHARE = 0.1  # width of the frame as a share of the shorter side
GRID = 4
# A channel with a deviation below this (in units of CIELAB) has no contrast to match.
MIN_DEVIATION = 1e-3


@dataclasses.dataclass(frozen=True)
class StainStatistics:
    """Mean colour and contrast of a stain in CIELAB, as used by Reinhard's method.

    Attributes:
      mean: float64 [3], mean of L, a and b.
      deviation: float64 [3], standard deviation of L, a and b.
    """

    mean: np.ndarray
    deviation: np.ndarray


def stain_statistics(images: Iterable[np.ndarray]) -> StainStatistics:
    """The mean over images of each image's CIELAB mean and standard deviation.

    Args:
      images: uint8 [H, W, 3] each; at least one.
    """
    labs = (rgb2lab(image).reshape(-1, 3) for image in images)
    found = np.asarray([(lab.mean(axis=0), lab.std(axis=0)) for lab in labs])
    mean, deviation = found.mean(axis=0)
    return StainStatistics(mean, deviation)


def to_grey(image: np.ndarray) -> np.ndarray:
    """Replace all three channels by the luminance (ITU-R BT.709)."""
    grey = np.rint(rgb2gray(image) * 255).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=-1)


def normalise_stain(image: np.ndarray, target: StainStatistics) -> np.ndarray:
    """Set the image's mean and deviation in CIELAB to those of `target` (Reinhard et al. 2001).

    This removes differences of colour and contrast between slides and stains; differences within
    the image stay. A channel without contrast only gets the mean.
    """
    lab = rgb2lab(image)
    mean, deviation = lab.mean(axis=(0, 1)), lab.std(axis=(0, 1))
    scale = np.where(deviation > MIN_DEVIATION, target.deviation / np.maximum(deviation, 1e-9), 0)
    matched = (lab - mean) * scale + target.mean
    # Colours outside the RGB cube are clipped to it. Far outside, some have negative light (Z in
    # CIE XYZ, where b exceeds 200 f(Y)), which has no RGB value.
    lightness = np.clip(matched[..., 0], 0, 100)
    yellowness = np.minimum(matched[..., 2], 200 * (lightness + 16) / 116 - 1e-6)
    possible = np.stack([lightness, matched[..., 1], yellowness], axis=-1)
    return np.rint(np.clip(lab2rgb(possible), 0, 1) * 255).astype(np.uint8)


def keep_border(image: np.ndarray) -> np.ndarray:
    """Fill all but a frame, a tenth of the shorter side wide, with the frame's median colour."""
    width = max(1, round(FRAME_SHARE * min(image.shape[:2])))
    inner = np.zeros(image.shape[:2], bool)
    inner[width:-width, width:-width] = True
    filled = image.copy()
    filled[inner] = np.median(image[~inner], axis=0).astype(np.uint8)
    return filled


def shuffle_patches(image: np.ndarray, seed: int) -> np.ndarray:
    """Cut the image into 4 x 4 patches and arrange them in random order.

    Colour and texture stay; the cell's outline is destroyed. Up to three rows and columns that do
    not fill a patch stay in place.

    Args:
      image: uint8 [H, W, 3].
      seed: seed of the order.
    """
    height, width = (side // GRID for side in image.shape[:2])
    whole = image[: height * GRID, : width * GRID]
    patches = whole.reshape(GRID, height, GRID, width, 3).swapaxes(1, 2)
    patches = patches.reshape(GRID * GRID, height, width, 3)
    order = np.random.default_rng(seed).permutation(GRID * GRID)
    shuffled = patches[order].reshape(GRID, GRID, height, width, 3).swapaxes(1, 2)
    result = image.copy()
    result[: height * GRID, : width * GRID] = shuffled.reshape(whole.shape)
    return result
