"""Herlev: single cervical cells of Pap smears, seven classes, with segmentations."""

import collections
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds
from absl import logging

from cervix_jax.data.classes import HERLEV
from cervix_jax.data.resolution import microns_of_crops
from cervix_jax.files import folders, images
from cervix_jax.files.damaged import Damaged
from tfds_builders.herlev.layout import Item, find_items
from tfds_builders.herlev.segmentation import read_segmentation

# Jantzen et al. 2005, in the order of HERLEV.names; 917 in all.
CELL_COUNTS = (74, 70, 98, 182, 146, 197, 150)
MICRONS_PER_PIXEL = 0.201
"""As published: Jantzen, Norup, Dounias and Bjerregaard, Pap-smear benchmark data for pattern
classification, NiSIS 2005."""


class Builder(tfds.core.GeneratorBasedBuilder):
    """Herlev from the unpacked archive in `manual_dir`.

    Args:
      check_counts: insist on the official number of images in every class.
      skip_damaged: leave out images that cannot be read.
      **kwargs: see `tfds.core.DatasetBuilder`.
    """

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: ClassVar = {"1.0.0": "First version."}
    MANUAL_DOWNLOAD_INSTRUCTIONS = """
    The Herlev Pap smear set (Jantzen et al. 2005) is offered as smear2005.zip (85 MB) at
    https://mde-lab.aegean.gr/index.php/downloads/. Unpack it and give its folder as manual_dir.
    It then holds `New database pictures/carcinoma_in_situ/149143370-149143378-001.BMP` with the
    segmentation `149143370-149143378-001-d.bmp` beside it, and so on for seven classes. Copies with
    folders train and test, plain class folders, English spellings of the folders, and .png or .jpg
    files work as they are; the segmentations may be absent.
    """
    BUILDER_CONFIGS: ClassVar = [
        tfds.core.BuilderConfig(name="default", description="917 single cells in seven classes.")
    ]
    GROUP_FEATURE = "slide_id"
    # Ratios of train and validation in arXiv 2106.00557; the rest is test.
    PAPER_RATIOS = (0.2, 0.0)
    OFFICIAL_COUNTS: ClassVar = {"default": dict(zip(HERLEV.names, CELL_COUNTS, strict=True))}

    def __init__(self, *, check_counts: bool = True, skip_damaged: bool = False, **kwargs: Any):
        super().__init__(**kwargs)
        self._check_counts = check_counts
        self._damaged = Damaged(skip=skip_damaged)

    def microns_per_pixel(self, sizes: Sequence[tuple[int, int]]) -> float | None:
        """Return the resolution from some image sizes; None for copies resized to one size."""
        return microns_of_crops(MICRONS_PER_PIXEL, sizes)

    def _info(self) -> tfds.core.DatasetInfo:
        mask = tfds.features.Image(shape=(None, None, 1), encoding_format="png")
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(None, None, 3), encoding_format="png"),
                    "label": tfds.features.ClassLabel(names=list(HERLEV.names)),
                    "filename": tfds.features.Text(),
                    "slide_id": tfds.features.Text(),
                    "nucleus_mask": mask,
                    "cytoplasm_mask": mask,
                    "has_masks": tfds.features.Scalar(np.bool_),
                }
            ),
            supervised_keys=("image", "label"),
            homepage="https://mde-lab.aegean.gr/index.php/downloads/",
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Iterable]:
        root = folders.manual_folder(
            dl_manager,
            self.name,
            "unpack smear2005.zip from https://mde-lab.aegean.gr/index.php/downloads/ and give its "
            "folder as manual_dir.",
        )
        items = find_items(root)
        folders.check_counts(
            root,
            "images",
            collections.Counter(HERLEV.names[item.label] for item in items),
            self.OFFICIAL_COUNTS["default"],
            insist=self._check_counts,
        )
        without = [item.filename for item in items if item.mask is None]
        if without and len(without) < len(items):
            logging.warning(
                "herlev: %d of %d images have no segmentation, e.g. %s.",
                len(without),
                len(items),
                without[0],
            )
        return {"train": self._generate_examples(items)}

    def _generate_examples(self, items: list[Item]) -> Iterator[tuple[str, dict[str, Any]]]:
        yield from self._damaged.map(_example, items)
        self._damaged.report()


def _example(item: Item) -> tuple[str, dict[str, Any]]:
    image, data = images.read_image(item.path, min_colours=2)
    if item.mask is None:
        nucleus = cytoplasm = np.zeros((image.height, image.width), bool)
    else:
        nucleus, cytoplasm = read_segmentation(item.mask, image.size)
    return item.key, {
        "image": images.encode(image, data),
        "label": item.label,
        "filename": item.filename,
        "slide_id": item.slide_id,
        "nucleus_mask": images.mask_png(nucleus),
        "cytoplasm_mask": images.mask_png(cytoplasm),
        "has_masks": item.mask is not None,
    }
