"""Positions of nuclei in fields: a table of image, x and y, or CRIC's own classifications."""

import collections
import contextlib
import re
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePath

import numpy as np

from cervix_jax.data.cric_nuclei import read_nuclei
from cervix_jax.errors import InputError
from cervix_jax.files import tables
from cervix_jax.files.images import SUFFIXES, UnreadableImage, image_size, orientation
from cervix_jax.files.paths import nfc
from cervix_jax.predict.geojson import stored_size
from cervix_jax.predict.picture_names import shown

_COLUMNS = ("image", "x", "y")
# Columns of measurements exported from QuPath, for images without and with a pixel size.
_QUPATH = ("Centroid X px", "Centroid Y px")
_CALIBRATED = re.compile(r"centroid [xy] (?!px)(\S+)", re.IGNORECASE)
_CRIC = "image_filename"


class Positions:
    """Positions of nuclei by image.

    Images in the file are named without folders. A different suffix counts as the same image, since
    copies often change it.

    Args:
      path: a table with `image, x, y` and any other columns, one of QuPath (`Image`,
        `Centroid X px`, `Centroid Y px`), or classifications.csv or .json as published by CRIC.
        Coordinates are pixels from the upper left corner of the image as stored in its file, not
        rotated by its EXIF orientation: the frame of QuPath and of the written GeoJSON.
      width: stored width of the images on which positions were marked, if they were resized since;
        0 means unchanged.

    Raises:
      InputError: the file or one of its rows cannot be used.
    """

    def __init__(self, path: str | Path, width: int = 0):
        self._path, self._width = Path(path), width
        if width < 0:
            raise InputError(f"--positions_width={width}: give a number of pixels, or 0.")
        self._nuclei: dict[str, list[tuple[float, float, str]]] = {}
        for image, x, y, where in _read(self._path):
            self._nuclei.setdefault(_key(image), []).append((x, y, where))
        if not self._nuclei:
            raise InputError(f"{path}: holds no positions; give {', '.join(_COLUMNS)} of each.")

    def of(self, image: str, size: tuple[int, int]) -> np.ndarray:
        """Positions in an image.

        Args:
          image: its path.
          size: its width and height in pixels, as stored.

        Returns:
          float64 [n, 2], x and y, in the order of the file; n may be 0.

        Raises:
          InputError: a position lies outside the image.
        """
        scale = size[0] / self._width if self._width else 1.0
        nuclei = self._nuclei.get(_key(image), [])
        for x, y, where in nuclei:
            if x * scale >= size[0] or y * scale >= size[1]:
                raise InputError(
                    f"{where}: ({x:g}, {y:g}) lies outside of {shown(image)}, "
                    f"{size[0]} x {size[1]} px; correct it, or give --positions_width, the width "
                    "of the images on which positions were marked."
                )
        return np.asarray([(x * scale, y * scale) for x, y, _ in nuclei], float).reshape(-1, 2)

    def check(self, images: Iterable[str], max_pixels: int) -> list[str]:
        """Check that positions and images match, before any work.

        Args:
          images: paths of the fields.
          max_pixels: see `files.images.read_image`; unreadable images are ignored.

        Returns:
          Images of the file that are not among the given ones.

        Raises:
          InputError: no image has positions, two share them, or a position lies outside.
        """
        names: dict[str, list[str]] = collections.defaultdict(list)
        for image in images:
            if _key(image) not in self._nuclei:
                continue
            names[_key(image)].append(image)
            with contextlib.suppress(UnreadableImage):
                turned = orientation(image, max_pixels=max_pixels)
                upright = image_size(image, max_pixels=max_pixels)
                self.of(image, stored_size(upright, turned))
        if not names:
            raise InputError(
                f"{self._path}: has positions for none of the images; check the image names."
            )
        for key, paths in names.items():
            if len(paths) > 1:
                raise InputError(
                    f"{self._path}: the positions of {key} may belong to {shown(paths[0])} or "
                    f"{shown(paths[1])}; give only one of the two images."
                )
        return [key for key in self._nuclei if key not in names]


def _key(image: str) -> str:
    # Names may contain dots: only the suffix of an image is removed.
    path = PurePath(nfc(image))
    return path.stem if path.suffix.lower() in SUFFIXES else path.name


def _read(path: Path) -> Iterator[tuple[str, float, float, str]]:
    is_json = path.suffix.lower() == ".json"
    if is_json or _CRIC in tables.Table(path, (_CRIC,)).columns:
        for nucleus in read_nuclei(path):
            yield nucleus.image, nucleus.x, nucleus.y, nucleus.where
        return
    table = tables.Table(path, (*_COLUMNS, *_QUPATH))
    columns = _QUPATH if set(_QUPATH) <= set(table.columns) else _COLUMNS[1:]
    if {"x", "y"} <= set(table.columns):
        columns = _COLUMNS[1:]
    units = [match[1] for name in table.columns if (match := _CALIBRATED.fullmatch(name))]
    if units and not set(columns) <= set(table.columns):
        raise InputError(
            f"{path}: positions in {units[0]}, not in pixels; divide them by the pixel size "
            f"(QuPath shows it under Image) and name the columns {', '.join(_COLUMNS)}."
        )
    table.require("image", *columns)
    for row in table:
        if not row["image"]:
            raise InputError(f"{row.where}: image is empty; enter the file name.")
        x, y = (row.number(name, least=0) for name in columns)
        yield row["image"], x, y, row.where
