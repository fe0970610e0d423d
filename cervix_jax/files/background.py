"""Removal of the background of a whole field with Otsu's thresholds and morphology."""

import numpy as np
from PIL import Image
from scipy import ndimage
from skimage import measure
from skimage.filters import threshold_multiotsu
from skimage.morphology import disk

# The longer side in pixels for the separation of cells and background.
WORKING_SIDE = 512
WHITE = 255
# Objects below this share of the field are debris.
MIN_OBJECT_SHARE = 5e-4
# A field counts as empty if the grey levels of its darkest and brightest regions differ by less.
MIN_CONTRAST = 5.0


def foreground(image: np.ndarray) -> np.ndarray:
    """Return the mask of the cells.

    Stained cells are darker than the background in at least one channel, so the darkest of the
    three channels, slightly blurred, is divided by Otsu's method into nuclei, cytoplasm and
    background (three classes, because two lose pale cytoplasm; Otsu 1979, Liao et al. 2001). The
    foreground is closed, holes are filled, debris is removed and the edge is moved outwards by
    about 0.4 % of the longer side.

    Args:
      image: uint8 [height, width, 3].

    Returns:
      bool [height, width]; all True if nothing can be separated (an image of one colour).
    """
    height, width = image.shape[:2]
    factor = max(1, round(max(height, width) / WORKING_SIDE))
    small = np.asarray(Image.fromarray(image).reduce(factor), np.float32)
    darkest = ndimage.gaussian_filter(small.min(axis=-1), 1.0)
    if np.ptp(darkest) < MIN_CONTRAST or len(np.unique(darkest)) < 3:
        return np.ones((height, width), bool)
    mask = darkest < threshold_multiotsu(darkest, classes=3)[1]
    mask = ndimage.binary_closing(np.pad(mask, 4), disk(3))[4:-4, 4:-4]
    labels = np.asarray(measure.label(ndimage.binary_fill_holes(mask)))
    keep = np.bincount(labels.ravel()) >= MIN_OBJECT_SHARE * labels.size
    keep[0] = False
    mask = ndimage.binary_dilation(keep[labels], disk(2))
    full = Image.fromarray(mask.astype(np.uint8) * 255).resize(
        (width, height), Image.Resampling.BILINEAR
    )
    return np.asarray(full) > 127


def remove_background(image: np.ndarray, cells: np.ndarray | None = None) -> np.ndarray:
    """Set all background pixels to white, as in the paper's masked images.

    Args:
      image: uint8 [height, width, 3].
      cells: bool [height, width]; None uses `foreground`.
    """
    kept = foreground(image) if cells is None else cells
    return np.where(kept[..., None], image, np.uint8(WHITE))
