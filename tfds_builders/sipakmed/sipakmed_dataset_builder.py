"""SIPaKMeD: cervical cells in Pap smears, five classes, single cells and whole fields."""

import collections
import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, ClassVar, cast

import numpy as np
import tensorflow_datasets as tfds
from absl import logging
from PIL import Image

from cervix_jax.data.classes import SIPAKMED
from cervix_jax.data.resolution import microns_of_crops, microns_of_fields
from cervix_jax.files import folders, images
from cervix_jax.files.background import remove_background
from cervix_jax.files.damaged import Damaged
from tfds_builders.sipakmed.contours import cell_masks
from tfds_builders.sipakmed.layout import CLASS_FOLDERS, Item, find_items

# Plissiti et al. 2018, in the order of SIPAKMED.names.
CELL_COUNTS = (813, 825, 793, 787, 831)
FIELD_COUNTS = (223, 238, 271, 108, 126)
FIELD_WIDTH = 2048
MICRONS_PER_PIXEL = 0.14
"""An inference, not published: Plissiti et al. 2018 name an Olympus BX53F with an Infinity 1 camera
and no size of a pixel. The crops of superficial and intermediate cells have a median side of about
325 pixels, and such cells measure 35 to 50 micrometres: 0.11 to 0.15 micrometres a pixel."""


@dataclasses.dataclass(kw_only=True)
class SipakmedConfig(tfds.core.BuilderConfig):
    """The selection of SIPaKMeD's images.

    Attributes:
      crops: whether to use single cells instead of whole fields.
      masked: whether to set everything except the cells to white.
    """

    crops: bool = False
    masked: bool = False


class Builder(tfds.core.GeneratorBasedBuilder):
    """SIPaKMeD from the unpacked archives in `manual_dir`.

    Args:
      check_counts: insist on the official number of images in every class.
      skip_damaged: leave out images that cannot be read.
      **kwargs: see `tfds.core.DatasetBuilder`.
    """

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: ClassVar = {"1.0.0": "First version."}
    MANUAL_DOWNLOAD_INSTRUCTIONS = """
    SIPaKMeD is shared for research; its authors ask users to cite Plissiti et al., ICIP 2018. Get
    the five archives from https://www.cs.uoi.gr/~marina/sipakmed.html (5.18 GB in all):
      im_Dyskeratotic.7z               1,182,980,549 bytes
      im_Koilocytotic.7z               1,290,478,065 bytes
      im_Metaplastic.7z                1,396,480,123 bytes
      im_Parabasal.7z                    548,667,699 bytes
      im_Superficial-Intermediate.7z     762,939,737 bytes
    They are 7-Zip archives: unpack them by hand, e.g. `7z x im_Parabasal.7z`, into one folder
    and give that folder as manual_dir. It then holds im_Dyskeratotic/001.bmp,
    im_Dyskeratotic/CROPPED/001_01.bmp and so on. The Kaggle copy, where every class folder is
    nested in itself, works as it is, and so do .png and .jpg copies.
    """
    BUILDER_CONFIGS: ClassVar = [
        SipakmedConfig(
            name="single_cell", description="4049 cells cut out of the fields.", crops=True
        ),
        SipakmedConfig(name="multi_cell", description="966 fields with several cells."),
        SipakmedConfig(
            name="multi_cell_masked",
            description="The 966 fields with the background set to white.",
            masked=True,
        ),
    ]
    GROUP_FEATURE = "cluster_id"
    OFFICIAL_COUNTS: ClassVar = {
        "single_cell": dict(zip(SIPAKMED.names, CELL_COUNTS, strict=True)),
        "multi_cell": dict(zip(SIPAKMED.names, FIELD_COUNTS, strict=True)),
        "multi_cell_masked": dict(zip(SIPAKMED.names, FIELD_COUNTS, strict=True)),
    }

    def __init__(self, *, check_counts: bool = True, skip_damaged: bool = False, **kwargs: Any):
        super().__init__(**kwargs)
        self._check_counts = check_counts
        self._damaged = Damaged(skip=skip_damaged)

    @property
    def _variant(self) -> SipakmedConfig:
        return cast(SipakmedConfig, self.builder_config)

    def microns_per_pixel(self, sizes: Sequence[tuple[int, int]]) -> float | None:
        """Return the resolution from some image sizes; None for copies resized to one size."""
        if self._variant.crops:
            return microns_of_crops(MICRONS_PER_PIXEL, sizes)
        return microns_of_fields(MICRONS_PER_PIXEL, FIELD_WIDTH, sizes)

    def _info(self) -> tfds.core.DatasetInfo:
        mask = tfds.features.Image(shape=(None, None, 1), encoding_format="png")
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(None, None, 3), encoding_format="png"),
                    "label": tfds.features.ClassLabel(names=list(SIPAKMED.names)),
                    "filename": tfds.features.Text(),
                    "cluster_id": tfds.features.Text(),
                    "nucleus_mask": mask,
                    "cytoplasm_mask": mask,
                    "has_masks": tfds.features.Scalar(np.bool_),
                }
            ),
            supervised_keys=("image", "label"),
            homepage="https://www.cs.uoi.gr/~marina/sipakmed.html",
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Iterable]:
        root = folders.manual_folder(
            dl_manager,
            self.name,
            "unpack the archives from https://www.cs.uoi.gr/~marina/sipakmed.html and give their "
            "folder as manual_dir.",
        )
        items = find_items(root, crops=self._variant.crops)
        found = collections.Counter(CLASS_FOLDERS[item.label] for item in items)
        official = self.OFFICIAL_COUNTS[self._variant.name]
        folders.check_counts(
            root,
            "CROPPED/NNN_MM.bmp cells" if self._variant.crops else "NNN.bmp fields",
            found,
            dict(zip(CLASS_FOLDERS, official.values(), strict=True)),
            insist=self._check_counts,
        )
        return {"train": self._generate_examples(items)}

    def _generate_examples(self, items: list[Item]) -> Iterator[tuple[str, dict[str, Any]]]:
        clipped: list[tuple[str, int]] = []
        unpaired: list[str] = []
        for item, example, outside in self._damaged.map(self._example, items):
            if outside:
                clipped.append((item.filename, outside))
            if item.contours and not example["has_masks"]:
                unpaired.append(item.filename)
            yield item.key, example
        self._damaged.report()
        if clipped:
            logging.warning(
                "Nucleus contours of %d images extend beyond their cells and were clipped, e.g. %s "
                "by %d pixels.",
                len(clipped),
                *max(clipped, key=lambda entry: entry[1]),
            )
        if unpaired:
            logging.warning(
                "%d images lack one of the two contours of a cell and therefore have no masks, "
                "e.g. %s.",
                len(unpaired),
                unpaired[0],
            )

    def _example(self, item: Item) -> tuple[Item, dict[str, Any], int]:
        """Return the example of an item, and the number of nucleus pixels that were clipped."""
        image, data = images.read_image(item.path, min_colours=2)
        shape = (image.height, image.width)
        has_masks = bool(item.contours) and all(len(paths) == 2 for paths in item.contours)
        if has_masks:
            nucleus, cytoplasm, outside = cell_masks(item.contours, shape)
        else:
            nucleus = cytoplasm = np.zeros(shape, bool)
            outside = 0
        if self._variant.masked:
            cells = remove_background(np.asarray(images.rgb(image)))
            encoded = images.png(Image.fromarray(cells))
        else:
            encoded = images.encode(image, data)
        example = {
            "image": encoded,
            "label": item.label,
            "filename": item.filename,
            "cluster_id": item.cluster_id,
            "nucleus_mask": images.mask_png(nucleus),
            "cytoplasm_mask": images.mask_png(cytoplasm),
            "has_masks": has_masks,
        }
        return item, example, outside
