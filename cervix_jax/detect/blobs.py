"""Nuclei as dark blobs: the Laplacian of a Gaussian on the optical density, without learning.

This is the classical detector (Lindeberg, International Journal of Computer Vision 1998) and the
baseline for trained ones.
"""

import numpy as np
from scipy import ndimage
from skimage.feature import peak_local_max

from cervix_jax.detect.peaks import Found

# Micrometres. A blob of radius r responds most at sigma = r / sqrt(2): nuclei of 6 to 12 across.
_SIGMAS = (2.0, 2.75, 4.0)
_APART = 3.0
# Reach of the filters: SciPy's end at four sigmas, plus one pixel for comparing with neighbours.
REACH = 4 * max(_SIGMAS) + _APART


def find_blobs(image: np.ndarray, microns_per_pixel: float, least: float = 0.0) -> Found:
    """Find nuclei by their darkness in red light, which haematoxylin absorbs.

    Args:
      image: uint8 [H, W, 3].
      microns_per_pixel: pixel size of the image.
      least: minimum score of a blob.

    Returns:
      The nuclei; a score is the greatest filter response over the scales, times their variance,
      from 0 to 1.
    """
    density = -np.log10((image[..., 0].astype(np.float32) + 1) / 256)
    answers = [
        -ndimage.gaussian_laplace(density, sigma) * np.float32(sigma * sigma)
        for sigma in (sigma / microns_per_pixel for sigma in _SIGMAS)
    ]
    best = np.clip(np.max(answers, axis=0), 0, 1)
    apart = max(1, round(_APART / microns_per_pixel))
    peaks = peak_local_max(
        best, min_distance=apart, threshold_abs=max(least, 1e-3), exclude_border=False
    )
    scores = best[peaks[:, 0], peaks[:, 1]].astype(np.float64)
    order = np.argsort(-scores, kind="stable")
    return Found(peaks[order][:, ::-1] + 0.5, scores[order])
