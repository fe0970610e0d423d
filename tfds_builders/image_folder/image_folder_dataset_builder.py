"""Images of one's own: a folder per class, or a list of images with their classes."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, cast

import tensorflow_datasets as tfds
from absl import logging

from cervix_jax.data.prepared import features_of
from cervix_jax.data.sources import SourceFiles
from cervix_jax.errors import InputError
from cervix_jax.files import folders, images
from cervix_jax.files.damaged import Damaged
from tfds_builders.image_folder.layout import DEFAULT_CSV, Item, Listing, find_items
from tfds_builders.image_folder.settings import (
    BASE_CONFIG,
    ImageFolderConfig,
    image_folder_config,
    of_folder,
    the_one_prepared,
)

__all__ = ["Builder", "ImageFolderConfig", "image_folder_config"]

_OTHER_NAME = (
    "give another setting name (--setting=name=NEW, in training --config.data.settings.name=NEW)"
)


class Builder(tfds.core.GeneratorBasedBuilder):
    """The images of one folder.

    The names of the classes are those of the folder, hence known from the prepared data only.
    With settings: `Builder(config=image_folder_config(group_pattern="parent"), manual_dir=...)`.

    Args:
      manual_dir: the folder; it names the prepared data. Without it, and without a name, the
        data of this kind are opened that are prepared, where it is one folder's.
      config: "default" or a config of `image_folder_config`.
      skip_damaged: leave out images that cannot be read.
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
        skip_damaged: bool = False,
        **kwargs: Any,
    ):
        self._skip_damaged = skip_damaged
        if config is None or config == BASE_CONFIG.name:
            config = BASE_CONFIG
        if isinstance(config, ImageFolderConfig):
            if not manual_dir and config.name == BASE_CONFIG.name:
                config = the_one_prepared(config, kwargs.get("data_dir"), str(self.VERSION))
            config = of_folder(config, manual_dir)
        super().__init__(config=config, **kwargs)
        self._check_prepared()

    @property
    def _variant(self) -> ImageFolderConfig:
        return cast(ImageFolderConfig, self.builder_config)

    def microns_per_pixel(self, sizes: Sequence[tuple[int, int]]) -> float | None:
        """Return the resolution of the images from the settings; None if it is not set."""
        del sizes
        return self._variant.microns_per_pixel or None

    def _info(self) -> tfds.core.DatasetInfo:
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(None, None, 3), encoding_format="png"),
                    "label": tfds.features.ClassLabel(),  # named during preparation or loading
                    "filename": tfds.features.Text(),
                    "group_id": tfds.features.Text(),
                }
            ),
            supervised_keys=("image", "label"),
            metadata=tfds.core.MetadataDict(),
        )

    @staticmethod
    def list_folder(root: Path, **settings: Any) -> Listing:
        """List the images of a folder without preparation; settings as for `layout.find_items`."""
        return find_items(root, **settings)

    def _listing(self, root: Path, *, report: bool = False) -> Listing:
        variant = self._variant
        return find_items(root, csv=variant.csv, group_pattern=variant.group_pattern, report=report)

    @property
    def _prepared(self) -> dict[str, Any]:
        """Return the record of the prepared data; empty if there are none."""
        return dict(cast(tfds.core.MetadataDict, self.info.metadata))

    def _check_prepared(self) -> None:
        """Check that data prepared under this name were prepared with these settings."""
        prepared = self._prepared
        if self._variant.folder and prepared.get("settings", self._variant.settings) != (
            self._variant.settings
        ):
            raise InputError(
                f"image_folder: the data in {self.data_dir} were prepared with "
                f"{prepared['settings']}, not {self._variant.settings}; {_OTHER_NAME}."
            )

    def judge_change(self, folder: Path, before: SourceFiles | None) -> str:
        """Interpret a change of the files for the prepared data.

        Args:
          folder: the folder in its current state.
          before: record of its files; None for data that an earlier version prepared.

        Returns:
          A description of the change; "" if the same images have the same classes and groups.

        Raises:
          InputError: the data are of another folder, or the list of images has changed: it defines
            classes and groups and therefore cannot be ignored.
        """
        prepared, where = self._prepared, f"image_folder: the data in {self.data_dir}"
        root = str(self.data_dir_root)
        said = before.change(SourceFiles.of(folder, root)) if before else ""
        if not {"digest", "folder"} <= set(prepared):
            return said  # its record is lost
        listing = None
        try:
            listing = self._listing(folder)
        except InputError as error:
            said = str(error)
        if listing is not None and prepared["digest"] == _digest(listing):
            if before is None or before.folder != str(folder.resolve()):
                return ""
            newest = max(item.path.stat().st_mtime for item in listing.items)
            return said if newest > before.newest else ""
        if str(folder.resolve()) != prepared["folder"]:
            raise InputError(
                f"{where} were prepared from {prepared['folder']}, which is not {folder}; "
                f"{_OTHER_NAME}."
            )
        path = folder / (self._variant.csv or DEFAULT_CSV)
        then, now = self._list_then(prepared, path), _list_digest(path)
        # If both list and images are gone, nothing contradicts the prepared data.
        if then != now and (now or listing is not None):
            what = "was added" if not then else "was changed" if now else "was removed"
            raise InputError(
                f"{path}: {what} since the data in {self.data_dir} were prepared, so their images, "
                f"classes or groups are out of date; delete the folder {self.data_dir} and run "
                "again to prepare them anew, or, to keep both, give another data_dir "
                "(--data_dir=NEW, in training --config.data.data_dir=NEW)."
            )
        return said or "other images, classes or groups"

    def _list_then(self, prepared: dict[str, Any], path: Path) -> str:
        """Return the digest of the image list at preparation; "" if there was none."""
        if "list" in prepared:
            return prepared["list"]
        # For data that an earlier version prepared only the time is recorded.
        made = (Path(self.data_dir) / "dataset_info.json").stat().st_mtime
        return "" if path.is_file() and path.stat().st_mtime > made else _list_digest(path)

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Iterable]:
        root = folders.manual_folder(
            dl_manager, self.name, "give the folder that holds one folder per class as manual_dir."
        )
        known = self._variant.folder
        if not known or root.resolve() != Path(known):
            raise InputError(
                f"image_folder: manual_dir={root} differs from the folder with which the builder "
                f"was created ({known or 'none'}); use one folder for the builder and its "
                "preparation."
            )
        listing = self._listing(root, report=True)
        cast(tfds.features.ClassLabel, features_of(self.info)["label"]).names = list(
            listing.class_names
        )
        cast(tfds.core.MetadataDict, self.info.metadata).update(
            folder=known,
            settings=self._variant.settings,
            digest=_digest(listing),
            list=_list_digest(root / (self._variant.csv or DEFAULT_CSV)),
        )
        return {"train": self._generate_examples(listing)}

    def _generate_examples(self, listing: Listing) -> Iterator[tuple[str, dict[str, Any]]]:
        first: dict[bytes, Item] = {}
        copies: list[tuple[Item, Item]] = []
        damaged, readable = Damaged(skip=self._skip_damaged), set()
        for item, example, digest in damaged.map(_example, listing.items):
            readable.add(item.label)
            original = first.setdefault(digest, item)
            if original is not item:
                copies.append((original, item))
            yield item.filename, example
        damaged.report()
        if gone := [n for k, n in enumerate(listing.class_names) if k not in readable]:
            raise InputError(
                f"{self._variant.folder}: every image of {', '.join(gone)} is damaged; repair one, "
                "or move these classes out of the folder."
            )
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
    """Return the example of an item and the digest of its file."""
    image, data = images.read_image(item.path)
    example = {
        "image": images.encode(image, data),
        "label": item.label,
        "filename": item.filename,
        "group_id": item.group,
    }
    return item, example, hashlib.sha256(data).digest()


def _list_digest(path: Path) -> str:
    """Return the digest of a list of images; "" if there is none."""
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""


def _digest(listing: Listing) -> str:
    """Return the digest of a folder's content: names, classes, groups and sizes of files."""
    total = hashlib.sha256(repr(listing.class_names).encode())
    for item in listing.items:
        entry = (item.filename, item.label, item.group, item.path.stat().st_size)
        total.update(repr(entry).encode("utf-8", "surrogateescape"))
    return total.hexdigest()
