"""Papanicolaou stains as optical densities, and the staining of a slide.

Light through the smear obeys Beer-Lambert: I = I0 exp(-sum of dye concentration x dye density), so
dyes add in optical density and overlapping cells multiply in light. A slide has its own dye
colours, background and uptake; `confounding` controls the palette on which the uptake is centred.
"""

import functools
import math
from dataclasses import dataclass

import numpy as np
from scipy.optimize import nnls

from cervix_jax.data.classes import SIPAKMED
from tfds_builders.cervix_phantom.anatomy import ANATOMY, optical_density
from tfds_builders.cervix_phantom.settings import PhantomSettings

HAEMATOXYLIN, EOSIN, ORANGE_G, LIGHT_GREEN = range(4)

DYES = np.array(
    [
        [0.72, 0.66, 0.27],  # haematoxylin, blue-violet
        [0.08, 0.78, 0.42],  # eosin Y, pink to red
        [0.04, 0.36, 0.88],  # orange G
        [0.88, 0.34, 0.22],  # light green SF, blue-green
    ]
)
"""Optical density per unit concentration in red, green and blue (rows: dyes)."""

# Streams of the seed; fields use the stream of their class (see field.py).
_SLIDE_STREAM, _PALETTE_STREAM, _LIGHT_STREAM, _UPTAKE_STREAM = 101, 102, 103, 104

_NUCLEUS_FLOOR = 0.45  # nuclei stay darker than their cytoplasm, for any palette


@dataclass(frozen=True)
class Palette:
    """Typical dye uptake of a class, fitted to its measured colours.

    Attributes:
      nucleus: float64 [4], dye concentrations of a nucleus, added to half of its cytoplasm's.
      cytoplasm: float64 [4], dye concentrations of the cytoplasm.
      background: float64 [3], transmitted light between cells, 0 to 1.
      hue_spread: Standard deviation of the tilt between pink and blue-green.
    """

    nucleus: np.ndarray
    cytoplasm: np.ndarray
    background: np.ndarray
    hue_spread: float


@functools.cache
def palette(class_name: str) -> Palette:
    """Return the class's measured colours as non-negative dye concentrations."""
    anatomy = ANATOMY[class_name]
    cytoplasm = optical_density(anatomy.cytoplasm_rgb, anatomy.background_rgb)
    nucleus = optical_density(anatomy.nucleus_rgb, anatomy.background_rgb)
    return Palette(
        nucleus=nnls(DYES.T, nucleus - 0.5 * cytoplasm)[0],
        cytoplasm=nnls(DYES.T, cytoplasm / anatomy.layers)[0],
        background=np.asarray(anatomy.background_rgb) / 255,
        hue_spread=anatomy.hue_spread,
    )


@dataclass(frozen=True)
class Slide:
    """Staining and illumination of one slide.

    Attributes:
      slide_id: For example `slide_0012`; clusters with the same id share all fields below.
      dyes: float64 [4, 3], optical density of each dye in red, green and blue.
      nucleus: float64 [4], as in `Palette`.
      cytoplasm: float64 [4], as in `Palette`.
      background: float64 [3], 0 to 1, as in `Palette`.
      eosinophilia: Share of cells that take eosin instead of light green.
      number: The number in `slide_id`.
    """

    slide_id: str
    dyes: np.ndarray
    nucleus: np.ndarray
    cytoplasm: np.ndarray
    background: np.ndarray
    eosinophilia: float
    number: int


def slide_position(cluster: int, settings: PhantomSettings) -> int:
    """Return the position of the cluster's slide (from 0) among the slides of its class."""
    return (cluster - 1) // settings.clusters_per_slide


def prepared_apart(position: int, settings: PhantomSettings) -> bool:
    """Whether the slides at this position belong to one class each (see `confounding`)."""
    # Spread evenly; the rounding keeps products such as 3 x 0.1 from falling below a whole number.
    share = settings.confounding
    return math.floor(round((position + 1) * share, 9)) > math.floor(round(position * share, 9))


def slide_for(class_index: int, cluster: int, settings: PhantomSettings) -> Slide:
    """Return the slide of a cluster: shared at equal positions, unless prepared apart."""
    position = slide_position(cluster, settings)
    apart = prepared_apart(position, settings)
    number = position * (len(SIPAKMED.names) + 1) + (1 + class_index if apart else 0)
    if apart:
        source = SIPAKMED.names[class_index]
    else:  # shared slides use every palette equally often, in an order that depends on the seed
        block, place = divmod(position, len(SIPAKMED.names))
        order = np.random.default_rng([settings.seed, _PALETTE_STREAM, block])
        source = SIPAKMED.names[order.permutation(len(SIPAKMED.names))[place]]
    return _stain(number, palette(source), settings)


def _stain(number: int, centre: Palette, settings: PhantomSettings) -> Slide:
    rng = np.random.default_rng([settings.seed, _SLIDE_STREAM, number])
    spread = settings.stain_variation
    dyes = DYES * np.exp(0.10 * spread * rng.standard_normal(DYES.shape))
    strength = np.exp(0.16 * spread * rng.standard_normal())
    uptake = np.exp(0.34 * spread * rng.standard_normal(4)) * strength
    stray = 0.10 * spread * np.abs(rng.standard_normal(4))
    stray[HAEMATOXYLIN] *= 0.5
    cytoplasm = _tilted(
        centre.cytoplasm * uptake + stray, centre.hue_spread * spread * rng.standard_normal()
    )
    nucleus = centre.nucleus * np.exp(0.15 * spread * rng.standard_normal(4)) * strength
    nucleus[HAEMATOXYLIN] = max(nucleus[HAEMATOXYLIN], _NUCLEUS_FLOOR)
    light = np.exp(0.12 * spread * rng.standard_normal() + 0.05 * spread * rng.standard_normal(3))
    return Slide(
        slide_id=f"slide_{number:04d}",
        dyes=dyes,
        nucleus=nucleus,
        cytoplasm=cytoplasm,
        background=np.clip(centre.background * light, 0.3, 0.98),
        eosinophilia=centre.hue_spread * float(rng.beta(1, 3)) * min(spread, 1.0),
        number=number,
    )


def _tilted(concentration: np.ndarray, tilt: float) -> np.ndarray:
    """Replace part of all dyes by the acid dyes (tilt above 0) or light green (below 0).

    The median colour of a class averages pink and blue-green cells to a grey that few cells have.
    """
    share = min(abs(tilt), 0.85)
    tilted = (1 - share) * concentration
    if tilt > 0:
        tilted[[EOSIN, ORANGE_G]] += share * concentration.sum() * np.array([0.75, 0.25])
    else:
        tilted[LIGHT_GREEN] += share * concentration.sum()
    return tilted


def cell_streams(
    slide: Slide, cluster: int, count: int, settings: PhantomSettings
) -> list[np.random.Generator]:
    """Return the streams of the cells' uptake and focus, one per cell of a field.

    Like `field_light` they depend on the slide and the cluster number, but not on the class.
    """
    root = np.random.default_rng([settings.seed, _UPTAKE_STREAM, slide.number, cluster])
    return root.spawn(count)


def cell_uptake(
    rng: np.random.Generator, slide: Slide, spread: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return nucleus and cytoplasm dye concentrations (float64 [4] each) of a cell of a slide."""
    noise = np.exp(0.18 * spread * rng.standard_normal((2, 4)))
    thickness = np.exp(0.30 * spread * rng.standard_normal())
    cytoplasm = _tilted(
        slide.cytoplasm * noise[0] * thickness, 0.22 * spread * rng.standard_normal()
    )
    if rng.random() < slide.eosinophilia:
        cytoplasm[EOSIN] += cytoplasm[LIGHT_GREEN]
        cytoplasm[LIGHT_GREEN] = 0
    chromasia = np.exp(0.25 * spread * rng.standard_normal())
    return slide.nucleus * noise[1] * chromasia, cytoplasm


def field_light(
    slide: Slide, cluster: int, shape: tuple[int, int], settings: PhantomSettings
) -> tuple[np.ndarray, np.ndarray]:
    """Return the dye uptake and the illumination of one field of a slide.

    They depend on the slide and the cluster number, but not on the class: on a shared slide the
    fields of the five classes come in matched sets of five, so that the exact shade of a field
    carries no information about the class either.

    Args:
      slide: The slide.
      cluster: The field's cluster number.
      shape: Height and width of the field.
      settings: The phantom's settings.

    Returns:
      float32 [4], dye uptake relative to the slide, and float32 [height, width, 3], light.
    """
    rng = np.random.default_rng([settings.seed, _LIGHT_STREAM, slide.number, cluster])
    spread = settings.stain_variation
    uptake = np.exp(0.08 * spread * rng.standard_normal(4)).astype(np.float32)
    exposure = np.exp(0.05 * spread * rng.standard_normal())
    rows = np.linspace(-1, 1, shape[0], dtype=np.float32)[:, None]
    columns = np.linspace(-1, 1, shape[1], dtype=np.float32)[None, :]
    slope = rng.normal(0, 0.04, 2)
    lamp = 1 + slope[0] * rows + slope[1] * columns
    lamp = lamp - rng.uniform(0, 0.06) * (rows**2 + columns**2)
    return uptake, (lamp[..., None] * (slide.background * exposure)).astype(np.float32)


def transmit(concentration: np.ndarray, dyes: np.ndarray, light: np.ndarray) -> np.ndarray:
    """Apply Beer-Lambert: returns the transmitted light.

    Args:
      concentration: float32 [4, height, width], dye concentrations.
      dyes: [4, 3] optical density per unit concentration.
      light: float32 [height, width, 3], incident light.

    Returns:
      float32 [height, width, 3].
    """
    image = np.empty((*concentration.shape[1:], 3), np.float32)
    for channel in range(3):
        density = sum(np.float32(dyes[dye, channel]) * concentration[dye] for dye in range(4))
        image[..., channel] = light[..., channel] * np.exp(-density)
    return image
