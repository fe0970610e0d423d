"""Masks of annotated regions at the network's input size, from experts or from the phantom."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from cervix_jax.data.catalog import Dataset
from cervix_jax.data.decode import Frame, check_mode, frames, picture_shape, resize_labels
from cervix_jax.errors import InputError
from cervix_jax.files import images

NOWHERE = -1
REGIONS = ("background", "cytoplasm", "nucleus")
# Additional masks of some data sets, such as the phantom.
MORE_REGIONS = {"halo_mask": "halo", "instance_mask": "other_cells"}


@dataclasses.dataclass(frozen=True)
class Regions:
    """The region of each pixel of each image.

    Attributes:
      names: K names. "background" is every pixel outside all other regions.
      index: int8 [N, S, S], or [N, S, 2 S] for two squares, positions in `names`; -1 at every pixel
        of an image without annotation, so that all of its masks are empty and its measures NaN.
    """

    names: tuple[str, ...]
    index: np.ndarray

    @property
    def masks(self) -> np.ndarray:
        """Disjoint masks, bool [N, K, S, S]; together they cover every annotated image."""
        return self.index[:, None] == np.arange(len(self.names))[:, None, None]

    @property
    def marked(self) -> np.ndarray:
        """Whether each image is annotated, bool [N]."""
        return (self.index != NOWHERE).any(axis=(1, 2))


def cell_regions(
    dataset: Dataset,
    indices: Sequence[int] | np.ndarray,
    *,
    size: int,
    resize: str = "stretch",
    scale: float | None = None,
) -> Regions:
    """Regions of examples: nucleus, cytoplasm and background.

    The masks come from `herlev`, `sipakmed` and `cervix_phantom`. The phantom's koilocytes also
    have a halo, which does not count as cytoplasm, and its crops may show other cells. Cells are
    transparent, so a pixel where cells overlap belongs to the cell in the centre of the crop;
    "other_cells" are pixels of other cells only.

    Args:
      dataset: the prepared data set.
      indices: positions of N examples in it.
      size: S, the side in pixels.
      resize: resize rule of the images, see `data.decode.resize_square`; pixels added by padding
        and filling are background.
      scale: see `data.decode.resize_square`.

    Raises:
      InputError: the data set has no such masks, or `resize` is unknown.
    """
    if "nucleus_mask" not in dataset.features:
        raise InputError(
            f"{dataset.name} has no masks of nucleus and cytoplasm; use herlev, sipakmed or "
            "cervix_phantom (or nucleus_discs for the nucleus positions of cric)."
        )
    check_mode(resize)  # needed if no example has masks to resize
    more = [key for key in MORE_REGIONS if key in dataset.features]
    names = (*REGIONS, *(MORE_REGIONS[key] for key in more))
    index = np.full((len(indices), *picture_shape(size, resize)), NOWHERE, np.int8)
    for row, position in zip(index, indices, strict=True):
        example = dataset.source[int(position)]
        if example.get("has_masks", True):
            row[:] = resize_labels(_region_index(example, names), size, resize, scale)
    return Regions(names, index)


def nucleus_discs(
    dataset: Dataset,
    indices: Sequence[int] | np.ndarray,
    *,
    size: int,
    resize: str = "stretch",
    scale: float | None = None,
    radius: float,
) -> np.ndarray:
    """A disc around each marked nucleus position, by the class that experts assigned.

    The disc is defined in pixels of the stored image and resized with it, so `resize="stretch"` may
    turn it into an ellipse. The pixel at the position always belongs to the disc. If the position
    lies outside the resized image, only the part of the disc inside it remains.

    Args:
      dataset: a prepared `cric` data set.
      indices: positions of N examples in it.
      size: S, the side of the resized images in pixels.
      resize: resize rule of the images, see `data.decode.resize_square`.
      scale: see `data.decode.resize_square`.
      radius: radius of the disc in pixels of the stored image; 0 marks one pixel for each nucleus.

    Returns:
      bool [N, K, S, S] ([N, K, S, 2 S] for two squares), K classes in the order of
      `dataset.class_names`; empty if an image has no nucleus of the class. `masks.any(axis=1)`
      contains all nuclei.

    Raises:
      InputError: the data set has no positions, or an option is invalid.
    """
    if "nucleus_positions" not in dataset.features:
        raise InputError(f"{dataset.name} has no nucleus positions; use cric/field or cric/cell.")
    if not radius >= 0:
        raise InputError(f"radius={radius!r}: give a number of pixels, 0 or more.")
    shape = picture_shape(size, resize)
    masks = np.zeros((len(indices), len(dataset.class_names), *shape), bool)
    for row, position in zip(masks, indices, strict=True):
        example = dataset.source[int(position)]
        stored = images.encoded_size(example["image"], f"image {int(position)}")
        placed = frames(stored, size, resize, scale)
        squares = np.split(row, len(placed), axis=2)  # views of `row`
        classes = np.asarray(example["nucleus_classes"])
        points = np.asarray(example["nucleus_positions"], np.float64).reshape(-1, 2)
        for label, point in zip(classes.tolist(), points, strict=True):
            for number, (square, frame) in enumerate(zip(squares, placed, strict=True)):
                square[label] |= _disc(frame, point, number * size, size, radius)
    return masks


def _region_index(example: Mapping[str, Any], names: Sequence[str]) -> np.ndarray:
    """Region of each pixel, uint8 [H, W]; if masks overlap, the later assignment wins."""
    nucleus, cytoplasm = _mask(example["nucleus_mask"]), _mask(example["cytoplasm_mask"])
    index = np.zeros(nucleus.shape, np.uint8)
    if "other_cells" in names:
        index[_mask(example["instance_mask"])] = names.index("other_cells")
    index[cytoplasm] = names.index("cytoplasm")
    if "halo" in names:
        index[_mask(example["halo_mask"])] = names.index("halo")
    index[nucleus] = names.index("nucleus")
    return index


def _mask(encoded: bytes) -> np.ndarray:
    return np.asarray(images.decode(encoded, "a mask")) > 0


def _disc(frame: Frame, point: np.ndarray, left: int, size: int, radius: float) -> np.ndarray:
    """The disc about a point of the stored image in a square from column `left` on, bool [S, S]."""
    centre = point * frame.scale + frame.offset - (left, 0)
    pixels = np.arange(size)
    # Pixel 0 covers 0 to 1, so its centre is at 0.5.
    x, y = ((pixels + 0.5 - centre[axis]) / frame.scale[axis] for axis in (0, 1))
    inside = x[None] ** 2 + y[:, None] ** 2 <= radius**2
    column, row = np.floor(centre).astype(int)
    if 0 <= column < size and 0 <= row < size:
        inside[row, column] = True
    return inside
