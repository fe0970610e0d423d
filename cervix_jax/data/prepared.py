"""The prepared examples of a data set, and the index and fingerprints stored beside them."""

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import tensorflow_datasets as tfds
from absl import logging

from cervix_jax.data.duplicates import (
    MAX_DISTANCE,
    MIN_CORRELATION,
    find_duplicates,
    joined_groups,
)
from cervix_jax.data.fingerprints import THUMBNAIL_SIDE, Fingerprints, load_digests
from cervix_jax.data.sources import SourceFiles
from cervix_jax.errors import InputError
from cervix_jax.files import atomic, images

# The index file beside the prepared examples. With it, opening a data set does not read gigabytes
# of pixels to get the labels.
INDEX_FILE = "examples.json"
FINGERPRINTS_FILE = "fingerprints.npz"
JOINED_FILE = "joined.json"


@dataclasses.dataclass(frozen=True)
class Records(Sequence):
    """Prepared examples; picklable.

    Attributes:
      records: the reader of TFDS.
      path: the folder of the prepared data.
    """

    records: Sequence[Mapping[str, Any]]
    path: Path

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index):
        # Python ends a loop at an IndexError; ArrayRecord raises another type.
        if not -len(self) <= index < len(self):
            raise IndexError(f"example {index} of {len(self)}")
        try:
            return self.records[index]
        except Exception as error:  # ArrayRecord and TFDS raise many types for damaged files
            raise InputError(
                f"the prepared data in {self.path} are damaged (example {index}: {error}); delete "
                "that folder and run again."
            ) from error


@dataclasses.dataclass(frozen=True)
class Taken(Sequence):
    """Some of the prepared examples, in a given order; picklable.

    Attributes:
      records: the prepared examples.
      indices: int [n], positions in `records`.
    """

    records: Sequence[Mapping[str, Any]]
    indices: np.ndarray

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index):  # as an index, never as a slice
        example: Any = self.records[int(self.indices[index])]
        return example


def encoded_records(builder: tfds.core.DatasetBuilder) -> Records:
    """Return all examples, with images as encoded bytes."""
    features = features_of(builder.info)
    pictures = {key for key, f in features.items() if isinstance(f, tfds.features.Image)}
    decoders = {key: tfds.decode.SkipDecoding() for key in pictures}
    # TFDS decorates this method, so its arguments have no types.
    source = cast(Any, builder).as_data_source("train", decoders=decoders)
    return Records(source, Path(builder.data_dir))


def features_of(info: tfds.core.DatasetInfo) -> tfds.features.FeaturesDict:
    """Return the features of an example by name; TFDS leaves the type open."""
    return cast(tfds.features.FeaturesDict, info.features)


def _read_index(builder) -> dict[str, list]:
    """Read file name, label and group of every example from the prepared files."""
    source = encoded_records(builder)
    index: dict[str, list] = {"filenames": [], "labels": [], "groups": []}
    for position in range(len(source)):
        example = source[position]
        index["filenames"].append(_text(example["filename"]))
        index["labels"].append(int(example["label"]))
        index["groups"].append(_text(example[builder.GROUP_FEATURE]))
    return index


def write_index(
    builder: tfds.core.DatasetBuilder,
    manual: Path | None = None,
    files: SourceFiles | None = None,
) -> dict[str, Any]:
    """List the examples, and store the list in a file if the folder is writable.

    Args:
      builder: the builder, whose data are prepared.
      manual: folder of the raw files, if known.
      files: record of these files, if known.

    Returns:
      `manual_dir`, `files` and, per example, `filenames`, `labels` and `groups`.

    Raises:
      InputError: the data are damaged.
    """
    full = {
        "manual_dir": str(manual.resolve()) if manual else None,
        "files": files.to_json() if files else None,
        **_read_index(builder),
    }
    try:
        atomic.write_json(Path(builder.data_dir) / INDEX_FILE, full)
    except InputError:
        logging.info(
            "%s is read-only, so the list of its examples is made again each time.",
            builder.data_dir,
        )
    return full


def load_index(builder: tfds.core.DatasetBuilder) -> dict[str, Any]:
    """Return the result of `write_index`, from its file if that is intact."""
    expected = (builder.info.splits or {})["train"].num_examples
    try:
        text = (Path(builder.data_dir) / INDEX_FILE).read_text(encoding="utf-8")
        index = json.loads(text)
        kinds = {"filenames": str, "labels": int, "groups": str}
        whole = all(
            len(index[key]) == expected and all(type(value) is kind for value in index[key])
            for key, kind in kinds.items()
        )
        label = cast(tfds.features.ClassLabel, features_of(builder.info)["label"])
        known = range(label.num_classes or 0)
        if whole and "manual_dir" in index and all(label in known for label in index["labels"]):
            return index
    except (OSError, ValueError, KeyError, TypeError):
        pass  # prepared by other means, or interrupted before the index was written: list again
    return write_index(builder)


def load_fingerprints(
    source: Sequence[Mapping[str, Any]], *, progress: bool = False
) -> Fingerprints:
    """Return the fingerprints of every example, read from beside the prepared data or computed.

    Args:
      source: examples whose images are encoded bytes; fingerprints of `Records` are also stored
        if the folder is writable.
      progress: whether to show a bar during the computation.

    Raises:
      InputError: an image is damaged.
    """
    path = source.path / FINGERPRINTS_FILE if isinstance(source, Records) else None
    if path is not None:
        try:
            stored = Fingerprints.load(path)
            if len(stored) == len(source):
                return stored
        except (FileNotFoundError, InputError):
            pass  # prepared by an earlier version, or interrupted before the write
    pictures = (_pixels(source[index], index) for index in range(len(source)))
    made = Fingerprints.of(pictures, total=len(source), progress=progress)
    if path is not None:
        try:
            made.save(path)
        except InputError:
            logging.info(
                "%s is read-only, so its images are compared again each time.", path.parent
            )
    return made


def stored_digests(source: Sequence[Mapping[str, Any]]) -> tuple[str, ...] | None:
    """Return the digests of every example if `load_fingerprints` has stored them; else None."""
    if not isinstance(source, Records):
        return None
    try:
        stored = load_digests(source.path / FINGERPRINTS_FILE)
    except (FileNotFoundError, InputError):
        return None
    return stored if len(stored) == len(source) else None


def load_joined_groups(
    source: Sequence[Mapping[str, Any]], groups: Sequence[str], prints: Fingerprints
) -> tuple[str, ...]:
    """Return groups merged where they share a duplicate, see `duplicates.joined_groups`.

    Args:
      source: the examples; for `Records` the groups are stored beside the data if the folder is
        writable, since the comparison of large sets takes minutes.
      groups: N group names.
      prints: fingerprints of the N images.
    """
    rule = (MAX_DISTANCE, MIN_CORRELATION, THUMBNAIL_SIDE)
    key = hashlib.sha256(repr((rule, tuple(groups), prints.digests)).encode()).hexdigest()
    path = source.path / JOINED_FILE if isinstance(source, Records) else None
    if path is not None:
        try:
            stored = atomic.read_json(path) or {}
            if stored.get("key") == key:
                return tuple(stored["groups"])
        except (InputError, KeyError, TypeError):
            pass
    made = joined_groups(groups, find_duplicates(prints))
    if path is not None:
        try:
            atomic.write_json(path, {"key": key, "groups": made})
        except InputError:
            logging.info(
                "%s is read-only, so its images are compared again each time.", path.parent
            )
    return tuple(made)


def _pixels(example: Mapping[str, Any], index: int) -> np.ndarray:
    return np.asarray(images.rgb(images.decode(example["image"], f"example {index}")))


def _text(value: Any) -> str:
    return value.decode("utf-8") if isinstance(value, bytes) else str(value)
