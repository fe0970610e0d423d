"""Image features without cell shape, for the audit's shortcut baselines.

One pass over the decoded images computes all features, so the random forests work on small arrays
in memory.
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
# Percentiles of images with more pixels use every k-th row and column only.
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
    """Features of N images.

    Attributes:
      features: baseline name to float64 [N, F]; "shape" only if every image has masks.
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
    """Percentiles of the grey values after scaling to mean 0 and deviation 1; float64 [9].

    This removes colour, brightness and contrast and keeps the form of the histogram. An image of
    one constant grey gives zeros.
    """
    grey = _thin(image).astype(np.float64) @ (0.2125, 0.7154, 0.0721)  # ITU-R BT.709
    deviation = grey.std()
    # A deviation below a thousandth of a grey level is rounding error.
    scale = deviation if deviation > 1e-3 else np.inf
    return (np.percentile(grey, PERCENTILES) - grey.mean()) / scale


def size_features(image: np.ndarray) -> np.ndarray:
    """Width, height (pixels) and their product; float64 [3]."""
    height, width = image.shape[:2]
    return np.asarray([width, height, width * height], np.float64)


def shape_features(masks: Mapping[str, np.ndarray]) -> np.ndarray:
    """Shape features from the masks alone, for comparison with the shortcut features.

    Args:
      masks: `nucleus_mask`, `cytoplasm_mask` (disjoint) and optional `halo_mask`, [H, W, 1], not 0
        inside.

    Returns:
      float64 [6]: areas of cell, nucleus and halo in pixels; nucleus and halo area divided by cell
      area; distance of the centres of nucleus and cell, divided by the radius of a disc of the
      cell's area.
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
    """Whether an example has non-empty masks of nucleus and cytoplasm."""
    if not {"nucleus_mask", "cytoplasm_mask"} <= set(example):
        return False
    return bool(example.get("has_masks", True)) and bool(np.any(example["cytoplasm_mask"]))


def measure(dataset: Dataset, *, jobs: int = 0, progress: bool = True) -> Measurements:
    """Compute the features of every image of a data set, in its order.

    Args:
      dataset: the prepared data set.
      jobs: number of threads; 0 uses one per core, at most 8.
      progress: show a progress bar.
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
