"""The examples that a run was made with, and how the current data set differs from them.

The digest of its pixels (`cervix_jax.data.fingerprints`) identifies an example, so the example is
found under another name, in another folder, and among images that were added later.
"""

import dataclasses
from collections import defaultdict, deque
from collections.abc import Hashable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import ml_collections
import numpy as np

from cervix_jax.data.class_map import ClassMap, match_classes
from cervix_jax.data.splits import SPLITS
from cervix_jax.errors import InputError
from cervix_jax.files.paths import nfc, user_path

if TYPE_CHECKING:
    from cervix_jax.data.experiment import ExperimentData

ABSENT = -1
MADE_WITH = ("train", "val")


class Examples(Protocol):
    """Attributes for a comparison, as of `catalog.Dataset` or a table of labelled images."""

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the C classes."""
        ...

    @property
    def filenames(self) -> tuple[str, ...]:
        """Names of the N examples."""
        ...

    @property
    def digests(self) -> tuple[str, ...]:
        """Digests of the pixels of the N examples."""
        ...

    @property
    def labels(self) -> np.ndarray:
        """Labels, int [N]."""
        ...

    @property
    def groups(self) -> tuple[str, ...]:
        """Group names of the N examples."""
        ...


@dataclasses.dataclass(frozen=True)
class DataIdentity:
    """The examples of a run, in the order in which it was trained on them.

    Attributes:
      name: `<builder>/<config>`.
      version: version of the prepared data.
      class_names: names of the classes, in label order.
      group_feature: feature that holds the groups, such as "cluster_id".
      settings: variations of the data set's config.
      manual_dir: absolute path of the raw files; "" if none was given.
      data_dir: absolute path of the prepared data sets.
      filenames: names of the N examples.
      digests: N digests of the pixels, see `fingerprints.content_digest`.
      labels: int64 [N].
      groups: group names of the N examples.
      splits: str [N], "train", "val" or "test".
      inherited: digests of the images that made the run from which the weights started; they
        may be among these examples.
    """

    name: str
    version: str
    class_names: tuple[str, ...]
    group_feature: str
    settings: dict[str, Any]
    manual_dir: str
    data_dir: str
    filenames: tuple[str, ...]
    digests: tuple[str, ...]
    labels: np.ndarray
    groups: tuple[str, ...]
    splits: np.ndarray
    inherited: tuple[str, ...] = ()

    @classmethod
    def of(cls, data: "ExperimentData", config: ml_collections.ConfigDict) -> "DataIdentity":
        """Return the identity of the data that a config's run is trained on."""
        dataset, given = data.dataset, config.data
        # Prepared data lie in <data_dir>/<builder>/<config>/<version>.
        above = dataset.path.absolute().parents
        prepared = user_path(given.data_dir) if given.data_dir else above[min(2, len(above) - 1)]
        return cls(
            name=dataset.name,
            version=dataset.version,
            class_names=tuple(dataset.class_names),
            group_feature=dataset.group_feature,
            settings={key: value for key, value in given.settings.items() if value is not None},
            manual_dir=str(user_path(given.manual_dir).resolve()) if given.manual_dir else "",
            data_dir=str(Path(prepared).resolve()),
            filenames=tuple(dataset.filenames),
            digests=tuple(dataset.digests),
            labels=np.asarray(dataset.labels, np.int64),
            groups=tuple(dataset.groups),
            splits=np.asarray(data.splits, str),
            inherited=tuple(sorted(data.inherited)),
        )

    def to_json(self) -> dict[str, Any]:
        """Return the JSON-ready value that a checkpoint stores under `examples`."""
        columns = {"labels": self.labels.tolist(), "splits": self.splits.tolist()}
        return {
            field.name: columns.get(field.name, _plain(getattr(self, field.name)))
            for field in dataclasses.fields(self)
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "DataIdentity | None":
        """Read a value of `to_json`; returns None for the value that earlier versions stored.

        Raises:
          ValueError: the value has another form.
        """
        if "digests" not in values:
            return None
        names = [field.name for field in dataclasses.fields(cls) if field.name in values]
        wanted = [f.name for f in dataclasses.fields(cls) if f.default is dataclasses.MISSING]
        if missing := [name for name in wanted if name not in values]:
            raise ValueError(f"its examples have no {missing[0]}")
        given = {name: values[name] for name in names}
        try:
            for name in given.keys() & {
                "class_names",
                "filenames",
                "digests",
                "groups",
                "inherited",
            }:
                given[name] = tuple(given[name])
            given["labels"] = np.asarray(given["labels"], np.int64)
            given["splits"] = np.asarray(given["splits"], str)
        except TypeError as error:
            raise ValueError(f"its examples have another format ({error})") from error
        found = cls(**given)
        columns = (found.digests, found.labels, found.groups, found.splits)
        if {len(column) for column in columns} != {len(found.filenames)}:
            raise ValueError("the columns of its examples differ in length")
        return found

    def moved_to(self, other: "DataIdentity") -> "DataIdentity":
        """Return the same examples with the data folders of another identity."""
        return dataclasses.replace(self, manual_dir=other.manual_dir, data_dir=other.data_dir)

    def counts(self) -> dict[str, int]:
        """Number of examples in each split."""
        return {split: int((self.splits == split).sum()) for split in SPLITS}

    def digests_of(self, *splits: str) -> frozenset[str]:
        """Return the digests of these splits' examples; by default, of all that made the run."""
        chosen = np.isin(self.splits, splits or MADE_WITH)
        found = frozenset(np.asarray(self.digests, str)[chosen].tolist())
        return found if splits else found | frozenset(self.inherited)

    def differences(self, dataset: Examples, class_map: ClassMap | None = None) -> "Differences":
        """Compare these examples with a data set.

        Args:
          dataset: the current data set.
          class_map: renamed classes of the data set, see `match_classes`.

        Raises:
          InputError: `class_map` names an unknown class.
        """
        match, unknown = _known_classes(self.class_names, dataset.class_names, class_map)
        labels = match[np.asarray(dataset.labels, np.int64)]
        names, there = [nfc(n) for n in self.filenames], [nfc(n) for n in dataset.filenames]
        digests, found = self.digests, tuple(dataset.digests)
        own, theirs = self.labels.tolist(), labels.tolist()
        places = _places(
            # Copies share one digest: of several places the most likely one comes first.
            (zip(names, digests, strict=True), zip(there, found, strict=True)),
            (
                zip(digests, own, self.groups, strict=True),
                zip(found, theirs, dataset.groups, strict=True),
            ),
            (zip(digests, own, strict=True), zip(found, theirs, strict=True)),
            (digests, found),
        )
        lost = np.flatnonzero(places == ABSENT).tolist()
        free = set(range(len(there))) - set(places.tolist())
        replaced = {names[i] for i in lost} & {there[i] for i in free}
        kept = np.flatnonzero(places != ABSENT)
        at = places[kept]
        regrouped = _regrouped(
            np.asarray(self.groups, str)[kept], np.asarray(dataset.groups, str)[at]
        )

        def own_names(rows: Iterable[int]) -> tuple[str, ...]:
            return tuple(sorted(self.filenames[row] for row in rows))

        pairs = zip(kept.tolist(), at.tolist(), strict=True)
        return Differences(
            added=tuple(sorted(dataset.filenames[i] for i in free if there[i] not in replaced)),
            missing=own_names(i for i in lost if names[i] not in replaced),
            changed=own_names(i for i in lost if names[i] in replaced),
            relabelled=own_names(kept[self.labels[kept] != labels[at]].tolist()),
            regrouped=own_names(kept[regrouped].tolist()),
            moved=own_names(i for i, j in pairs if names[i] != there[j]),
            classes=unknown,
            places=places,
        )


@dataclasses.dataclass(frozen=True)
class Differences:
    """Differences between a data set and the examples of a run.

    Attributes:
      added: names in the data set of images that the run was not made with.
      missing: names in the run of images absent from the data set; the next four fields also hold
        names in the run.
      changed: names of images whose file now has other pixels.
      relabelled: names of images that have another class.
      regrouped: names of images that share a group with other images than before; renamed groups
        do not count.
      moved: names of images that have another name.
      classes: classes of the data set that the run does not have.
      places: int64 [N], position in the data set of each example of the run; -1 if absent.
    """

    added: tuple[str, ...]
    missing: tuple[str, ...]
    changed: tuple[str, ...]
    relabelled: tuple[str, ...]
    regrouped: tuple[str, ...]
    moved: tuple[str, ...]
    classes: tuple[str, ...]
    places: np.ndarray

    @property
    def forbids(self) -> bool:
        """Whether the data set cannot provide the run's examples unchanged."""
        return bool(self.missing or self.changed or self.relabelled or self.classes)

    @property
    def any(self) -> bool:
        """Whether there is any difference."""
        return any(
            getattr(self, field.name)
            for field in dataclasses.fields(self)
            if field.name != "places"
        )

    def text(self) -> str:
        """The differences as text: "2 are missing (a.png first), 40 were added (b.png first)"."""
        said = (
            ("missing", "are missing"),
            ("changed", "have the same name but different pixels"),
            ("relabelled", "have another class"),
            ("classes", "classes are unknown to the run"),
            ("added", "were added"),
            ("regrouped", "are grouped differently"),
            ("moved", "have another name"),
        )
        found = [(getattr(self, name), words) for name, words in said]
        return ", ".join(
            f"{len(names)} {words} ({names[0]} first)" for names, words in found if names
        )


def _known_classes(
    own: Sequence[str], theirs: Sequence[str], class_map: ClassMap | None
) -> tuple[np.ndarray, tuple[str, ...]]:
    """As `match_classes`, but -1 for unknown classes, which are also returned by name."""
    try:
        return match_classes(own, theirs, class_map), ()
    except InputError:
        if class_map:
            raise
    known = {nfc(name): label for label, name in enumerate(own)}
    match = [known.get(nfc(name), ABSENT) for name in theirs]
    unknown = tuple(n for n, label in zip(theirs, match, strict=True) if label == ABSENT)
    return np.asarray(match, np.int64), unknown


def _places(*keys: tuple[Iterable[Hashable], Iterable[Hashable]]) -> np.ndarray:
    """Find each wanted item among the available ones, each used once.

    Args:
      *keys: pairs (keys of the wanted, keys of the available), from the strictest to the loosest.

    Returns:
      int64 [number of wanted]; -1 if not found.
    """
    places: np.ndarray | None = None
    used: set[int] = set()
    for wanted, available in keys:
        queues: dict[Hashable, deque[int]] = defaultdict(deque)
        for place, key in enumerate(available):
            if place not in used:
                queues[key].append(place)
        asked = list(wanted)
        if places is None:
            places = np.full(len(asked), ABSENT, np.int64)
        for number in np.flatnonzero(places == ABSENT):
            if queue := queues.get(asked[number]):
                places[number] = queue.popleft()
                used.add(int(places[number]))
    assert places is not None
    return places


def _regrouped(before: np.ndarray, now: np.ndarray) -> np.ndarray:
    """Items that share a group with other items than before, bool [n]; ignores group names."""
    pairs = set(zip(before.tolist(), now.tolist(), strict=True))
    firsts: dict[str, int] = defaultdict(int)
    seconds: dict[str, int] = defaultdict(int)
    for first, second in pairs:
        firsts[first] += 1
        seconds[second] += 1
    return np.asarray(
        [
            firsts[first] > 1 or seconds[second] > 1
            for first, second in zip(before.tolist(), now.tolist(), strict=True)
        ],
        bool,
    )


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
