"""TFDS builder of tiles with marked nuclei, for the training of nucleus detectors."""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, ClassVar, cast

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from cervix_jax.data import nucleus_maps
from cervix_jax.errors import InputError
from cervix_jax.files import folders, images
from cervix_jax.files.damaged import Damaged
from tfds_builders.nuclei.settings import BASE_CONFIGS, NucleiConfig, nuclei_config
from tfds_builders.nuclei.sources import MarkedField, phantom_fields, real_fields
from tfds_builders.nuclei.tiles import cut_tiles

__all__ = ["Builder", "NucleiConfig", "nuclei_config"]

Examples = list[tuple[str, dict[str, Any]]]


class Builder(tfds.core.GeneratorBasedBuilder):
    """Tiles of fields of CRIC, SIPaKMeD and the phantom, with the centres of nuclei; see README.md.

    Args:
      skip_damaged: leave out fields that cannot be read.
      **kwargs: see `tfds.core.DatasetBuilder`.
    """

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: ClassVar = {"1.0.0": "First version."}
    MANUAL_DOWNLOAD_INSTRUCTIONS = """
    For the config `fields`, give as manual_dir the folder of CRIC (fields and classifications.csv),
    that of SIPaKMeD (class folders with the fields NNN.bmp and the contours NNN_nucMM.dat), or a
    folder that holds one folder for each. The config `phantom` needs none.
    """
    BUILDER_CONFIGS: ClassVar = list(BASE_CONFIGS.values())
    GROUP_FEATURE = "field_id"

    def __init__(self, *, skip_damaged: bool = False, **kwargs: Any):
        super().__init__(**kwargs)
        if not self._variant.real:
            self.MANUAL_DOWNLOAD_INSTRUCTIONS = None  # it reads no files
        self._damaged = Damaged(skip=skip_damaged)

    @property
    def _variant(self) -> NucleiConfig:
        return cast(NucleiConfig, self.builder_config)

    def microns_per_pixel(self, sizes: Sequence[tuple[int, int]]) -> float:
        """Return the resolution of the tiles, as set."""
        del sizes
        return self._variant.settings.microns_per_pixel

    def _info(self) -> tfds.core.DatasetInfo:
        picture = tfds.features.Image(shape=(None, None, 3), encoding_format="png")
        labels = tfds.features.Image(shape=(None, None, 1), encoding_format="png")
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict(
                {
                    "image": picture,
                    "label": tfds.features.ClassLabel(names=list(nucleus_maps.CLASS_NAMES)),
                    "filename": tfds.features.Text(),
                    "field_id": tfds.features.Text(),
                    "source": tfds.features.Text(),
                    nucleus_maps.FEATURE: labels,
                    "offset": tfds.features.Tensor(shape=(2,), dtype=np.int32),
                    "core": tfds.features.Tensor(shape=(4,), dtype=np.int32),
                    "nuclei": tfds.features.Tensor(shape=(None, 2), dtype=np.float32),
                }
            ),
            supervised_keys=("image", nucleus_maps.FEATURE),
            homepage="https://doi.org/10.6084/m9.figshare.c.4960286",
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Iterable]:
        side = self._variant.settings.side
        if side % 16:
            raise InputError(f"nuclei setting side={side}: give a multiple of 16.")
        fields: list[MarkedField] = []
        if self._variant.real:
            root = folders.manual_folder(
                dl_manager,
                self.name,
                "give the folder of CRIC, of SIPaKMeD's fields, or one that holds both.",
            )
            fields += real_fields(root)
        fields += phantom_fields(self._variant.settings.phantom_fields)
        return {"train": self._generate_examples(fields)}

    def _generate_examples(self, fields: list[MarkedField]) -> Iterator[tuple[str, dict[str, Any]]]:
        yield from itertools.chain.from_iterable(self._damaged.map(self._examples, fields))
        self._damaged.report()

    def _examples(self, field: MarkedField) -> Examples:
        settings = self._variant.settings
        image, centres = field.read()
        tiles = cut_tiles(
            image,
            centres,
            field.microns_per_pixel,
            wanted=settings.microns_per_pixel,
            side=settings.side,
            radius=settings.nucleus_radius,
        )
        examples = []
        for number, tile in enumerate(tiles):
            filename = f"{field.field_id}_{number:02d}.png"
            example = {
                "image": images.png(Image.fromarray(tile.image)),
                "label": int((tile.nucleus_map == nucleus_maps.NUCLEUS).any()),
                "filename": filename,
                "field_id": field.field_id,
                "source": field.source,
                nucleus_maps.FEATURE: images.png(Image.fromarray(tile.nucleus_map)),
                "offset": tile.offset,
                "core": tile.core,
                "nuclei": tile.nuclei,
            }
            examples.append((filename, example))
        return examples
