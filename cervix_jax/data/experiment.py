"""The data of one run, as configured: data set, split and batches."""

import dataclasses

import ml_collections
import numpy as np
from jax.sharding import Mesh

from cervix_jax.data import catalog
from cervix_jax.data.augment.settings import parse_settings
from cervix_jax.data.divide import split_dataset
from cervix_jax.data.pipeline import Pipeline
from cervix_jax.data.resolution import network_scale
from cervix_jax.data.splits import SPLITS, Leakage, leakage
from cervix_jax.errors import InputError
from cervix_jax.files.paths import user_path


@dataclasses.dataclass(frozen=True)
class ExperimentData:
    """A data set divided by a split protocol, with its batches.

    Attributes:
      dataset: the prepared data set.
      splits: str [N], "train", "val" or "test" for each example.
      pipeline: batches of any subset.
      inherited: digests of the images on which the initial weights were trained, by the run that
        this run starts from.
    """

    dataset: catalog.Dataset
    splits: np.ndarray
    pipeline: Pipeline
    inherited: frozenset[str] = frozenset()

    def indices(self, split: str) -> np.ndarray:
        """Positions of the examples of one split, int [n], ascending.

        Raises:
          InputError: the split is unknown or empty.
        """
        found = np.flatnonzero(self.splits == split)
        if not len(found):
            raise InputError(
                f"--split={split} has no example; choose one of "
                f"{', '.join(sorted(set(self.splits.tolist())))}."
            )
        return found

    def leakage(self, split: str) -> Leakage:
        """Count the examples of `split` whose group influenced the model, if groups are known."""
        others = np.where(self.splits == "test", "unused", self.splits)
        return leakage(
            np.where(self.splits == split, "test", others),
            self.dataset.groups,
            self.dataset.filenames,
            self.is_inherited if self.inherited else None,
        )

    @property
    def is_inherited(self) -> np.ndarray:
        """Examples on which the weights were trained before this run, bool [N]."""
        return np.asarray([digest in self.inherited for digest in self.dataset.digests], bool)

    def divided_by(self, config: ml_collections.ConfigDict) -> "ExperimentData":
        """Return the same data set and batches, divided by another config."""
        return dataclasses.replace(self, splits=divide(self.dataset, config))

    def describe(self) -> dict:
        """Return the description of the data for a checkpoint and env.json, JSON-ready."""
        return {
            "name": self.dataset.name,
            "title": self.dataset.title,
            "version": self.dataset.version,
            "class_names": list(self.dataset.class_names),
            "group_feature": self.dataset.group_feature,
            "microns_per_pixel": self.dataset.microns_per_pixel,
            "image_size": self.dataset.image_size and list(self.dataset.image_size),
            "examples": {split: int((self.splits == split).sum()) for split in SPLITS},
            "leakage": self.leakage("test").share,
        }


def open_data(
    config: ml_collections.ConfigDict,
    mesh: Mesh | None = None,
    *,
    manual_dir: str = "",
    data_dir: str = "",
    progress: bool = True,
) -> ExperimentData:
    """Prepare (on first use) and divide the data set of a config.

    Args:
      config: the run's config.
      mesh: devices that share each batch; None uses all devices.
      manual_dir: folder of the raw files; replaces the folder of the config.
      data_dir: folder of prepared data; replaces the folder of the config.
      progress: whether to show a bar while decoding.

    Raises:
      InputError: the data set of the config cannot be found, read or divided.
    """
    dataset = open_dataset(config, manual_dir=manual_dir, data_dir=data_dir)
    return with_batches(config, dataset, divide(dataset, config), mesh, progress=progress)


def with_absolute_folders(config: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
    """Return a copy of a config with absolute data folders, valid from any working directory.

    Raises:
      InputError: a folder is not a valid path.
    """
    located = config.copy_and_resolve_references()
    for name in ("manual_dir", "data_dir"):
        if given := located.data[name]:
            located.data[name] = str(user_path(given, f"config.data.{name}").absolute())
    return located


def open_dataset(
    config: ml_collections.ConfigDict, *, manual_dir: str = "", data_dir: str = ""
) -> catalog.Dataset:
    """Open the data set of a config, prepared on first use; arguments and errors as `open_data`."""
    wanted = config.data
    return catalog.load(
        wanted.dataset,
        manual_dir=manual_dir or wanted.manual_dir,
        data_dir=data_dir or wanted.data_dir,
        settings={name: value for name, value in wanted.settings.items() if value is not None},
        check_counts=wanted.check_counts,
    )


def with_batches(
    config: ml_collections.ConfigDict,
    dataset: catalog.Dataset,
    splits: np.ndarray,
    mesh: Mesh | None = None,
    *,
    augmented: bool = True,
    progress: bool = True,
) -> ExperimentData:
    """Return a divided data set with its batches, created as configured.

    Args:
      config: the run's config.
      dataset: the data set.
      splits: str [N], "train", "val" or "test".
      mesh: devices that share each batch; None uses all devices.
      augmented: whether training batches have the margin from which the augmentation takes
        pixels; not needed without training.
      progress: whether to show a bar while decoding.
    """
    settings = parse_settings(config.augment.to_dict() if augmented else {})
    placement = config.data.placement
    if not augmented and placement == "device":
        placement = "auto"  # a finished run may be read on machines with less memory
    pipeline = Pipeline(
        dataset,
        mesh,
        image_size=config.image_size,
        resize=config.data.resize,
        scale=network_scale(config.data, dataset.microns_per_pixel, dataset.name),
        placement=placement,
        margin=settings.margin(config.image_size, config.data.resize),
        fill=settings.fill,
        progress=progress,
    )
    return ExperimentData(dataset, splits, pipeline)


def divide(dataset: catalog.Dataset, config: ml_collections.ConfigDict) -> np.ndarray:
    """Return the splits of a data set as configured, str [N]."""
    return split_dataset(
        dataset,
        protocol=config.split.protocol,
        fold=config.split.fold,
        folds=config.split.folds,
        seed=config.split.seed,
        refit=config.split.refit,
    )
