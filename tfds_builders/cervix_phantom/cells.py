"""The drawing of one cell: outline, nuclei, halo and the thickness maps of the stains.

Each class has a drawing rule, which follows the diagnostic criteria of SIPaKMeD and the cytology
textbooks. The rules define geometry and relative density only; the slide defines the colours.
"""

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter

from tfds_builders.cervix_phantom.anatomy import ANATOMY, PIXEL_SCALE
from tfds_builders.cervix_phantom.outline import (
    Outline,
    depth,
    depth_in_window,
    ellipse,
    fill,
    polygon,
    ridge,
    soft_step,
)
from tfds_builders.cervix_phantom.texture import band_noise

_PAD = 10  # pixels around the outline, to leave space for the blur


@dataclass
class Cell:
    """A drawn cell on its own square patch; the cell's centre is the patch's centre.

    Attributes:
      cytoplasm: float32 [side, side], relative thickness of the cytoplasm, about 1.
      chromatin: float32 [side, side], relative density of the nuclei, 0 outside them.
      cell_mask: bool [side, side], the outer contour filled, nuclei included.
      nucleus_mask: bool [side, side], inside the cell.
      halo_mask: bool [side, side], the koilocyte's cavity without nuclei; else empty.
    """

    cytoplasm: np.ndarray
    chromatin: np.ndarray
    cell_mask: np.ndarray
    nucleus_mask: np.ndarray
    halo_mask: np.ndarray

    @property
    def half(self) -> int:
        """Number of patch pixels on each side of the centre pixel."""
        return self.cell_mask.shape[0] // 2


def cell_outline(rng: np.random.Generator, class_name: str, area: float) -> Outline:
    """Return the outer contour for the class, with exactly this area (square pixels)."""
    if class_name == "Superficial-Intermediate":
        return polygon(rng, area, sides=int(rng.integers(5, 8)), aspect=rng.uniform(1.0, 1.45))
    if class_name == "Koilocytotic":
        return polygon(
            rng, area, sides=int(rng.integers(5, 8)), aspect=rng.uniform(1.0, 1.5), sharpness=9
        )
    if class_name == "Parabasal":
        return ellipse(rng, area, aspect=rng.uniform(1.0, 1.35), wobble=0.03)
    if class_name == "Metaplastic":
        return ellipse(rng, area, aspect=rng.uniform(1.0, 1.3), wobble=0.045)
    return ellipse(rng, area, aspect=rng.uniform(1.1, 1.7), wobble=0.06)  # Dyskeratotic


def draw_cell(
    rng: np.random.Generator, class_name: str, outline: Outline, nucleus_area: float
) -> Cell:
    """Draw the inside of a cell.

    Args:
      rng: The cell's own stream.
      class_name: One of `SIPAKMED.names`.
      outline: Outer contour.
      nucleus_area: Area of all nuclei together, square pixels.
    """
    half = int(np.ceil(outline.reach)) + _PAD
    shape = (2 * half + 1, 2 * half + 1)
    inside = depth(outline, shape, (half, half))
    rule = _RULES[class_name]
    return rule(rng, outline, inside, nucleus_area)


def blurred(cell: Cell, sigma: float) -> Cell:
    """Return the cell out of focus: Gaussian blur of `sigma` pixels; masks are unchanged."""
    if sigma < 0.2:
        return cell
    return Cell(
        cytoplasm=gaussian_filter(cell.cytoplasm, sigma, mode="constant", truncate=3),
        chromatin=gaussian_filter(cell.chromatin, sigma, mode="constant", truncate=3),
        cell_mask=cell.cell_mask,
        nucleus_mask=cell.nucleus_mask,
        halo_mask=cell.halo_mask,
    )


def defocus(rng: np.random.Generator, class_name: str) -> float:
    """Return the blur of one cell in phantom pixels, before the factor of the `blur` setting."""
    return abs(rng.normal(0, ANATOMY[class_name].focus_spread)) * PIXEL_SCALE + 0.5


def _place(
    rng: np.random.Generator, outline: Outline, low: float, high: float, half: int
) -> tuple[float, float]:
    """Return a point at `low` to `high` of the outline's radius in a random direction."""
    angle = rng.uniform(0, 2 * np.pi)
    distance = float(outline.radius_at(angle)) * rng.uniform(low, high)
    return half + distance * np.sin(angle), half + distance * np.cos(angle)


@dataclass(frozen=True)
class _NuclearHabit:
    """The appearance of a nucleus: density, chromatin contrast and grain (pixels), membrane rim."""

    density: float
    contrast: float
    grain: float
    rim: float
    nucleoli: int = 0


def _nucleus(
    rng: np.random.Generator,
    outline: Outline,
    inside: np.ndarray,
    centre: tuple[float, float],
    habit: _NuclearHabit,
) -> tuple[np.ndarray, np.ndarray]:
    """Return density map and coverage of one nucleus, kept 1.5 pixels inside the cell."""
    nuclear_depth = np.minimum(
        depth_in_window(outline, inside.shape, centre, margin=4), inside - 1.5
    )
    cover = soft_step(nuclear_depth, 1.2)
    radius = np.sqrt(np.mean(outline.radii**2))
    grain = band_noise(rng, inside.shape, habit.grain) + 0.6 * band_noise(
        rng, inside.shape, 2 * habit.grain
    )
    density = habit.density * (1 + habit.contrast * grain)
    density = density + habit.rim * ridge(nuclear_depth, 1.0, 0.8)
    for _ in range(habit.nucleoli):
        spot = ellipse(rng, np.pi * (0.16 * radius) ** 2, 1.1)
        angle, distance = rng.uniform(0, 2 * np.pi), rng.uniform(0.1, 0.5) * radius
        where = (centre[0] + distance * np.sin(angle), centre[1] + distance * np.cos(angle))
        density = density + 0.6 * fill(spot, inside.shape, where)
    return np.maximum(density, 0.25) * cover, cover


def _finish(
    cytoplasm: np.ndarray,
    chromatin: np.ndarray,
    cover: np.ndarray,
    inside: np.ndarray,
    halo: np.ndarray | None = None,
) -> Cell:
    cell_mask = inside > 0
    nucleus_mask = (cover > 0.5) & cell_mask
    halo_mask = np.zeros_like(cell_mask) if halo is None else (halo > 0.5) & cell_mask
    # Every cytoplasm has mean density 1, so that density carries no information about the class.
    solid = cell_mask & ~nucleus_mask & ~halo_mask
    if solid.any():
        cytoplasm = cytoplasm / cytoplasm[solid].mean()
    # Half of the cytoplasm lies above and below a nucleus; the nucleus displaces the rest.
    return Cell(
        cytoplasm=np.maximum(cytoplasm * (1 - 0.5 * cover), 0).astype(np.float32),
        chromatin=chromatin.astype(np.float32),
        cell_mask=cell_mask,
        nucleus_mask=nucleus_mask,
        halo_mask=halo_mask & ~nucleus_mask,
    )


def _superficial(
    rng: np.random.Generator, outline: Outline, inside: np.ndarray, nucleus_area: float
) -> Cell:
    """Large flat polygon, thin, with folds and keratohyaline granules; small nucleus."""
    shape, half = inside.shape, inside.shape[0] // 2
    body = soft_step(inside, 1.2)
    thickness = 0.92 + 0.08 * band_noise(rng, shape, 40) + 0.05 * band_noise(rng, shape, 5)
    thickness = thickness + 0.30 * ridge(inside, 0.6, 0.9)
    rows, columns = np.mgrid[-half : half + 1, -half : half + 1].astype(np.float32)
    for _ in range(rng.integers(1, 4)):
        angle = rng.uniform(0, 2 * np.pi)
        along = columns * np.cos(angle) + rows * np.sin(angle)
        bend = rng.normal(0, 0.002) * np.square(columns * np.sin(angle) - rows * np.cos(angle))
        beyond = along + bend - outline.radius_at(angle) * rng.uniform(0.55, 0.92)
        if rng.random() < 0.6:  # a folded corner: double layer with a crease
            thickness = thickness + 0.55 * soft_step(beyond, 1.5) + 0.3 * ridge(beyond, 0, 1.0)
        else:  # a wrinkle only
            thickness = thickness + rng.uniform(0.25, 0.6) * ridge(beyond, 0, 1.1)
    granules = np.zeros(shape, np.float32)
    for _ in range(rng.poisson(14) if rng.random() < 0.5 else 0):
        dot = ellipse(rng, rng.uniform(1.5, 4.0), 1.2)
        granules += rng.uniform(0.2, 0.6) * fill(dot, shape, _place(rng, outline, 0.15, 0.9, half))
    small = nucleus_area < ANATOMY["Superficial-Intermediate"].nucleus_area[1] * PIXEL_SCALE**2
    habit = (
        _NuclearHabit(1.35, 0.06, 3.0, 0.10)  # pyknotic: superficial
        if small
        else _NuclearHabit(1.05, 0.15, 2.5, 0.30)  # vesicular: intermediate
    )
    nucleus = ellipse(rng, nucleus_area, rng.uniform(1.05, 1.5), wobble=0.04)
    centre = _place(rng, outline, 0.0, 0.2, half)
    chromatin, cover = _nucleus(rng, nucleus, inside, centre, habit)
    return _finish(thickness * body, chromatin + granules * body, cover, inside)


def _parabasal(
    rng: np.random.Generator, outline: Outline, inside: np.ndarray, nucleus_area: float
) -> Cell:
    """Small and round with a large vesicular nucleus in the middle; soft, even cytoplasm."""
    shape, half = inside.shape, inside.shape[0] // 2
    body = soft_step(inside, 3.0)
    thickness = 1.0 + 0.07 * band_noise(rng, shape, 12) + 0.05 * band_noise(rng, shape, 4)
    nucleus = ellipse(rng, nucleus_area, rng.uniform(1.0, 1.35), wobble=0.025)
    centre = _place(rng, outline, 0.0, 0.12, half)
    habit = _NuclearHabit(0.95, 0.12, 3.0, 0.30, nucleoli=int(rng.integers(0, 2)))
    chromatin, cover = _nucleus(rng, nucleus, inside, centre, habit)
    return _finish(thickness * body, chromatin, cover, inside)


def _metaplastic(
    rng: np.random.Generator, outline: Outline, inside: np.ndarray, nucleus_area: float
) -> Cell:
    """Round with a distinct dense border, paler centre, vacuoles; the nucleus is off centre."""
    shape, half = inside.shape, inside.shape[0] // 2
    radius = np.sqrt(np.mean(outline.radii**2))
    body = soft_step(inside, 1.0)
    thickness = 0.78 + 0.10 * band_noise(rng, shape, 14) + 0.09 * band_noise(rng, shape, 4)
    thickness = thickness + 0.85 * ridge(inside, 0.05 * radius, 0.06 * radius)
    thickness = thickness + 0.45 * ridge(inside, 0.16 * radius, 0.13 * radius)
    nucleus = ellipse(rng, nucleus_area, rng.uniform(1.0, 1.3), wobble=0.025)
    room = 1 - nucleus.reach / outline.radii.min()
    centre = _place(rng, outline, 0.45 * max(room, 0), 0.80 * max(room, 0), half)
    for _ in range(rng.integers(1, 5)):
        vacuole = ellipse(rng, np.pi * (rng.uniform(0.06, 0.22) * radius) ** 2, 1.3, wobble=0.06)
        edge = depth_in_window(vacuole, shape, _place(rng, outline, 0.05, 0.6, half), margin=4)
        thickness = thickness - 0.35 * soft_step(edge, 2.0) + 0.15 * ridge(edge, -1.0, 0.8)
    habit = _NuclearHabit(1.0, 0.13, 2.8, 0.25, nucleoli=int(rng.integers(0, 2)))
    chromatin, cover = _nucleus(rng, nucleus, inside, centre, habit)
    return _finish(np.maximum(thickness, 0.15) * body, chromatin, cover, inside)


def _koilocytotic(
    rng: np.random.Generator, outline: Outline, inside: np.ndarray, nucleus_area: float
) -> Cell:
    """A sharp-edged cavity with a condensed rim around one or two dark, irregular nuclei."""
    shape, half = inside.shape, inside.shape[0] // 2
    count = 2 if rng.random() < 0.35 else 1
    aspect = rng.uniform(1.05, 1.5)
    nuclei = [ellipse(rng, nucleus_area / count, aspect, wobble=0.06) for _ in range(count)]
    radius = np.sqrt(nucleus_area / count / np.pi)
    middle = _place(rng, outline, 0.0, 0.15, half)
    apart = rng.uniform(0, np.pi)
    shift = 1.08 * radius * (count - 1)
    centres = [
        (middle[0] + sign * shift * np.sin(apart), middle[1] + sign * shift * np.cos(apart))
        for sign in (1, -1)[:count]
    ]
    # The nucleus lies off the centre of its cavity; the cavity never breaks through the border.
    cell_area = np.pi * float(np.mean(outline.radii**2))
    cavity_area = min(
        nucleus_area * rng.uniform(2.2, 3.2) * (1.0 if count == 1 else 1.25), 0.48 * cell_area
    )
    cavity = ellipse(rng, cavity_area, rng.uniform(1.0, 1.35), wobble=0.05)
    where = (middle[0] + rng.normal(0, 0.2) * radius, middle[1] + rng.normal(0, 0.2) * radius)
    rim_width = np.clip(0.16 * np.sqrt(np.mean(outline.radii**2)), 1.8, 5.0)
    edge = np.minimum(depth(cavity, shape, where), inside - 1.4 * rim_width)
    halo = soft_step(edge, 0.9)
    body = soft_step(inside, 1.2)
    thickness = 1.0 + 0.12 * band_noise(rng, shape, 10) + 0.09 * band_noise(rng, shape, 4)
    thickness = thickness + 0.5 * ridge(edge, -0.45 * rim_width, 0.4 * rim_width)
    thickness = thickness + 0.25 * ridge(inside, 1.0, 1.0)
    thickness = thickness * (1 - rng.uniform(0.55, 0.85) * halo)
    chromatin, cover = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    habit = _NuclearHabit(1.15, 0.16, 3.5, 0.2)
    for nucleus, centre in zip(nuclei, centres, strict=True):
        density, one_cover = _nucleus(rng, nucleus, inside, centre, habit)
        chromatin, cover = np.maximum(chromatin, density), np.maximum(cover, one_cover)
    return _finish(np.maximum(thickness, 0.03) * body, chromatin, cover, inside, halo)


def _dyskeratotic(
    rng: np.random.Generator, outline: Outline, inside: np.ndarray, nucleus_area: float
) -> Cell:
    """Small, dense and thick in the middle, with a dark pyknotic nucleus."""
    shape, half = inside.shape, inside.shape[0] // 2
    radius = np.sqrt(np.mean(outline.radii**2))
    body = soft_step(inside, 1.8)
    dome = np.clip(inside / radius, 0, 1)  # a dome, not a flat tile: thicker towards the centre
    thickness = 0.72 + 0.55 * np.sqrt(dome) + 0.10 * band_noise(rng, shape, 8)
    nucleus = ellipse(rng, nucleus_area, rng.uniform(1.05, 1.6), wobble=0.05)
    centre = _place(rng, outline, 0.0, 0.22, half)
    habit = _NuclearHabit(1.22, 0.10, 3.5, 0.05)
    chromatin, cover = _nucleus(rng, nucleus, inside, centre, habit)
    return _finish(thickness * body, chromatin, cover, inside)


_RULES = {
    "Superficial-Intermediate": _superficial,
    "Parabasal": _parabasal,
    "Metaplastic": _metaplastic,
    "Koilocytotic": _koilocytotic,
    "Dyskeratotic": _dyskeratotic,
}
