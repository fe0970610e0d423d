"""Fields and slides whose nuclei are known: dark discs on glass, drawn at any resolution."""

import numpy as np
from PIL import Image

MICRONS = 0.5  # a pixel
RADIUS = 3.5  # micrometres
APART = 16.0


def glass(width: int, height: int) -> np.ndarray:
    """uint8 [height, width, 3] with less than one grey value of noise."""
    noise = np.random.default_rng(0).integers(0, 3, (height, width, 3), np.uint8)
    return np.asarray((229, 224, 234), np.uint8) + noise


def scattered(width: int, height: int, number: int, seed: int = 0, given=()) -> np.ndarray:
    """Centres float [n, 2] in micrometres, as far apart as nuclei are, after those given."""
    random, found = np.random.default_rng(seed), [np.asarray(each, float) for each in given]
    size = np.asarray([width, height]) * MICRONS
    for _ in range(50 * number):
        place = random.uniform(6, size - 6)
        if len(found) < number and all(np.hypot(*(place - other)) > APART for other in found):
            found.append(place)
    return np.asarray(found)


def draw(centres: np.ndarray, width: int, height: int, mpp: float = MICRONS) -> np.ndarray:
    """uint8 [height, width, 3] with a nucleus of a colour of its own at every centre."""
    density = np.zeros((height, width, 3), np.float32)
    reach = int(2 * RADIUS / mpp) + 2
    for number, (x, y) in enumerate(centres / mpp):
        left, top = max(0, int(x) - reach), max(0, int(y) - reach)
        rows, columns = np.mgrid[top : int(y) + reach, left : int(x) + reach]
        distance = np.hypot(columns + 0.5 - x, rows + 0.5 - y) * mpp
        disc = 1 / (1 + np.exp((distance - RADIUS) / 0.4))
        part = density[top : int(y) + reach, left : int(x) + reach]
        colour = 0.75, 0.3 + 0.1 * (number % 5), 0.2 + 0.1 * (number % 3)
        part += (disc[..., None] * colour)[: part.shape[0], : part.shape[1]]
    return (glass(width, height) * 10**-density).astype(np.uint8)


def pale(width: int, height: int) -> np.ndarray:
    """uint8 [height, width, 3]: cytoplasm without a nucleus."""
    ramp = np.hypot(*np.ogrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j])[..., None]
    return (glass(width, height) * 10 ** -(0.15 * (ramp < 0.7))).astype(np.uint8)


def save(path, pixels: np.ndarray, **options):
    Image.fromarray(pixels).save(path, **options)
    return path
