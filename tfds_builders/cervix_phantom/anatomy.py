"""Measured properties of the five SIPaKMeD classes: sizes, colours and drawing parameters.

Areas are those of expert contours in SIPaKMeD (about 55 consecutive cells per class, hence only
a few slides); colours are medians over all 4049 crops. They define the centre of the phantom's
distributions; they are not evidence about a population.
"""

import math
from dataclasses import dataclass

import numpy as np

PIXEL_SCALE = 0.4
"""Phantom pixels per SIPaKMeD pixel."""

MICRONS_PER_PIXEL = 0.35
"""Of a phantom pixel: what is inferred for SIPaKMeD (0.14 micrometres a pixel) over the scale."""

FIELD_SHAPE = (288, 384)
"""Height and width of a field in phantom pixels (a 720 x 960 piece of a 1536 x 2048 field)."""

CROP_MARGIN = 0.08
"""Margin of a single-cell crop as a share of its cell's bounding box; one for all classes."""

_DECILES = 2 * 1.2815515655446004  # distance from the 10th to the 90th percentile of N(0, 1)
_TAIL = 2.0  # areas are clipped at two standard deviations, which excludes implausible cells
_MAX_NUCLEUS_SHARE = (
    0.42  # of the cell area; expert contours reach about .35 at the 90th percentile
)


@dataclass(frozen=True)
class ClassAnatomy:
    """Measured properties of one class, at SIPaKMeD's native scale.

    Attributes:
      nucleus_area: 10th, 50th and 90th percentile in native square pixels.
      cell_area: The same percentiles for the whole cell, nucleus included.
      log_area_correlation: Pearson correlation of the two log areas.
      nucleus_rgb: Median colour of nuclei, 0 to 255.
      cytoplasm_rgb: Median colour of the cytoplasm.
      background_rgb: Median colour between the cells.
      focus_spread: Standard deviation of the defocus blur, native pixels.
      crowding: Decrease of the relative distance between cells of a cluster set by `overlap`.
      layers: Mean number of cell layers that contribute to the measured cytoplasm colour.
      hue_spread: Spread of the slides of the class between pink and blue-green.
    """

    nucleus_area: tuple[float, float, float]
    cell_area: tuple[float, float, float]
    log_area_correlation: float
    nucleus_rgb: tuple[int, int, int]
    cytoplasm_rgb: tuple[int, int, int]
    background_rgb: tuple[int, int, int]
    focus_spread: float
    crowding: float
    layers: float
    hue_spread: float


ANATOMY = {
    "Dyskeratotic": ClassAnatomy(
        nucleus_area=(629, 862, 1556),
        cell_area=(2853, 4480, 7283),
        log_area_correlation=0.51,
        nucleus_rgb=(66, 41, 50),
        cytoplasm_rgb=(134, 72, 71),
        background_rgb=(167, 146, 147),
        focus_spread=2.2,
        crowding=0.12,
        layers=1.3,
        hue_spread=0.2,
    ),
    "Koilocytotic": ClassAnatomy(
        nucleus_area=(1174, 2022, 3085),
        cell_area=(4458, 10254, 19806),
        log_area_correlation=0.73,
        nucleus_rgb=(73, 63, 91),
        cytoplasm_rgb=(136, 131, 149),
        background_rgb=(205, 212, 230),
        focus_spread=1.6,
        crowding=0.0,
        layers=1.1,
        hue_spread=0.35,
    ),
    "Metaplastic": ClassAnatomy(
        nucleus_area=(1627, 2317, 2928),
        cell_area=(10654, 21830, 37130),
        log_area_correlation=0.08,
        nucleus_rgb=(43, 66, 94),
        cytoplasm_rgb=(62, 109, 130),
        background_rgb=(163, 188, 202),
        focus_spread=2.0,
        crowding=-0.05,
        layers=1.15,
        hue_spread=0.15,
    ),
    "Parabasal": ClassAnatomy(
        nucleus_area=(1527, 2502, 3710),
        cell_area=(5644, 9864, 20376),
        log_area_correlation=0.86,
        nucleus_rgb=(84, 91, 151),
        cytoplasm_rgb=(122, 137, 178),
        background_rgb=(176, 179, 202),
        focus_spread=2.8,
        crowding=-0.1,
        layers=1.1,
        hue_spread=0.3,
    ),
    "Superficial-Intermediate": ClassAnatomy(
        nucleus_area=(849, 1443, 2465),
        cell_area=(58644, 83032, 108083),
        log_area_correlation=-0.08,
        nucleus_rgb=(102, 88, 131),
        cytoplasm_rgb=(161, 155, 185),
        background_rgb=(206, 200, 234),
        focus_spread=1.0,
        crowding=-0.1,
        layers=1.3,
        hue_spread=0.6,
    ),
}


def folder(class_name: str) -> str:
    """Return SIPaKMeD's folder of a class, such as `im_Parabasal`."""
    return f"im_{class_name}"


def sample_areas(rng: np.random.Generator, class_name: str, count: int) -> np.ndarray:
    """Draw nucleus and cell areas from the class's bivariate log-normal distribution.

    Medians and the log-area correlation are those of the table; the standard deviation of a log
    area is ln(p90 / p10) / 2.563. Deviates are clipped at two standard deviations and a nucleus at
    42 % of its cell.

    Returns:
      float64 [count, 2]: nucleus area and cell area in phantom square pixels.
    """
    anatomy = ANATOMY[class_name]
    correlation = anatomy.log_area_correlation
    normal = rng.standard_normal((count, 2))
    normal[:, 1] = correlation * normal[:, 0] + math.sqrt(1 - correlation**2) * normal[:, 1]
    percentiles = np.array([anatomy.nucleus_area, anatomy.cell_area])
    sigma = np.log(percentiles[:, 2] / percentiles[:, 0]) / _DECILES
    areas = percentiles[:, 1] * np.exp(np.clip(normal, -_TAIL, _TAIL) * sigma) * PIXEL_SCALE**2
    areas[:, 0] = np.minimum(areas[:, 0], _MAX_NUCLEUS_SHARE * areas[:, 1])
    return areas


def optical_density(rgb: tuple[int, int, int], background: tuple[int, int, int]) -> np.ndarray:
    """Return a colour's optical density on a background (natural log, per channel, float64 [3])."""
    return -np.log(np.asarray(rgb, float) / np.asarray(background, float))
