"""TFDS builder of the procedural Pap-smear phantom."""

import io
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from cervix_jax.data.classes import SIPAKMED
from tfds_builders.cervix_phantom.anatomy import CROP_MARGIN, MICRONS_PER_PIXEL, folder
from tfds_builders.cervix_phantom.field import Field, PlacedCell, render_field
from tfds_builders.cervix_phantom.settings import BASE_CONFIGS, PhantomConfig, phantom_config

__all__ = ["Builder", "PhantomConfig", "phantom_config"]

_MASKS = ("nucleus_mask", "cytoplasm_mask", "instance_mask", "halo_mask")


class Builder(tfds.core.GeneratorBasedBuilder):
    """Procedural stand-in for SIPaKMeD with complete ground truth; see README.md.

    One TFDS split, `train`; split protocols are made from `cluster_id` and `slide_id`. With
    settings of one's own: `Builder(config=phantom_config("single_cell", confounding=0.0))`.
    """

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First version."}  # noqa: RUF012 (TFDS declares it so)
    BUILDER_CONFIGS = list(BASE_CONFIGS.values())  # noqa: RUF012
    GROUP_FEATURE = "cluster_id"

    def microns_per_pixel(self, sizes: Sequence[tuple[int, int]]) -> float:
        """Return the resolution of the images, which are drawn at one scale independent of size."""
        del sizes
        return MICRONS_PER_PIXEL

    def _info(self) -> tfds.core.DatasetInfo:
        masks = {
            name: tfds.features.Image(shape=(None, None, 1), encoding_format="png")
            for name in _MASKS
        }
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(None, None, 3), encoding_format="png"),
                    "label": tfds.features.ClassLabel(names=SIPAKMED.names),
                    "filename": tfds.features.Text(),
                    "slide_id": tfds.features.Text(),
                    "cluster_id": tfds.features.Text(),
                    "overlap": tfds.features.Scalar(np.float32),
                    **masks,
                }
            ),
            supervised_keys=("image", "label"),
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Iterator]:
        del dl_manager  # nothing is downloaded
        return {"train": self._generate_examples()}

    def _generate_examples(self) -> Iterator[tuple[str, dict[str, Any]]]:
        config = self.builder_config
        assert isinstance(config, PhantomConfig)
        for class_index, class_name in enumerate(SIPAKMED.names):
            for cluster in range(1, config.settings.clusters_per_class + 1):
                field = render_field(class_index, cluster, config.settings)
                cluster_id = f"{folder(class_name)}/{cluster:03d}"
                shared = {
                    "label": class_index,
                    "slide_id": field.slide_id,
                    "cluster_id": cluster_id,
                }
                if config.view == "multi_cell":
                    filename = f"{cluster_id}.png"
                    yield filename, {**shared, "filename": filename, **_whole(field)}
                    continue
                for cell in field.cells:
                    filename = f"{cluster_id}_{cell.number:02d}.png"
                    crop = _crop(field, cell)
                    yield filename, {**shared, "filename": filename, **crop}


def _whole(field: Field) -> dict[str, Any]:
    """Return the features of a whole field; its masks are unions over the cells."""
    union = {
        name: np.logical_or.reduce([cell.in_field(name) for cell in field.cells])
        for name in ("cell_mask", "nucleus_mask", "halo_mask")
    }
    return {
        "image": _png(field.image),
        "nucleus_mask": _png(union["nucleus_mask"]),
        "cytoplasm_mask": _png(union["cell_mask"] & ~union["nucleus_mask"]),
        "instance_mask": _png(field.instance_mask),
        "halo_mask": _png(union["halo_mask"] & ~union["nucleus_mask"]),
        "overlap": float(np.mean([cell.overlap for cell in field.cells])),
    }


def _crop(field: Field, cell: PlacedCell) -> dict[str, Any]:
    """Return the features of a crop around one cell; `instance_mask` includes all cells."""
    window = cell.crop_window(CROP_MARGIN)
    nucleus = cell.in_field("nucleus_mask")[window]
    return {
        "image": _png(field.image[window]),
        "nucleus_mask": _png(nucleus),
        "cytoplasm_mask": _png(cell.in_field("cell_mask")[window] & ~nucleus),
        "instance_mask": _png(field.instance_mask[window]),
        "halo_mask": _png(cell.in_field("halo_mask")[window]),
        "overlap": cell.overlap,
    }


def _png(array: np.ndarray) -> io.BytesIO:
    """Encode a uint8 RGB or index image, or a bool mask as 0 and 1."""
    stream = io.BytesIO()
    Image.fromarray(array.astype(np.uint8)).save(stream, "PNG", compress_level=4)
    stream.seek(0)
    return stream
