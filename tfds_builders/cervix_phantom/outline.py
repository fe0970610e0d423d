"""Closed outlines as radius over angle, and their filling with an antialiased edge."""

from dataclasses import dataclass

import numpy as np

_SAMPLES = 256
_ANGLES = np.arange(_SAMPLES) * (2 * np.pi / _SAMPLES)
_CLOSED_ANGLES = np.append(_ANGLES, 2 * np.pi)


@dataclass(frozen=True)
class Outline:
    """A star-shaped outline.

    Attributes:
      radii: float64 [256], radius in pixels at equally spaced angles from the x axis.
    """

    radii: np.ndarray

    @property
    def reach(self) -> float:
        """The maximum radius in pixels."""
        return float(self.radii.max())

    def radius_at(self, angle: np.ndarray | float) -> np.ndarray:
        """Return the radius in pixels at angles in radians (any real number), same shape."""
        closed = np.append(self.radii, self.radii[0])
        return np.interp(np.mod(angle, 2 * np.pi), _CLOSED_ANGLES, closed)

    def scaled(self, factor: float) -> "Outline":
        """Return the outline with all radii multiplied by `factor`."""
        return Outline(self.radii * factor)


def _with_area(radii: np.ndarray, area: float) -> Outline:
    # Exact for the polygon of the 256 points up to 1e-4: area = 1/2 integral of radius squared.
    return Outline(radii * np.sqrt(area / (np.pi * np.mean(radii**2))))


def ellipse(rng: np.random.Generator, area: float, aspect: float, wobble: float = 0.0) -> Outline:
    """Return a randomly rotated ellipse with roughness from low-order Fourier terms.

    Args:
      rng: Source of the direction and the roughness.
      area: Area in square pixels, exact.
      aspect: Ratio of the long to the short axis, at least 1.
      wobble: Root mean square size of the Fourier terms of order 2 to 6, relative to the radius.
    """
    turned = _ANGLES - rng.uniform(0, 2 * np.pi)
    radii = 1 / np.sqrt((np.cos(turned) ** 2) / aspect + (np.sin(turned) ** 2) * aspect)
    order = np.arange(2, 7)
    amplitude = rng.standard_normal((2, order.size)) * wobble * 2 / order
    phase = order[:, None] * _ANGLES
    radii = radii * np.exp(amplitude[0] @ np.cos(phase) + amplitude[1] @ np.sin(phase))
    return _with_area(radii, area)


def polygon(
    rng: np.random.Generator, area: float, sides: int, aspect: float, sharpness: float = 32.0
) -> Outline:
    """Return a convex polygon with rounded corners and slightly uneven sides.

    It is a smooth minimum over half-planes, so it is star-shaped for every draw.

    Args:
      rng: Source of the sides.
      area: Area in square pixels, exact.
      sides: Number of half-planes, at least 4.
      aspect: Ratio of the long to the short axis, at least 1.
      sharpness: Exponent of the smooth minimum; larger values give sharper corners.
    """
    normals = (np.arange(sides) + rng.uniform(-0.3, 0.3, sides)) * (2 * np.pi / sides)
    distance = rng.uniform(0.8, 1.15, sides)
    facing = np.maximum(np.cos(_ANGLES[:, None] - normals), 1e-3) / distance
    radii = np.sum(facing**sharpness, axis=1) ** (-1 / sharpness)
    turn = rng.uniform(0, 2 * np.pi)
    stretch = np.sqrt(np.cos(_ANGLES - turn) ** 2 / aspect + np.sin(_ANGLES - turn) ** 2 * aspect)
    order = np.arange(3, 9)
    amplitude = rng.standard_normal((2, order.size)) * 0.010
    phase = order[:, None] * _ANGLES
    radii = radii / stretch * np.exp(amplitude[0] @ np.cos(phase) + amplitude[1] @ np.sin(phase))
    return _with_area(radii, area)


def depth(outline: Outline, shape: tuple[int, int], centre: tuple[float, float]) -> np.ndarray:
    """Return the depth of each pixel inside the outline, along the ray from the centre.

    Args:
      outline: The outline.
      shape: Height and width of the patch.
      centre: Row and column of the outline's centre, in pixels.

    Returns:
      float32 [height, width] in pixels: positive inside, negative outside.
    """
    rows = np.arange(shape[0], dtype=np.float64)[:, None] - centre[0]
    columns = np.arange(shape[1], dtype=np.float64)[None, :] - centre[1]
    return (outline.radius_at(np.arctan2(rows, columns)) - np.hypot(rows, columns)).astype(
        np.float32
    )


def fill(
    outline: Outline, shape: tuple[int, int], centre: tuple[float, float], softness: float = 1.0
) -> np.ndarray:
    """Return each pixel's coverage, 0 to 1, with an edge `softness` pixels wide (float32 patch).

    Only the window around the outline is computed, so small shapes in large patches are cheap.
    """
    return soft_step(depth_in_window(outline, shape, centre, softness), softness)


def depth_in_window(
    outline: Outline, shape: tuple[int, int], centre: tuple[float, float], margin: float
) -> np.ndarray:
    """As `depth`, but pixels farther than `margin` outside the bounding square are -1e6."""
    reach = outline.reach + margin + 1
    top, left = (max(int(np.floor(c - reach)), 0) for c in centre)
    bottom = min(int(np.ceil(centre[0] + reach)) + 1, shape[0])
    right = min(int(np.ceil(centre[1] + reach)) + 1, shape[1])
    values = np.full(shape, -1e6, np.float32)
    if bottom > top and right > left:
        window = (bottom - top, right - left)
        values[top:bottom, left:right] = depth(outline, window, (centre[0] - top, centre[1] - left))
    return values


def soft_step(depth_map: np.ndarray, softness: float) -> np.ndarray:
    """Return 0 outside and 1 inside, linear over `softness` pixels around the edge."""
    return np.clip(depth_map / max(softness, 1e-3) + 0.5, 0, 1)


def ridge(depth_map: np.ndarray, at: float, width: float) -> np.ndarray:
    """Return a Gaussian ridge of deviation `width` along the line `at` pixels inside."""
    return np.exp(-0.5 * np.square((depth_map - at) / width))
