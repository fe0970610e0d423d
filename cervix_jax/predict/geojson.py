"""Windows, nuclei and cells as GeoJSON that QuPath opens (File, Import objects from file).

The format is what QuPath 0.4 and later write themselves (QuPath's `QuPathTypeAdapters`,
`ROITypeAdapters` and `GsonTools.PathClassTypeAdapter`): a Feature of `objectType` "detection" with
a UUID, a classification with its colour, and measurements as an object of numbers. `isLocked` is
omitted, as QuPath writes it for locked objects only. QuPath splits a class name at ": " into a
class and a derived class, and still shows the full name.

A cell is drawn as a circle of a nominal radius, since QuPath's detections are small areas: QuPath
colours them by class, outlines, fills and measures them. The circle is stored as a polygon that any
reader can use, and `isEllipse` makes QuPath treat it as the ellipse of its bounding box. The radius
is not a measurement.

Coordinates are pixels of the field as stored in its file, with y downwards. QuPath reads a JPEG
with Bio-Formats or javax.imageio. Neither applies its EXIF orientation, but the rest of this
package does (Bio-Formats' `JPEGReader` calls `ImageIO.read`; see
github.com/haraldk/TwelveMonkeys/issues/1075). Therefore results in the upright field are rotated
back here (`as_stored`), and given positions are rotated upright (`as_upright`).
"""

import colorsys
import json
import math
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from cervix_jax.evaluate.predictions_file import PREFIX
from cervix_jax.files import atomic

# Matplotlib's "tab10", ten distinguishable colours.
COLOURS = (
    (31, 119, 180), (255, 127, 14), (44, 160, 44), (214, 39, 40), (148, 103, 189),
    (140, 86, 75), (227, 119, 194), (127, 127, 127), (188, 189, 34), (23, 190, 207),
)  # fmt: skip
# The nucleus of an intermediate squamous cell, the size reference of the Bethesda system, has about
# 35 um^2, a radius of 3.3 um (Nayar and Wilbur 2015); the circle must not cover its edge.
NUCLEUS_MICRONS = 4.0
_CORNERS = 16  # a polygon with this number of corners lies within 2 % of its circle
_DECIMALS = 2  # of coordinates, as in QuPath's own files


def as_stored(points: np.ndarray, size: tuple[int, int], orientation: int) -> np.ndarray:
    """Map points of an upright image to the frame of its stored pixels.

    Args:
      points: [n, 2], x and y from the upper left corner (not the centre) of the first pixel.
      size: width and height of the upright image.
      orientation: orientation of its file, 1 to 8 as in EXIF.

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
    """Width and height of an image as stored, from those of the upright image."""
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


def circles(positions: np.ndarray, radius: float) -> Iterator[dict]:
    """Circles about positions float [n, 2], x and y, one at a time; coordinates as QuPath's."""
    angles = np.arange(_CORNERS + 1) % _CORNERS * (2 * np.pi / _CORNERS)  # first corner repeated
    ring = radius * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    for position in positions:
        corners = ((position + ring).round(_DECIMALS) + 0.0).tolist()  # no -0.0
        yield {"type": "Polygon", "coordinates": [corners], "isEllipse": True}


def colour_of(number: int) -> tuple[int, ...]:
    """Red, green and blue, 0 to 255, of a class by its number from 0; all colours differ."""
    if number < len(COLOURS):
        return COLOURS[number]
    # Steps of the golden ratio spread hues evenly for any number of classes.
    hue = number * (math.sqrt(5) - 1) / 2 % 1
    return tuple(round(255 * part) for part in colorsys.hsv_to_rgb(hue, 0.65, 0.85))


def nucleus_radius(mpp: float) -> float:
    """Nominal radius of a nucleus in pixels of `mpp` micrometres."""
    return NUCLEUS_MICRONS / mpp


def write_geojson(
    path: Path,
    geometries: Iterable[dict],
    probabilities: np.ndarray,
    class_names: Sequence[str],
    kind: str,
    *,
    source: str,
    measurements: Mapping[str, Sequence[float] | np.ndarray] | None = None,
) -> None:
    """Write a FeatureCollection of detections with their most probable class.

    Features are written one by one, so the file may be larger than memory. The file appears as a
    whole or not at all.

    Args:
      path: the file.
      geometries: n geometries.
      probabilities: float [n, C]; written as measurements.
      class_names: C names.
      kind: name of each object, e.g. "window"; a number from 1 is added.
      source: the field or slide as named in the table. Object identifiers are derived from it and
        the number, so writing again gives the same ones.
      measurements: further measurements, n numbers by name. Values that are not finite are omitted.

    Raises:
      InputError: the file cannot be written.
    """
    columns = {f"{PREFIX}{name}": probabilities[:, k] for k, name in enumerate(class_names)}
    columns |= {name: np.asarray(values) for name, values in (measurements or {}).items()}
    classes = [{"name": name, "color": list(colour_of(k))} for k, name in enumerate(class_names)]
    best = probabilities.argmax(1)
    with atomic.replacing(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        file.write('{"type": "FeatureCollection", "features": [')
        for row, geometry in zip(range(len(best)), geometries, strict=True):
            name = f"{kind} {row + 1}"
            feature = {
                "type": "Feature",
                "id": str(uuid.uuid5(uuid.NAMESPACE_URL, f"{source}#{name}")),
                "geometry": geometry,
                "properties": {
                    "objectType": "detection",
                    "name": name,
                    "classification": classes[best[row]],
                    "measurements": {
                        column: float(f"{values[row]:.6g}")
                        for column, values in columns.items()
                        if math.isfinite(values[row])
                    },
                },
            }
            text = json.dumps(feature, ensure_ascii=False, separators=(",", ":"))
            file.write((",\n" if row else "\n") + text)
        file.write("\n]}\n")
