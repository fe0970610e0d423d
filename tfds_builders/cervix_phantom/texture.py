"""Band-limited noise: chromatin, cytoplasm grain and mucus.

Filtering white noise for every cell would cost more than all other steps together, so one periodic
tile per band is computed once, and each use cuts out a randomly placed, randomly flipped window.
"""

import functools

import numpy as np

_TILE = 1024
_TILE_STREAM = 20210600557  # the tiles are the same for every data set seed


@functools.cache
def _tile(wavelength: float, octaves: float) -> np.ndarray:
    """Return periodic Gaussian noise around one wavelength (pixels); zero mean, unit deviation."""
    rng = np.random.default_rng([_TILE_STREAM, round(100 * wavelength), round(100 * octaves)])
    spectrum = np.fft.rfft2(rng.standard_normal((_TILE, _TILE)))
    frequency = np.hypot(np.fft.fftfreq(_TILE)[:, None], np.fft.rfftfreq(_TILE)[None, :])
    distance = np.log2(np.maximum(frequency * wavelength, 1e-6)) / octaves
    noise = np.fft.irfft2(spectrum * np.exp(-0.5 * distance**2), s=(_TILE, _TILE))
    noise = ((noise - noise.mean()) / noise.std()).astype(np.float32)
    noise.setflags(write=False)
    return noise


def band_noise(
    rng: np.random.Generator, shape: tuple[int, int], wavelength: float, octaves: float = 0.7
) -> np.ndarray:
    """Return a window of band-limited Gaussian noise.

    Args:
      rng: Source of the window and its flips.
      shape: Height and width, at most 1024.
      wavelength: Centre of the band in pixels.
      octaves: Standard deviation of the band, in octaves.

    Returns:
      float32 [height, width]; mean 0 and deviation 1 over the whole tile.
    """
    top = int(rng.integers(_TILE - shape[0] + 1))
    left = int(rng.integers(_TILE - shape[1] + 1))
    flips = rng.integers(2, size=2) * -2 + 1
    window = _tile(float(wavelength), float(octaves))
    return window[top : top + shape[0], left : left + shape[1]][:: flips[0], :: flips[1]]
