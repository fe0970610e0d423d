"""Images of one's own: a folder per class, or a list of images with their classes."""

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, ClassVar, cast

import tensorflow_datasets as tfds
from absl import logging

from cervix_jax.data.prepared import features_of
from cervix_jax.errors import InputError
from cervix_jax.files import folders, images
from cervix_jax.files.threads import map_in_order
from tfds_builders.image_folder.layout import Item, Listing, find_items
from tfds_builders.image_folder.settings import (
    BASE_CONFIG,
    ImageFolderConfig,
    image_folder_config,
    of_folder,
)

__all__ = ["Builder", "ImageFolderConfig", "image_folder_config"]

# Images with as few colours are masks, or empty.
MAX_MASK_COLOURS = 8


class Builder(tfds.core.GeneratorBasedBuilder):
    """The images of one folder.

    The names of the classes are those of the folder, hence known from the prepared data only.
    With settings: `Builder(config=image_folder_config(group_pattern="parent"), manual_dir=...)`.

    Args:
      manual_dir: the folder; it names the prepared data.
      config: "default" or a config of `image_folder_config`.
      **kwargs: see `tfds.core.DatasetBuilder`.

    Raises:
      InputError: the folder is not given, or the name is taken by another folder.
    """

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: ClassVar = {"1.0.0": "First version."}
    MANUAL_DOWNLOAD_INSTRUCTIONS = """
    Give as manual_dir a folder of your own images: one folder per class with .bmp, .jpg, .png or
    .tif files in it, deeper folders allowed; or images in any folders and a file images.csv with
    the columns path, label and, where known, group (patient, slide), paths relative to manual_dir.
    """
    BUILDER_CONFIGS: ClassVar = [BASE_CONFIG]
    GROUP_FEATURE = "group_id"

    def __init__(
        self,
        *,
        manual_dir: str | Path | None = None,
        config: str | ImageFolderConfig | None = None,
        **kwargs: Any,
    ):
        if config is None or config == BASE_CONFIG.name:
            config = BASE_CONFIG
        if isinstance(config, ImageFolderConfig):
            config = of_folder(config, manual_dir)
        super().__init__(config=config, **kwargs)
        self._check_prepared()

    @property
    def _variant(self) -> ImageFolderConfig:
        return cast(ImageFolderConfig, self.builder_config)

    def _info(self) -> tfds.core.DatasetInfo:
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(None, None, 3), encoding_format="png"),
                    "label": tfds.features.ClassLabel(),  # named when prepared or restored
                    "filename": tfds.features.Text(),
                    "group_id": tfds.features.Text(),
                }
            ),
            supervised_keys=("image", "label"),
            metadata=tfds.core.MetadataDict(),
        )

    def _listing(self, root: Path) -> Listing:
        return find_items(root, **self._variant.settings)

    def _check_prepared(self) -> None:
        """Compare prepared data with the folder that is given now."""
        metadata = cast(tfds.core.MetadataDict, self.info.metadata)
        folder = self._variant.folder
        try:
            prepared = {key: metadata[key] for key in ("folder", "settings", "digest")}
        except KeyError:
            return  # not prepared yet
        where = f"image_folder: the data in {self.data_dir}"
        if folder and prepared["settings"] != self._variant.settings:
            raise InputError(
                f"{where} were prepared with {prepared['settings']}, not {self._variant.settings}; "
                "give another setting name."
            )
        if not folder or not Path(folder).is_dir():
            return
        try:
            unchanged = prepared["digest"] == _digest(self._listing(Path(folder)))
        except InputError:
            unchanged = False
        if unchanged:
            return
        if folder != prepared["folder"]:
            raise InputError(
                f"{where} were prepared from {prepared['folder']}, which is not {folder}; give "
                "another setting name."
            )
        logging.warning(
            "%s are those of %s when it was prepared, and the folder has changed since; to prepare "
            "it anew delete that folder, or give another setting name.",
            where,
            folder,
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Iterable]:
        root = folders.manual_folder(
            dl_manager, self.name, "give the folder that holds one folder per class as manual_dir."
        )
        known = self._variant.folder
        if not known or root.resolve() != Path(known):
            raise InputError(
                f"image_folder: the images are to be read from {root}, but the data set is of "
                f"{known or 'no folder'}; give both the same manual_dir."
            )
        listing = self._listing(root)
        cast(tfds.features.ClassLabel, features_of(self.info)["label"]).names = list(
            listing.class_names
        )
        cast(tfds.core.MetadataDict, self.info.metadata).update(
            folder=known, settings=self._variant.settings, digest=_digest(listing)
        )
        return {"train": self._generate_examples(listing)}

    def _generate_examples(self, listing: Listing) -> Iterator[tuple[str, dict[str, Any]]]:
        first: dict[bytes, Item] = {}
        copies: list[tuple[Item, Item]] = []
        for item, example, digest in map_in_order(_example, listing.items):
            original = first.setdefault(digest, item)
            if original is not item:
                copies.append((original, item))
            yield item.filename, example
        if copies:
            across = [pair for pair in copies if pair[0].label != pair[1].label]
            pair = (across or copies)[0]
            logging.warning(
                "image_folder: %d files are copies of others, %d of them in another class, "
                "e.g. %s and %s.",
                len(copies),
                len(across),
                pair[0].filename,
                pair[1].filename,
            )


def _example(item: Item) -> tuple[Item, dict[str, Any], bytes]:
    """The example of an item and the digest of its file."""
    image, data = images.read_image(item.path)
    colours = image.getcolors(MAX_MASK_COLOURS)
    if colours is not None:
        raise InputError(
            f"{item.path}: has only {len(colours)} colours; is it a mask, or empty? Move it out of "
            "the folder of images."
        )
    example = {
        "image": images.encode(image, data),
        "label": item.label,
        "filename": item.filename,
        "group_id": item.group,
    }
    return item, example, hashlib.sha256(data).digest()


def _digest(listing: Listing) -> str:
    """Tells whether a folder still holds the same: names, classes, groups and sizes of files."""
    total = hashlib.sha256(repr(listing.class_names).encode())
    for item in listing.items:
        entry = (item.filename, item.label, item.group, item.path.stat().st_size)
        total.update(repr(entry).encode("utf-8", "surrogateescape"))
    return total.hexdigest()
