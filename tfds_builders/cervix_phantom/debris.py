"""Debris on a smear: leukocytes, red blood cells, mucus and specks."""

import numpy as np

from tfds_builders.cervix_phantom.anatomy import PIXEL_SCALE
from tfds_builders.cervix_phantom.outline import ellipse, fill
from tfds_builders.cervix_phantom.stains import EOSIN, HAEMATOXYLIN, LIGHT_GREEN, ORANGE_G
from tfds_builders.cervix_phantom.texture import band_noise

# Expected numbers per field at `debris` 1, the same for every class.
_LEUKOCYTES, _RED_CELLS, _SPECKS = 1.5, 1.0, 6.0
_MUCUS_CHANCE = 0.35


def add_debris(
    rng: np.random.Generator, concentration: np.ndarray, nuclear_dyes: np.ndarray, amount: float
) -> None:
    """Add debris to a field in place.

    Args:
      rng: The field's debris stream.
      concentration: float32 [4, height, width], dye concentrations.
      nuclear_dyes: float64 [4], dye uptake of the slide's nuclei, also used for leukocyte nuclei.
      amount: The `debris` setting, a factor on the expected numbers.
    """
    shape = concentration.shape[1:]
    if rng.random() < _MUCUS_CHANCE * amount:
        _mucus(rng, concentration)
    for _ in range(rng.poisson(_LEUKOCYTES * amount)):
        _leukocyte(rng, concentration, nuclear_dyes, _anywhere(rng, shape))
    for _ in range(rng.poisson(_RED_CELLS * amount)):
        _red_cell(rng, concentration, _anywhere(rng, shape))
    for _ in range(rng.poisson(_SPECKS * amount)):
        speck = ellipse(rng, rng.uniform(1.5, 9.0), rng.uniform(1, 3), wobble=0.1)
        density = rng.uniform(0.2, 0.8)
        concentration[HAEMATOXYLIN] += density * fill(speck, shape, _anywhere(rng, shape), 1.5)


def _anywhere(rng: np.random.Generator, shape: tuple[int, ...]) -> tuple[float, float]:
    return rng.uniform(0, shape[0]), rng.uniform(0, shape[1])


def _leukocyte(
    rng: np.random.Generator,
    concentration: np.ndarray,
    nuclear_dyes: np.ndarray,
    centre: tuple[float, float],
) -> None:
    """A neutrophil: two to four dark lobes in a faint body of 8 to 11 micrometres."""
    shape = concentration.shape[1:]
    radius = rng.uniform(28, 38) * PIXEL_SCALE
    soft = rng.uniform(1.2, 3.0)
    body = ellipse(rng, np.pi * radius**2, rng.uniform(1, 1.2), wobble=0.05)
    concentration[LIGHT_GREEN] += 0.10 * fill(body, shape, centre, soft)
    lobes = np.zeros(shape, np.float32)
    start, step = rng.uniform(0, 2 * np.pi), rng.uniform(1.0, 1.7)
    for lobe in range(rng.integers(2, 5)):
        angle, distance = start + lobe * step, 0.42 * radius
        where = (centre[0] + distance * np.sin(angle), centre[1] + distance * np.cos(angle))
        size = np.pi * (rng.uniform(0.34, 0.46) * radius) ** 2
        lobes = np.maximum(lobes, fill(ellipse(rng, size, 1.3), shape, where, soft))
    lobes *= rng.uniform(0.8, 1.1)
    for dye, share in enumerate(nuclear_dyes):
        concentration[dye] += np.float32(share) * lobes


def _red_cell(
    rng: np.random.Generator, concentration: np.ndarray, centre: tuple[float, float]
) -> None:
    """An erythrocyte: a disc of 7 micrometres, paler in the centre, orange to pink."""
    shape = concentration.shape[1:]
    radius = rng.uniform(22, 27) * PIXEL_SCALE
    disc = ellipse(rng, np.pi * radius**2, rng.uniform(1, 1.25), wobble=0.03)
    thickness = fill(disc, shape, centre, 1.5) - 0.5 * fill(disc.scaled(0.45), shape, centre, 5.0)
    concentration[ORANGE_G] += rng.uniform(0.15, 0.35) * thickness
    concentration[EOSIN] += rng.uniform(0.15, 0.35) * thickness


def _mucus(rng: np.random.Generator, concentration: np.ndarray) -> None:
    """Add faint strands and a veil: ridged and smooth low-frequency noise."""
    shape = concentration.shape[1:]
    strands = np.exp(-np.square(band_noise(rng, shape, 90) / 0.25))
    veil = np.clip(band_noise(rng, shape, 150), 0, 2)
    film = rng.uniform(0.02, 0.07) * strands * veil + rng.uniform(0.02, 0.10) * veil
    dye = LIGHT_GREEN if rng.random() < 0.6 else EOSIN
    concentration[dye] += film.astype(np.float32)
    concentration[HAEMATOXYLIN] += 0.3 * film.astype(np.float32)
