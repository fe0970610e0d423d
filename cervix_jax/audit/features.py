"""What can be measured of an image without looking at its cells' shape: the audit's features.

One pass over the decoded images measures everything that the forests need, so that they work on
small arrays in memory.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from cervix_jax.data.catalog import Dataset
from cervix_jax.files.threads import map_in_order
from cervix_jax.progress import Bar

PERCENTILES = (1, 5, 10, 25, 50, 75, 90, 95, 99)
BORDER_PERCENTILES = (10, 50, 90)
BORDER_WIDTH = 2  # pixels
# Percentiles of images with more pixels are taken over every k-th row and column.
MAX_PIXELS = 512 * 512

DESCRIPTIONS = {
    "colour": "27 RGB percentiles of the whole image",
    "border": "9 RGB percentiles of the outermost two pixels",
    "grey": "9 percentiles of contrast-standardised grey",
    "size": "width, height and area of the image",
    "shape": "areas, ratios and offset of the masks",
}


@dataclasses.dataclass(frozen=True)
class Measurements:
    """What one pass over N images found.

    Attributes:
      features: baseline name to float64 [N, F]; "shape" only where every image has masks.
      sizes: int64 [N, 2], width and height in pixels.
    """

    features: dict[str, np.ndarray]
    sizes: np.ndarray


def colour_percentiles(image: np.ndarray) -> np.ndarray:
    """Percentiles 1, 5, 10, 25, 50, 75, 90, 95 and 99 of each channel.

    Args:
      image: uint8 [H, W, 3].

    Returns:
      float64 [27] in [0, 255].
    """
    return np.percentile(_thin(image), PERCENTILES, axis=(0, 1)).ravel()


def border_percentiles(image: np.ndarray) -> np.ndarray:
    """Percentiles 10, 50 and 90 of each channel over the outermost two pixels; float64 [9]."""
    edge = np.ones(image.shape[:2], bool)
    edge[BORDER_WIDTH:-BORDER_WIDTH, BORDER_WIDTH:-BORDER_WIDTH] = False
    return np.percentile(image[edge], BORDER_PERCENTILES, axis=0).ravel()


def grey_percentiles(image: np.ndarray) -> np.ndarray:
    """Percentiles of the grey values after these are given mean 0 and deviation 1; float64 [9].

    Colour, brightness and contrast are gone; the form of the histogram is left. An image of one
    grey gives zeros.
    """
    grey = _thin(image).astype(np.float64) @ (0.2125, 0.7154, 0.0721)  # ITU-R BT.709
    deviation = grey.std()
    # Below a thousandth of a grey level only rounding is left.
    scale = deviation if deviation > 1e-3 else np.inf
    return (np.percentile(grey, PERCENTILES) - grey.mean()) / scale


def size_features(image: np.ndarray) -> np.ndarray:
    """Width, height (pixels) and their product; float64 [3]."""
    height, width = image.shape[:2]
    return np.asarray([width, height, width * height], np.float64)


def shape_features(masks: Mapping[str, np.ndarray]) -> np.ndarray:
    """What the masks say of shape alone: an honest counterpart of the shortcuts.

    Args:
      masks: `nucleus_mask`, `cytoplasm_mask` (disjoint) and perhaps `halo_mask`, [H, W, 1], not 0
        inside.

    Returns:
      float64 [6]: areas of cell, nucleus and halo in pixels, nucleus and halo over cell, and the
      distance of the centres of nucleus and cell over the radius of a disc of the cell's area.
    """
    nucleus = masks["nucleus_mask"][..., 0] > 0
    cell = nucleus | (masks["cytoplasm_mask"][..., 0] > 0)
    halo = float((masks["halo_mask"] > 0).sum()) if "halo_mask" in masks else 0.0
    area, offset = float(cell.sum()), 0.0
    if nucleus.any():
        centres = [np.argwhere(mask).mean(axis=0) for mask in (nucleus, cell)]
        offset = np.linalg.norm(centres[0] - centres[1]) / np.sqrt(area / np.pi)
    whole = max(area, 1.0)
    return np.asarray([area, nucleus.sum(), halo, nucleus.sum() / whole, halo / whole, offset])


def has_masks(example: Mapping[str, Any]) -> bool:
    """Whether an example has masks of nucleus and cytoplasm that are not empty."""
    if not {"nucleus_mask", "cytoplasm_mask"} <= set(example):
        return False
    return bool(example.get("has_masks", True)) and bool(np.any(example["cytoplasm_mask"]))


def measure(dataset: Dataset, *, jobs: int = 0, progress: bool = True) -> Measurements:
    """Measure every image of a data set, in its order.

    Args:
      dataset: the prepared data set.
      jobs: threads; 0 takes one a core, at most 8.
      progress: show a bar.
    """
    measured = map_in_order(
        lambda i: _measure(dataset.decoded_source[i]), range(len(dataset)), workers=jobs
    )
    rows: list[dict[str, Any]] = list(
        Bar(measured, total=len(dataset), desc="measuring", unit="image", disable=not progress)
    )
    names = [name for name in DESCRIPTIONS if all(row[name] is not None for row in rows)]
    return Measurements(
        features={name: np.stack([row[name] for row in rows]) for name in names},
        sizes=np.stack([row["size"][:2] for row in rows]).astype(np.int64),
    )


def _measure(example: Mapping[str, Any]) -> dict[str, Any]:
    image = example["image"]
    return {
        "colour": colour_percentiles(image),
        "border": border_percentiles(image),
        "grey": grey_percentiles(image),
        "size": size_features(image),
        "shape": shape_features(example) if has_masks(example) else None,
    }


def _thin(image: np.ndarray) -> np.ndarray:
    step = int(np.ceil(np.sqrt(image.shape[0] * image.shape[1] / MAX_PIXELS)))
    return image[::step, ::step]
