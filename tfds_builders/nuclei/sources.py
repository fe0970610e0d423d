"""Fields with the centres of nuclei, from CRIC, from SIPaKMeD's contours and from the phantom."""

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image
from skimage import measure

from cervix_jax.data.classes import SIPAKMED
from cervix_jax.data.cric_nuclei import MICRONS_PER_PIXEL as CRIC_MICRONS
from cervix_jax.data.cric_nuclei import PUBLISHED_WIDTH
from cervix_jax.errors import InputError
from cervix_jax.files import folders, images
from tfds_builders.cervix_phantom.anatomy import MICRONS_PER_PIXEL as PHANTOM_MICRONS
from tfds_builders.cervix_phantom.field import render_field
from tfds_builders.cervix_phantom.settings import PhantomSettings
from tfds_builders.cric.layout import find_fields
from tfds_builders.sipakmed.contours import read_contour
from tfds_builders.sipakmed.layout import find_items
from tfds_builders.sipakmed.sipakmed_dataset_builder import FIELD_WIDTH
from tfds_builders.sipakmed.sipakmed_dataset_builder import MICRONS_PER_PIXEL as SIPAKMED_MICRONS

SOURCES = ("cric", "sipakmed", "phantom")


@dataclasses.dataclass(frozen=True)
class MarkedField:
    """A field with marks on all or some of its nuclei.

    Attributes:
      source: one of `SOURCES`.
      field_id: unique name.
      microns_per_pixel: resolution of the image.
      read: returns the image, RGB, and float64 [n, 2], x and y of the centres in its pixels.
      path: the file, or None if the field is drawn.
    """

    source: str
    field_id: str
    microns_per_pixel: float
    read: Callable[[], tuple[Image.Image, np.ndarray]]
    path: Path | None = None


def real_fields(root: Path) -> list[MarkedField]:
    """Find the fields of CRIC and SIPaKMeD in a folder, or in its subfolders.

    Raises:
      InputError: there are none, or an annotation is wrong.
    """
    found: list[MarkedField] = []
    for folder in [root, *folders.subfolders(root)]:
        if any((folder / f"classifications.{kind}").is_file() for kind in ("csv", "json")):
            found += _cric(folder)
        elif any(name.startswith("im_") for name in _names(folder)):
            found += _sipakmed(folder)
    if not found:
        raise InputError(
            f"{root}: contains no fields with marked nuclei; give CRIC's folder (with "
            "classifications.csv), SIPaKMeD's (the fields NNN.bmp and their NNN_nucMM.dat), or a "
            "folder with one folder for each."
        )
    return found


def _names(folder: Path) -> list[str]:
    return [path.name for path in folders.entries(folder) if path.is_dir()]


def _cric(folder: Path) -> list[MarkedField]:
    return [
        MarkedField(
            "cric",
            f"cric/{field.image_id}",
            CRIC_MICRONS * PUBLISHED_WIDTH / field.size[0],
            lambda field=field: (_upright(field.path), np.asarray(field.positions, np.float64)),
            field.path,
        )
        for field in find_fields(folder, complete=False)
    ]


def _sipakmed(folder: Path) -> list[MarkedField]:
    return [
        MarkedField(
            "sipakmed",
            f"sipakmed/{item.cluster_id}",
            SIPAKMED_MICRONS * FIELD_WIDTH / images.image_size(item.path)[0],
            lambda item=item: _with_contours(item.path, [c["nuc"] for c in item.contours]),
            item.path,
        )
        for item in find_items(folder, crops=False)
        if item.contours and all("nuc" in cell for cell in item.contours)
    ]


def _with_contours(path: Path, contours: list[Path]) -> tuple[Image.Image, np.ndarray]:
    image = _upright(path)
    corners = [read_contour(each, (image.height, image.width)) for each in contours]
    # The centre of the bounding box, because a contour's points are not evenly spaced.
    return image, np.stack([(c.min(0) + c.max(0)) / 2 for c in corners])


def _upright(path: Path) -> Image.Image:
    return images.rgb(images.read_image(path, min_colours=2)[0])


def phantom_fields(per_class: int) -> Iterator[MarkedField]:
    """Yield drawn fields; all their nuclei are marked, also two nuclei in one cell."""
    settings = PhantomSettings()
    for label, name in enumerate(SIPAKMED.names):
        for cluster in range(1, per_class + 1):
            yield MarkedField(
                "phantom",
                f"phantom/{name}/{cluster:03d}",
                PHANTOM_MICRONS,
                lambda label=label, cluster=cluster: _drawn(label, cluster, settings),
            )


def _drawn(label: int, cluster: int, settings: PhantomSettings) -> tuple[Image.Image, np.ndarray]:
    field = render_field(label, cluster, settings)
    centres = []
    for cell in field.cells:
        rows, columns = (each.start for each in cell.window)
        for nucleus in measure.regionprops(measure.label(cell.nucleus_mask)):
            y, x = nucleus.centroid
            centres.append((x + columns + 0.5, y + rows + 0.5))
    return Image.fromarray(field.image), np.asarray(centres, np.float64)
