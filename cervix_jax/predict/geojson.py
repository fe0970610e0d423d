"""Windows and nuclei as GeoJSON that QuPath opens (File, Import objects from file).

Coordinates are pixels of the field as its file stores them, with y downwards. QuPath reads a JPEG
by Bio-Formats or javax.imageio, and neither turns it by its EXIF orientation, as the rest of this
package does (Bio-Formats' `JPEGReader` calls `ImageIO.read`; of that see
github.com/haraldk/TwelveMonkeys/issues/1075). So what was found in the upright field is turned back
here (`as_stored`), and positions that are given are turned upright (`as_upright`).
"""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from cervix_jax.evaluate.predictions_file import PREFIX
from cervix_jax.files import atomic

# Matplotlib's "tab10", which tells ten classes apart.
COLOURS = (
    (31, 119, 180), (255, 127, 14), (44, 160, 44), (214, 39, 40), (148, 103, 189),
    (140, 86, 75), (227, 119, 194), (127, 127, 127), (188, 189, 34), (23, 190, 207),
)  # fmt: skip


def as_stored(points: np.ndarray, size: tuple[int, int], orientation: int) -> np.ndarray:
    """Points of an upright image in the frame of its stored pixels.

    Args:
      points: [n, 2], x and y from the upper left corner (not the centre) of the first pixel.
      size: width and height of the upright image.
      orientation: of its file, 1 to 8 as in EXIF.

    Returns:
      [n, 2], of the same type.
    """
    x, y = points[:, 0], points[:, 1]
    right, down = size[0] - x, size[1] - y
    columns = {
        1: (x, y), 2: (right, y), 3: (right, down), 4: (x, down),
        5: (y, x), 6: (y, right), 7: (down, right), 8: (down, x),
    }[orientation]  # fmt: skip
    return np.stack(columns, axis=1)


def as_upright(points: np.ndarray, size: tuple[int, int], orientation: int) -> np.ndarray:
    """The inverse of `as_stored`; `size` is that of the upright image too."""
    inverse = {6: 8, 8: 6}.get(orientation, orientation)
    return as_stored(points, stored_size(size, orientation), inverse)


def stored_size(size: tuple[int, int], orientation: int) -> tuple[int, int]:
    """Width and height in the file of an image whose upright ones are given."""
    return (size[1], size[0]) if orientation >= 5 else size


def squares_as_stored(
    corners: np.ndarray, side: int, size: tuple[int, int], orientation: int
) -> np.ndarray:
    """Upper left corners int [n, 2] of squares in the frame of the stored pixels."""
    opposite = [as_stored(each, size, orientation) for each in (corners, corners + side)]
    return np.minimum(*opposite)


def squares(corners: np.ndarray, side: int) -> list[dict]:
    """Polygons of squares.

    Args:
      corners: int [n, 2], x and y of their upper left pixels.
      side: in pixels.
    """
    return [
        {
            "type": "Polygon",
            "coordinates": [[[x, y], [x + side, y], [x + side, y + side], [x, y + side], [x, y]]],
        }
        for x, y in corners.tolist()
    ]


def points(positions: np.ndarray) -> list[dict]:
    """Points at float [n, 2], x and y."""
    return [{"type": "Point", "coordinates": [x, y]} for x, y in positions.tolist()]


def write_geojson(
    path: Path,
    geometries: Sequence[dict],
    probabilities: np.ndarray,
    class_names: Sequence[str],
    kind: str,
) -> None:
    """Write a FeatureCollection of detections with their most probable class.

    Args:
      path: the file.
      geometries: n of them.
      probabilities: float [n, C]; they become measurements.
      class_names: C names.
      kind: what each is called, e.g. "window".
    """
    features = [
        {
            "type": "Feature",
            "geometry": geometry,
            "properties": {
                "objectType": "detection",
                "name": f"{kind} {number}",
                "classification": {
                    "name": class_names[best := int(p.argmax())],
                    "color": list(COLOURS[best % len(COLOURS)]),
                },
                "measurements": {
                    f"{PREFIX}{name}": float(f"{value:.6g}")
                    for name, value in zip(class_names, p, strict=True)
                },
            },
        }
        for number, (geometry, p) in enumerate(zip(geometries, probabilities, strict=True), 1)
    ]
    text = json.dumps({"type": "FeatureCollection", "features": features}, ensure_ascii=False)
    atomic.write_text(path, text + "\n")
