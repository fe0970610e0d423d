"""Reads the segmentations of Herlev: palette images `<id>-d.bmp`."""

from pathlib import Path

import numpy as np

from cervix_jax.errors import InputError
from cervix_jax.files import images

# Index -> colour in the official files; it also decodes copies that lost the palette.
PALETTE = (
    (0, 0, 0),  # not labelled
    (128, 128, 128),  # other or unknown
    (0, 0, 255),  # nucleus
    (0, 0, 128),  # cytoplasm, without the nucleus
    (255, 0, 0),  # background
)
NUCLEUS, CYTOPLASM = 2, 3


def read_segmentation(path: Path, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Read nucleus and cytoplasm of a segmentation.

    If every pixel has one of the official colours, the colours define the labels, so that a palette
    in another order or an RGB copy is read correctly; otherwise the indices do.

    Args:
      path: the file `<id>-d.bmp`.
      size: (width, height) of the image it belongs to.

    Returns:
      nucleus bool [height, width], cytoplasm bool [height, width], disjoint.

    Raises:
      InputError: the file is not such a segmentation of an image of that size.
    """
    image, _ = images.read_image(path, min_colours=1)
    if image.size != size:
        raise InputError(
            f"{path}: {image.width} x {image.height} px, but its image has {size[0]} x {size[1]} "
            "px; copy both again, or move all -d files away to use the images without masks."
        )
    indices = np.asarray(image) if image.mode in ("P", "L") else None
    colours = np.asarray(image.convert("RGB"))
    parts = [(colours == colour).all(axis=-1) for colour in PALETTE]
    if np.logical_or.reduce(parts).all():
        return parts[NUCLEUS], parts[CYTOPLASM]
    if indices is not None and indices.max() < len(PALETTE):
        return indices == NUCLEUS, indices == CYTOPLASM
    raise InputError(
        f"{path}: not a segmentation with the five colours of Herlev; copy the original -d.bmp "
        "files, or move all -d files away to use the images without masks."
    )
