"""From the name of a data set to its prepared examples.

A data set is `<builder>/<config>`, e.g. `sipakmed/single_cell`. It is built on first use with
TensorFlow Datasets (without TensorFlow) as ArrayRecord files and read by random access.
"""

import dataclasses
import functools
import importlib
import importlib.util
import inspect
import time
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from absl import logging
from google.protobuf import json_format
from PIL import Image

from cervix_jax.data.fingerprints import Fingerprints
from cervix_jax.data.prepared import (
    Records,
    Taken,
    encoded_records,
    features_of,
    load_fingerprints,
    load_index,
    write_index,
)
from cervix_jax.data.settings import REGISTERED, BuilderSettings, Setting
from cervix_jax.data.splits import groups_known
from cervix_jax.errors import InputError, did_you_mean
from cervix_jax.files.paths import user_path
from cervix_jax.files.storage import storage_problem

BUILDERS = ("cervix_phantom", "cric", "herlev", "image_folder", "sipakmed")
# What TFDS raises for a dataset_info.json that it did not write.
_DAMAGED = (AssertionError, json_format.ParseError)


@dataclasses.dataclass(frozen=True)
class Dataset:
    """A prepared data set; arrays and sources share one order.

    Attributes:
      name: `<builder>/<config>`.
      class_names: names of the classes, in the order of the label numbers.
      filenames: one unique name per example.
      labels: int64 [N] in [0, number of classes).
      groups: one group name per example; examples of one group must not be split apart.
      source: picklable random access to dicts whose image features are encoded bytes.
      decoded_source: the same with images as uint8 [h, w, channels].
      version: version of the prepared data.
      group_feature: name of the feature that holds the groups.
      info: the TFDS description (features, citation).
      path: folder of the prepared data.
    """

    name: str
    class_names: tuple[str, ...]
    filenames: tuple[str, ...]
    labels: np.ndarray
    groups: tuple[str, ...]
    source: Sequence[Mapping[str, Any]]
    decoded_source: Sequence[Mapping[str, Any]]
    version: str
    group_feature: str
    info: tfds.core.DatasetInfo
    path: Path

    def __len__(self) -> int:
        return len(self.filenames)

    @property
    def num_examples(self) -> int:
        """Number of examples."""
        return len(self.filenames)

    @property
    def features(self) -> tfds.features.FeaturesDict:
        """What an example has, by name."""
        return features_of(self.info)

    @property
    def class_counts(self) -> dict[str, int]:
        """Examples per class name, in the order of the labels."""
        counts = np.bincount(self.labels, minlength=len(self.class_names))
        return dict(zip(self.class_names, counts.tolist(), strict=True))

    @property
    def digests(self) -> tuple[str, ...]:
        """Digest of the pixels of every example, see `fingerprints.content_digest`."""
        return self.fingerprints().digests

    @functools.cached_property
    def _fingerprints(self) -> Fingerprints:
        return load_fingerprints(self.source)

    def fingerprints(self) -> Fingerprints:
        """What identifies every example; stored beside the prepared data, made where absent."""
        return self._fingerprints

    @property
    def groups_known(self) -> bool:
        """Whether anything is known of which examples belong together."""
        return groups_known(self.filenames, self.groups)

    def take(self, indices: np.ndarray) -> "Dataset":
        """The examples at positions int [n], in their order."""
        taken = dataclasses.replace(
            self,
            filenames=tuple(self.filenames[int(index)] for index in indices),
            labels=self.labels[indices],
            groups=tuple(self.groups[int(index)] for index in indices),
            source=Taken(self.source, indices),
            decoded_source=Taken(self.decoded_source, indices),
        )
        vars(taken)["_fingerprints"] = self.fingerprints().take(indices)
        return taken

    def described(self, **columns: Any) -> "Dataset":
        """The same images with other `class_names`, `labels`, `filenames` or `groups`."""
        other = dataclasses.replace(self, **columns)
        if "_fingerprints" in vars(self):
            vars(other)["_fingerprints"] = self.fingerprints()
        return other

    def encoded_image(self, index: int) -> bytes:
        """The PNG or JPEG file of example `index`."""
        return self.source[int(index)]["image"]


def find_builder(name: str) -> type[tfds.core.GeneratorBasedBuilder]:
    """The TFDS builder class of `<builder>/<config>`.

    Raises:
      InputError: there is no such builder, or it has no such config.
    """
    return _find(name)[0]


def _find(name: str) -> tuple[type[tfds.core.GeneratorBasedBuilder], str]:
    """Builder class and config name of `name`."""
    short, _, config = str(name).partition("/")
    if short not in BUILDERS:
        raise InputError(
            f"data set {name!r}: there is no builder {short!r}{did_you_mean(short, BUILDERS)}; "
            f"choose one of {', '.join(BUILDERS)}."
        )
    builder_cls = _builder(short)
    configs = tuple(builder_cls.builder_configs)
    if config not in configs:
        problem = f"there is no config {config!r}" if config else "a config is missing"
        raise InputError(
            f"data set {name!r}: {problem}{did_you_mean(config, configs)}; "
            f"choose one of {', '.join(f'{short}/{each}' for each in configs)}."
        )
    return builder_cls, config


def _builder(short: str) -> type[tfds.core.GeneratorBasedBuilder]:
    return importlib.import_module(f"tfds_builders.{short}.{short}_dataset_builder").Builder


def dataset_names() -> tuple[str, ...]:
    """Every `<builder>/<config>`."""
    return tuple(f"{s}/{config}" for s in BUILDERS for config in _builder(s).builder_configs)


def load(
    name: str,
    *,
    manual_dir: str | Path | None = None,
    data_dir: str | Path | None = None,
    settings: Mapping[str, Any] | None = None,
    check_counts: bool = True,
) -> Dataset:
    """Open a data set, preparing it on first use.

    Args:
      name: `<builder>/<config>`.
      manual_dir: folder with the files as they were downloaded, for sets that need one.
      data_dir: folder of prepared data sets; "" or None is that of TFDS.
      settings: variations of the config, for builders that have any.
      check_counts: insist on the official number of examples in every class.

    Raises:
      InputError: the name, a folder, a setting or the data cannot be used.
    """
    builder_cls, config = _find(name)
    manual = _existing_folder(manual_dir)
    kwargs: dict[str, Any] = {"config": _vary(name, config, settings)}
    if data_dir:
        kwargs["data_dir"] = user_path(data_dir, "data_dir")
    # What else a builder wants to know; the folder decides the classes of `image_folder`.
    offered = {"check_counts": check_counts, "manual_dir": manual}
    accepted = inspect.signature(builder_cls.__init__).parameters
    kwargs |= {key: value for key, value in offered.items() if key in accepted}
    try:
        builder = builder_cls(**kwargs)
        if not _is_prepared(builder):
            builder = _prepare(name, builder, manual, lambda: builder_cls(**kwargs))
    except _DAMAGED as error:
        raise InputError(
            f"{name}: the description of the prepared data in "
            f"{kwargs.get('data_dir', 'the default data_dir')} is damaged ({error}); delete the "
            "folder of that data set there and run again."
        ) from error
    except OSError as error:
        raise InputError(
            f"{name}: cannot be prepared under {kwargs.get('data_dir', 'the default data_dir')} "
            f"({error.strerror or error}: {error.filename}); give a data_dir that can be written."
        ) from error
    except RuntimeError as error:  # of ArrayRecord
        problem = storage_problem(error)
        if problem is None:
            raise
        raise InputError(
            f"{name}: cannot be prepared under {kwargs.get('data_dir', 'the default data_dir')} "
            f"({problem}); make space, or give another data_dir."
        ) from error
    dataset = _open(name, builder, manual)
    if check_counts:
        _check_counts(dataset, config, builder_cls)
    return dataset


def known_settings(name: str) -> dict[str, Setting]:
    """What can be varied of the data set `<builder>/<config>`; nothing where it is unknown."""
    short, _, config = str(name).partition("/")
    registered = _registered(short)
    return registered.of_config(config) if registered else {}


def parse_data_settings(name: str, given: Sequence[str]) -> dict[str, Any]:
    """The settings of a data set from the `<setting>=<value>` texts of a command line.

    Raises:
      InputError: the data set has no such setting, or the value is of another type.
    """
    known = known_settings(name)
    settings = {}
    for item in given:
        key, equals, text = item.partition("=")
        if not equals or key not in known:
            hint = did_you_mean(key, known) if equals else ""
            raise InputError(
                f"--setting={item}: {name} takes {', '.join(known) or 'no settings'}, each as "
                f"name=value{hint}."
            )
        try:
            settings[key] = known[key].parsed(text)
        except ValueError as error:
            raise InputError(f"--setting={item}: give {known[key].wanted()} for {key}.") from error
    return settings


def _registered(short: str) -> BuilderSettings | None:
    """The settings of a builder: its module `settings`, where it has one, registers them."""
    if short not in BUILDERS:
        return None
    module = f"tfds_builders.{short}.settings"
    if importlib.util.find_spec(module):
        importlib.import_module(module)
    return REGISTERED.get(short)


def _vary(name: str, config: str, settings: Mapping[str, Any] | None) -> Any:
    """The config itself, or a variation of it by `settings`."""
    if not settings:
        return config
    registered = _registered(name.partition("/")[0])
    if registered is None:
        raise InputError(f"{name} has no settings, but {', '.join(settings)} is given; remove it.")
    return registered.vary(config, **settings)


def _prepare(name: str, builder, manual: Path | None, reopen) -> tfds.core.DatasetBuilder:
    """Build into a temporary folder that is renamed when complete."""
    if manual is None and builder.MANUAL_DOWNLOAD_INSTRUCTIONS:
        manual = Path(builder.data_dir_root) / "downloads" / "manual"
        if not manual.is_dir():
            raise InputError(
                f"{name} is not prepared under {builder.data_dir_root} and its files cannot be "
                "downloaded automatically; give manual_dir=/path/to/the/unpacked/files (what must "
                f"lie there: `python -m cervix_jax.prepare --dataset={name} --instructions`)."
            )
    if Path(builder.data_dir).exists():
        raise InputError(
            f"{name}: {builder.data_dir} is not a complete prepared data set; delete that folder "
            "and run again."
        )
    logging.info("Preparing %s in %s; this happens once.", name, builder.data_dir)
    start = time.monotonic()
    config = tfds.download.DownloadConfig(manual_dir=manual) if manual else None
    try:
        with warnings.catch_warnings():
            # For the threads that read images: what Pillow only warns of is refused.
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            builder.download_and_prepare(download_config=config, file_format="array_record")
    except OSError:
        # Another process may have finished the same data set first: its result is as good.
        builder = reopen()
        if not _is_prepared(builder):
            raise
    seconds = time.monotonic() - start
    logging.info("Prepared %s in %.0f s: %s", name, seconds, builder.data_dir)
    write_index(builder, manual)
    load_fingerprints(encoded_records(builder), progress=True)
    return builder


def _is_prepared(builder) -> bool:
    """Whether the folder was renamed from its temporary name, which happens when all is written."""
    return (Path(builder.data_dir) / "dataset_info.json").is_file()


def _open(name: str, builder, manual: Path | None) -> Dataset:
    path = Path(builder.data_dir)
    try:
        index = load_index(builder)
        source = encoded_records(builder)
        decoded = Records(builder.as_data_source("train"), path)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise InputError(
            f"{name}: the prepared data in {path} are damaged ({error}); "
            "delete that folder and run again."
        ) from error
    recorded = index["manual_dir"]
    if manual is not None and recorded and Path(recorded) != manual.resolve():
        logging.warning(
            "%s was prepared from %s, not from the given manual_dir %s; "
            "to prepare it anew delete %s or give another data_dir.",
            name,
            recorded,
            manual,
            path,
        )
    return Dataset(
        name=name,
        class_names=tuple(builder.info.features["label"].names),
        filenames=tuple(index["filenames"]),
        labels=np.asarray(index["labels"], np.int64),
        groups=tuple(index["groups"]),
        source=source,
        decoded_source=decoded,
        version=str(builder.version),
        group_feature=builder.GROUP_FEATURE,
        info=builder.info,
        path=path,
    )


def _check_counts(dataset: Dataset, config: str, builder_cls) -> None:
    official = getattr(builder_cls, "OFFICIAL_COUNTS", {}).get(config)
    if official is None or dict(official) == dataset.class_counts:
        return
    wrong = [
        f"{key} {dataset.class_counts.get(key, 0)} instead of {count}"
        for key, count in official.items()
        if dataset.class_counts.get(key, 0) != count
    ]
    raise InputError(
        f"{dataset.name}: the prepared data in {dataset.path} do not have the official number of "
        f"examples ({', '.join(wrong)}); delete that folder and prepare the complete set, or "
        "accept it with check_counts=False (prepare: --nocheck_counts)."
    )


def count_groups(dataset: Dataset) -> dict[str, int]:
    """Number of groups that each class has, in the order of the labels."""
    pairs = {(int(y), group) for y, group in zip(dataset.labels, dataset.groups, strict=True)}
    counts = Counter(label for label, _ in pairs)
    return {name: counts[label] for label, name in enumerate(dataset.class_names)}


def _existing_folder(manual_dir: str | Path | None) -> Path | None:
    if manual_dir is None or str(manual_dir) == "":
        return None
    path = user_path(manual_dir, "manual_dir")
    if not path.is_dir():
        problem = "is not a folder" if path.exists() else "does not exist"
        raise InputError(f"manual_dir={manual_dir}: {problem}; give the folder of the images.")
    try:
        empty = not any(path.iterdir())
    except OSError as error:
        raise InputError(
            f"manual_dir={manual_dir}: cannot be listed ({error.strerror}); check its permissions."
        ) from error
    if empty:
        raise InputError(f"manual_dir={manual_dir}: is empty; give the folder of the images.")
    return path
