"""What experts marked, or the phantom drew, laid over the images as the network sees them."""

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
# What a data set may have beyond those, as the phantom does.
MORE_REGIONS = {"halo_mask": "halo", "instance_mask": "other_cells"}


@dataclasses.dataclass(frozen=True)
class Regions:
    """Which region each pixel of each image belongs to.

    Attributes:
      names: K names. "background" is all that lies in no other region.
      index: int8 [N, S, S], or [N, S, 2 S] of two squares, positions in `names`; -1 throughout an
        image whose regions nobody marked, so that all of its masks are empty and what is measured
        by them is NaN.
    """

    names: tuple[str, ...]
    index: np.ndarray

    @property
    def masks(self) -> np.ndarray:
        """Disjoint masks, bool [N, K, S, S]; they cover every image that has regions."""
        return self.index[:, None] == np.arange(len(self.names))[:, None, None]

    @property
    def marked(self) -> np.ndarray:
        """Which images have regions, bool [N]."""
        return (self.index != NOWHERE).any(axis=(1, 2))


def cell_regions(
    dataset: Dataset,
    indices: Sequence[int] | np.ndarray,
    *,
    size: int,
    resize: str = "stretch",
    scale: float | None = None,
) -> Regions:
    """Nucleus, cytoplasm and background of some examples, read when asked for.

    From the masks that `herlev`, `sipakmed` and `cervix_phantom` store. The phantom's koilocytes
    also have a halo, which is then no cytoplasm, and its crops may show other cells. Light passes
    through all cells that overlap, so what they share belongs to the cell that the crop is about,
    also where another lies on top; "other_cells" is what is theirs alone.

    Args:
      dataset: the prepared data set.
      indices: positions of N examples in it.
      size: S, the side in pixels.
      resize: as the images are resized, see `data.decode.resize_square`; what padding and
        filling add is background.
      scale: see there.

    Raises:
      InputError: the data set has no such masks, or `resize` is unknown.
    """
    if "nucleus_mask" not in dataset.features:
        raise InputError(
            f"{dataset.name} has no masks of nucleus and cytoplasm; take herlev, sipakmed or "
            "cervix_phantom (cric has nucleus positions: nucleus_discs)."
        )
    check_mode(resize)  # also where no example has masks to resize
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
    """A disc about each nucleus whose position experts marked, by the class that they gave it.

    A disc is cut out in the pixels of the stored image and then follows the resizing, so that
    `resize="stretch"` may turn it into an ellipse. The pixel that holds the position always
    belongs to it; a position outside the resized image has none but what reaches inside.

    Args:
      dataset: a prepared `cric` data set.
      indices: positions of N examples in it.
      size: S, the side of the resized images in pixels.
      resize: as the images are resized, see `data.decode.resize_square`.
      scale: see there.
      radius: in pixels of the stored image; 0 marks one pixel for each nucleus.

    Returns:
      bool [N, K, S, S] ([N, K, S, 2 S] of two squares), K classes in the order of
      `dataset.class_names`; empty where an image has no nucleus of a class. `masks.any(axis=1)`
      has all nuclei.

    Raises:
      InputError: the data set has no positions, or an option cannot be used.
    """
    if "nucleus_positions" not in dataset.features:
        raise InputError(f"{dataset.name} has no nucleus positions; take cric/field or cric/cell.")
    if not radius >= 0:
        raise InputError(f"radius={radius!r}: give a number of pixels, 0 or more.")
    shape = picture_shape(size, resize)
    masks = np.zeros((len(indices), len(dataset.class_names), *shape), bool)
    for row, position in zip(masks, indices, strict=True):
        example = dataset.source[int(position)]
        stored = images.encoded_size(example["image"], f"image {int(position)}")
        placed = frames(stored, size, resize, scale)
        squares = np.split(row, len(placed), axis=2)  # views, which are written to
        classes = np.asarray(example["nucleus_classes"])
        points = np.asarray(example["nucleus_positions"], np.float64).reshape(-1, 2)
        for label, point in zip(classes.tolist(), points, strict=True):
            for number, (square, frame) in enumerate(zip(squares, placed, strict=True)):
                square[label] |= _disc(frame, point, number * size, size, radius)
    return masks


def _region_index(example: Mapping[str, Any], names: Sequence[str]) -> np.ndarray:
    """uint8 [H, W]; where masks overlap, the later line wins."""
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
    # Pixel 0 reaches from 0 to 1, so its middle is at 0.5.
    x, y = ((pixels + 0.5 - centre[axis]) / frame.scale[axis] for axis in (0, 1))
    inside = x[None] ** 2 + y[:, None] ** 2 <= radius**2
    column, row = np.floor(centre).astype(int)
    if 0 <= column < size and 0 <= row < size:
        inside[row, column] = True
    return inside
