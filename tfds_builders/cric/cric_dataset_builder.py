"""CRIC Cervix: fields of conventional Pap smears, nuclei with Bethesda classes."""

import collections
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, ClassVar, cast

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from cervix_jax.data.classes import CRIC
from cervix_jax.data.cric_nuclei import MICRONS_PER_PIXEL, PUBLISHED_WIDTH
from cervix_jax.data.resolution import microns_of_fields
from cervix_jax.errors import InputError
from cervix_jax.files import folders, images
from cervix_jax.files.damaged import Damaged
from tfds_builders.cric.layout import Field, find_fields
from tfds_builders.cric.settings import BASE_CONFIGS, CricConfig, cric_config

__all__ = ["Builder", "CricConfig", "cric_config"]

# Rezende et al. 2021, in the order of CRIC.names; 11,534 in all.
CELL_COUNTS = (6779, 606, 1360, 925, 1703, 161)
NUM_FIELDS = 400

Examples = list[tuple[str, dict[str, Any]]]


class Builder(tfds.core.GeneratorBasedBuilder):
    """CRIC Cervix from the files in `manual_dir`.

    With settings of one's own: `Builder(config=cric_config("cell", side=128))`.

    Args:
      check_counts: insist on the official number of fields and cells.
      skip_damaged: leave out images that cannot be read.
      **kwargs: see `tfds.core.DatasetBuilder`.
    """

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: ClassVar = {"1.0.0": "First version."}
    MANUAL_DOWNLOAD_INSTRUCTIONS = """
    CRIC Cervix (Rezende et al., Scientific Data 2021) is at
    https://doi.org/10.6084/m9.figshare.c.4960286, a collection of 400 items with one field each
    (1376 x 1020 px PNG) and one item with the classifications of 11,534 cells. Put the fields and
    classifications.csv or classifications.json into one folder, or folders below it, and give
    that folder as manual_dir. Smaller copies of the fields, also .jpg, work as they are.
    """
    BUILDER_CONFIGS: ClassVar = list(BASE_CONFIGS.values())
    GROUP_FEATURE = "image_id"
    OFFICIAL_COUNTS: ClassVar = {"cell": dict(zip(CRIC.names, CELL_COUNTS, strict=True))}

    def __init__(self, *, check_counts: bool = True, skip_damaged: bool = False, **kwargs: Any):
        super().__init__(**kwargs)
        self._check_counts = check_counts
        self._damaged = Damaged(skip=skip_damaged)

    @property
    def _variant(self) -> CricConfig:
        return cast(CricConfig, self.builder_config)

    def microns_per_pixel(self, sizes: Sequence[tuple[int, int]]) -> float | None:
        """Return the resolution from some image sizes; None if the fields have several widths."""
        cells = self._variant.view == "cell"
        width = self._variant.settings.side if cells else PUBLISHED_WIDTH
        return microns_of_fields(MICRONS_PER_PIXEL, width, sizes)

    def _info(self) -> tfds.core.DatasetInfo:
        features = {
            "image": tfds.features.Image(shape=(None, None, 3), encoding_format="png"),
            "label": tfds.features.ClassLabel(names=list(CRIC.names)),
            "filename": tfds.features.Text(),
            "image_id": tfds.features.Text(),
            "nucleus_positions": tfds.features.Tensor(shape=(None, 2), dtype=np.float32),
            "nucleus_classes": tfds.features.Tensor(shape=(None,), dtype=np.int64),
        }
        if self._variant.view == "cell":
            features["cell_id"] = tfds.features.Text()
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict(features),
            supervised_keys=("image", "label"),
            homepage="https://doi.org/10.6084/m9.figshare.c.4960286",
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Iterable]:
        root = folders.manual_folder(
            dl_manager,
            self.name,
            "get the fields and classifications.csv from "
            "https://doi.org/10.6084/m9.figshare.c.4960286 and give their folder as manual_dir.",
        )
        fields = find_fields(
            root,
            positions_width=self._variant.settings.positions_width,
            complete=self._check_counts,
            damaged=self._damaged,
        )
        if self._check_counts and not self._damaged.errors:  # damaged files are reported first
            if len(fields) != NUM_FIELDS:
                raise InputError(
                    f"{root}: {len(fields)} annotated fields, expected {NUM_FIELDS}; complete the "
                    "set, or accept it with check_counts=False (prepare: --nocheck_counts)."
                )
            found = collections.Counter(
                CRIC.names[label] for field in fields for label in field.labels.tolist()
            )
            official = self.OFFICIAL_COUNTS["cell"]
            folders.check_counts(root, "annotated cells", found, official, insist=True)
        return {"train": self._generate_examples(fields)}

    def _generate_examples(self, fields: list[Field]) -> Iterator[tuple[str, dict[str, Any]]]:
        for examples in self._damaged.map(self._examples, fields):
            yield from examples
        self._damaged.report()

    def _examples(self, field: Field) -> Examples:
        image, data = images.read_image(field.path, min_colours=2)
        if self._variant.view == "cell":
            side = max(1, round(self._variant.settings.side * field.size[0] / PUBLISHED_WIDTH))
            return _cells(field, np.asarray(images.rgb(image)), side)
        example = {
            "image": images.encode(image, data),
            "label": int(field.labels.max()),
            "filename": field.path.name,
            "image_id": field.image_id,
            "nucleus_positions": field.positions,
            "nucleus_classes": field.labels,
        }
        return [(field.image_id, example)]


def _cells(field: Field, pixels: np.ndarray, side: int) -> Examples:
    """Cut a square of `side` pixels around every nucleus; the field is mirrored at its border."""
    squares = images.squares_about(pixels, field.positions, side)
    corners = images.upper_left(field.positions, side)
    examples = []
    for number, (nucleus, square, corner) in enumerate(
        zip(field.nuclei, squares, corners, strict=True)
    ):
        inside = field.positions - corner
        shown = ((inside >= 0) & (inside < side)).all(axis=1)
        shown[number] = False
        order = [number, *np.flatnonzero(shown)]
        filename = f"{field.image_id}/{nucleus.cell_id}.png"
        example = {
            "image": images.png(Image.fromarray(square)),
            "label": nucleus.label,
            "filename": filename,
            "image_id": field.image_id,
            "cell_id": nucleus.cell_id,
            "nucleus_positions": inside[order].astype(np.float32),
            "nucleus_classes": field.labels[order],
        }
        examples.append((filename, example))
    return examples
