"""A prepared data set: its examples, their identity and their origin."""

import dataclasses
import functools
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from cervix_jax.data import nucleus_maps
from cervix_jax.data.fingerprints import Fingerprints
from cervix_jax.data.prepared import (
    Taken,
    features_of,
    load_fingerprints,
    load_joined_groups,
    stored_digests,
)
from cervix_jax.data.splits import groups_known


@dataclasses.dataclass(frozen=True)
class Dataset:
    """A prepared data set; arrays and sources share one order.

    Attributes:
      name: `<builder>/<config>`.
      class_names: names of the classes, in the order of the label numbers.
      filenames: one unique name per example.
      labels: int64 [N] in [0, number of classes).
      groups: one group name per example; a split must keep the examples of a group together.
      source: picklable random access to dicts whose image features are encoded bytes.
      decoded_source: the same with images as uint8 [h, w, channels].
      version: version of the prepared data.
      group_feature: name of the feature that holds the groups.
      info: the TFDS description (features, citation).
      path: folder of the prepared data.
      microns_per_pixel: resolution of the prepared images; None if unknown, as in resized copies.
      image_size: width and height of the images, read from a few of them; None if they differ.
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
    microns_per_pixel: float | None = None
    image_size: tuple[int, int] | None = None

    def __len__(self) -> int:
        return len(self.filenames)

    @property
    def title(self) -> str:
        """Display name: the folder's name for the user's own folder, else `<builder>/<config>`."""
        metadata = self.info.metadata
        folder = metadata.get("folder") if isinstance(metadata, Mapping) else None
        return Path(str(folder)).name or str(folder) if folder else self.name

    @property
    def num_examples(self) -> int:
        """Number of examples."""
        return len(self.filenames)

    @property
    def features(self) -> tfds.features.FeaturesDict:
        """The features of an example, by name."""
        return features_of(self.info)

    @property
    def pixel_labels(self) -> str:
        """Name of the feature that labels every pixel; "" if each image has one label."""
        return nucleus_maps.FEATURE if nucleus_maps.FEATURE in self.features else ""

    @property
    def class_counts(self) -> dict[str, int]:
        """Examples per class name, in the order of the labels."""
        counts = np.bincount(self.labels, minlength=len(self.class_names))
        return dict(zip(self.class_names, counts.tolist(), strict=True))

    @property
    def group_counts(self) -> dict[str, int]:
        """Groups per class name, in the order of the labels."""
        pairs = {(int(y), group) for y, group in zip(self.labels, self.groups, strict=True)}
        counts = Counter(label for label, _ in pairs)
        return {name: counts[label] for label, name in enumerate(self.class_names)}

    @property
    def digests(self) -> tuple[str, ...]:
        """Digest of the pixels of every example, see `fingerprints.content_digest`."""
        return self._digests

    @functools.cached_property
    def _digests(self) -> tuple[str, ...]:
        stored = None if "_fingerprints" in vars(self) else stored_digests(self.source)
        return self.fingerprints().digests if stored is None else stored

    @functools.cached_property
    def _fingerprints(self) -> Fingerprints:
        return load_fingerprints(self.source)

    def fingerprints(self) -> Fingerprints:
        """Fingerprints of every example, stored beside the prepared data; computed if absent."""
        return self._fingerprints

    @functools.cached_property
    def joined_groups(self) -> tuple[str, ...]:
        """Groups merged where they share an image or near duplicates; used by protocol "joined"."""
        return load_joined_groups(self.source, self.groups, self.fingerprints())

    @property
    def groups_known(self) -> bool:
        """Whether the groups are known, see `splits.groups_known`."""
        return groups_known(self.filenames, self.groups)

    def take(self, indices: np.ndarray) -> "Dataset":
        """Return the examples at positions int [n], in that order."""
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
        """Return the same images with other `class_names`, `labels`, `filenames` or `groups`."""
        other = dataclasses.replace(self, **columns)
        for name in ("_fingerprints", "_digests"):
            if name in vars(self):
                vars(other)[name] = vars(self)[name]
        return other

    def encoded_image(self, index: int) -> bytes:
        """Return the PNG or JPEG file of example `index`."""
        return self.source[int(index)]["image"]
