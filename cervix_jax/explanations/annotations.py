"""Annotations of experts on the selected images, as masks."""

import dataclasses

import numpy as np

from cervix_jax.explain.measures import cell_regions, nucleus_discs
from cervix_jax.explanations.selection import Selection


@dataclasses.dataclass(frozen=True)
class Annotations:
    """Masks of the images of a selection.

    Attributes:
      names: K regions; "nucleus" is one.
      masks: bool [N, K, S, S]; empty for an image without annotation of the region.
      settings: settings of the masks, JSON-ready.
    """

    names: tuple[str, ...]
    masks: np.ndarray
    settings: dict

    def first(self, count: int) -> "Annotations":
        """Annotations of the first images."""
        return dataclasses.replace(self, masks=self.masks[:count])


def read_annotations(
    selection: Selection, *, resize: str, scale: float | None = None, nucleus_radius: float
) -> Annotations | None:
    """Masks of cell regions, or discs around marked nuclei; None if the data set has neither.

    Args:
      selection: the images.
      resize: resize rule of the images.
      scale: pixels of the input per pixel of the image, if `resize` is "scale".
      nucleus_radius: radius of the disc around a marked position, in pixels of the stored image.
    """
    dataset, size = selection.dataset, selection.images.shape[1]
    features = dataset.features
    if "nucleus_mask" in features:
        regions = cell_regions(dataset, selection.indices, size=size, resize=resize, scale=scale)
        if not regions.marked.any():  # copies of a data set may lack the contours
            return None
        return Annotations(regions.names, regions.masks, {"regions": list(regions.names)})
    if "nucleus_positions" in features:
        discs = nucleus_discs(
            dataset, selection.indices, size=size, resize=resize, scale=scale, radius=nucleus_radius
        ).any(axis=1)
        masks = np.stack([discs, ~discs], axis=1)
        return Annotations(
            ("nucleus", "background"), masks, {"nucleus_radius": float(nucleus_radius)}
        )
    return None
