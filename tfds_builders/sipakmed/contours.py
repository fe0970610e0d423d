"""Reads the experts' contours (.dat) and fills them to masks."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from skimage.draw import polygon2mask

from cervix_jax.errors import InputError
from cervix_jax.files.paths import require_file

# A contour has a few dozen points. A file of this size is something else, and filling it would take
# time proportional to the product of points and pixels.
MAX_BYTES = 1_000_000
MAX_POINTS = 5_000
# Contours may exceed the image slightly where the crop cuts the cell. If they exceed it by more
# than this share of the longer side, they belong to another image.
MAX_OVERHANG = 0.25
_SEPARATORS = re.compile(r"[,;\s]+")


def read_contour(path: Path, shape: tuple[int, int]) -> np.ndarray:
    """Read the points of a contour file: one "x,y" or "x y" per line, in pixels, origin top left.

    Args:
      path: the .dat file.
      shape: (height, width) of the image that the contour is drawn on.

    Returns:
      float64 [N, 2] with N >= 3, columns x and y; the polygon is not closed.

    Raises:
      InputError: the file is not a contour of such an image; the message names the file and the
        line.
    """
    require_file(path)
    try:
        with path.open("rb") as stream:
            raw = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}).") from error
    if len(raw) > MAX_BYTES:
        raise InputError(f"{path}: larger than {MAX_BYTES} bytes, so not a contour; remove it.")
    points = []
    margin = MAX_OVERHANG * max(shape) + 2
    limits = np.asarray([shape[1], shape[0]]) + margin
    lines = raw.decode("utf-8-sig", errors="replace").splitlines()
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            point = np.asarray([float(part) for part in _SEPARATORS.split(line.strip())])
        except ValueError:
            point = np.zeros(0)
        if point.shape != (2,) or not np.isfinite(point).all():
            raise InputError(
                f'{path}, line {number}: expected two numbers "x,y", found {line[:40]!r}; '
                "repair the file, or remove all .dat files to use the images without masks."
            )
        if (point < -margin).any() or (point > limits).any():
            raise InputError(
                f"{path}, line {number}: the point {line.strip()[:40]} is far outside of the image "
                f"of {shape[1]} x {shape[0]} px; is it the contour of another image?"
            )
        points.append(point)
    if len(points) > MAX_POINTS:
        raise InputError(
            f"{path}: {len(points)} points are more than the {MAX_POINTS:,} that a contour may "
            "have; repair the file, or remove all .dat files to use the images without masks."
        )
    if len(points) < 3:
        raise InputError(
            f"{path}, line {len(lines)}: the file ends after {len(points)} points, a contour has "
            "at least 3; repair the file, or remove all .dat files to use the images without masks."
        )
    return np.stack(points)


def cell_masks(
    cells: Sequence[Mapping[str, Path]], shape: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray, int]:
    """Fill the contours of all cells of an image.

    The outer contour ("cyt") includes the nucleus; the cytoplasm is the cell without its nucleus.
    A nucleus is clipped to its cell.

    Args:
      cells: {"cyt": path, "nuc": path} per cell.
      shape: (height, width) of the image.

    Returns:
      nucleus bool [height, width], cytoplasm bool [height, width], number of nucleus pixels that
      lay outside of their cells.

    Raises:
      InputError: a contour file cannot be used.
    """
    nuclei, bodies = np.zeros(shape, bool), np.zeros(shape, bool)
    clipped = 0
    for paths in cells:
        body = _fill(paths["cyt"], shape)
        nucleus = _fill(paths["nuc"], shape)
        clipped += int((nucleus & ~body).sum())
        nuclei |= nucleus & body
        bodies |= body
    return nuclei, bodies & ~nuclei, clipped


def _fill(path: Path, shape: tuple[int, int]) -> np.ndarray:
    return polygon2mask(shape, read_contour(path, shape)[:, ::-1])
