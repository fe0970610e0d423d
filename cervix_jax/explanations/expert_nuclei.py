"""Nuclei that experts marked in a field, numbered, and the cells to explain in it."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from skimage import measure

from cervix_jax.data.catalog import Dataset
from cervix_jax.detect.detector import Detector
from cervix_jax.errors import InputError
from cervix_jax.files import images
from cervix_jax.slides import Slide, as_slide


@dataclasses.dataclass(frozen=True)
class MarkedField:
    """A field with the nuclei that experts marked.

    Attributes:
      slide: the field.
      labels: int32 [H, W], number of the nucleus that each pixel belongs to, from 1; 0 for none.
      centres: float64 [n, 2], x and y of the nuclei in the order of their numbers.
    """

    slide: Slide
    labels: np.ndarray
    centres: np.ndarray


def kind_of_truth(dataset: Dataset, nucleus_radius: float) -> str:
    """Representation of the marked nuclei of a data set, in words.

    Raises:
      InputError: the data set has no marked nuclei.
    """
    if "nucleus_mask" in dataset.features:
        return "the mask of each nucleus"
    if "nucleus_positions" in dataset.features:
        return f"a disc with a radius of {nucleus_radius:g} pixels around each marked position"
    raise InputError(
        f"--fields={dataset.name} has no marked nuclei; give cervix_phantom/multi_cell, "
        "sipakmed/multi_cell or cric/field."
    )


def read_field(
    dataset: Dataset, index: int, *, mpp: float | None = None, nucleus_radius: float = 12.0
) -> MarkedField | None:
    """A field of a data set.

    Each connected region of a mask counts as one nucleus, so touching nuclei count as one. If discs
    overlap, a pixel belongs to the nearer position.

    Args:
      dataset: data set with masks or positions of nuclei, see `kind_of_truth`.
      index: position of the field in the data set.
      mpp: scale in micrometres a pixel; None takes the data set's.
      nucleus_radius: radius of the disc around a position, in pixels.

    Returns:
      The field; None if it has no marked nuclei.
    """
    example: Mapping[str, Any] = dataset.source[index]
    name = dataset.filenames[index]
    image = images.rgb(images.decode(example["image"], name))
    shape = image.height, image.width
    if "nucleus_mask" in dataset.features:
        if not example.get("has_masks", True):
            return None
        mask = np.asarray(images.decode(example["nucleus_mask"], f"the nuclei of {name}")) > 0
        labels = measure.label(mask, connectivity=1)
        middles = [region.centroid for region in measure.regionprops(labels)]
        # Centroids are in units of pixel centres; pixel i covers i to i + 1.
        centres = np.asarray(middles, np.float64).reshape(-1, 2)[:, ::-1] + 0.5
    else:
        centres = np.asarray(example["nucleus_positions"], np.float64).reshape(-1, 2)
        labels = discs(centres, shape, nucleus_radius)
    if not len(centres):
        return None
    slide = as_slide(image, Path(name), mpp or dataset.microns_per_pixel)
    return MarkedField(slide, np.asarray(labels, np.int32), centres)


def discs(centres: np.ndarray, shape: tuple[int, int], radius: float) -> np.ndarray:
    """Numbered discs, int32 [H, W]; 0 outside all discs.

    Args:
      centres: float [n, 2], x and y; pixel i covers i to i + 1.
      shape: H and W.
      radius: in pixels.
    """
    labels, nearest = np.zeros(shape, np.int32), np.full(shape, np.inf)
    for number, (x, y) in enumerate(centres, 1):
        rows, columns = (
            slice(max(0, int(middle - radius - 1)), min(length, max(0, int(middle + radius + 2))))
            for middle, length in ((y, shape[0]), (x, shape[1]))
        )
        down, across = np.ogrid[rows, columns]
        away = np.hypot(across + 0.5 - x, down + 0.5 - y)
        wins = (away <= radius) & (away < nearest[rows, columns])
        nearest[rows, columns][wins] = away[wins]
        labels[rows, columns][wins] = number
    return labels


def detected(slide: Slide, detector: Detector) -> np.ndarray:
    """Centres of the nuclei that a detector finds in a field, float64 [n, 2] in its pixels.

    Args:
      slide: a field that fits into memory.
      detector: see `detect.detector.load_detector`.

    Raises:
      InputError: the scale of the field is unknown.
    """
    zoom = slide.require_mpp() / detector.microns_per_pixel
    width, height = slide.size
    small = max(1, round(width * zoom)), max(1, round(height * zoom))
    found = detector(slide.read((0, 0, width, height), small))
    return found.positions * (width / small[0], height / small[1])


def nucleus_under(labels: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """The number of the nucleus at each position, int64 [n]; 0 for none."""
    height, width = labels.shape
    x = np.clip(np.floor(positions[:, 0]).astype(int), 0, width - 1)
    y = np.clip(np.floor(positions[:, 1]).astype(int), 0, height - 1)
    return labels[y, x].astype(np.int64)
