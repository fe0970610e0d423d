"""Splits into training, validation and test data, determined by file names, labels and groups.

Every protocol is deterministic and independent of the order of the examples. In a cross-validation
with k folds every example is in exactly one test set.
"""

import dataclasses
import random
import re
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold

from cervix_jax.errors import InputError, check_choice, check_count

PROTOCOLS = ("paper", "paper_clusters", "random", "cluster", "joined", "block")
ONE_SPLIT = ("paper", "paper_clusters")  # no folds
SPLITS = ("train", "val", "test")
PAPER_SEED = 230
# Shares of train and validation; the rest is test.
PAPER_RATIOS = (0.7, 0.2)


def assign_splits(
    filenames: Sequence[str],
    labels: Sequence[int] | np.ndarray,
    groups: Sequence[str],
    *,
    protocol: str,
    fold: int = 0,
    folds: int = 5,
    seed: int = 0,
    ratios: tuple[float, float] = PAPER_RATIOS,
) -> np.ndarray:
    """Assign every example to training, validation or test.

    Args:
      filenames: unique names, `<folder>/<file>`.
      labels: class of each example.
      groups: group of each example, e.g. the cluster that a cell lies in.
      protocol: one of
        "paper": one fixed split by file name, as in arXiv 2106.00557 with split-folders;
        "paper_clusters": the same for whole groups; each cell is in the split of the paper's
        multi-cell image that contains it, so that predictions of cells can be combined to
        predictions of the paper's 101 test images;
        "random": stratified by class; test share 1/k, validation share 1/2k;
        "cluster": as "random", but each group stays in one split;
        "joined": as "cluster", for groups that the caller merged because they share an image, see
        `cervix_jax.data.divide.split_dataset`;
        "block": in each class, the groups in the order of their numbers are cut into 2k contiguous
        blocks; for fold f, test is blocks 2f and 2f + 1 and validation is the next block.
      fold: index of the test fold, in [0, folds).
      folds: number of folds k, at least 2.
      seed: random seed of "random", "cluster" and "joined".
      ratios: shares of train and validation in "paper" and "paper_clusters".

    Returns:
      array [N] of "train", "val" or "test".

    Raises:
      InputError: an argument is invalid, or there are too few examples or groups.
    """
    names = [str(name) for name in filenames]
    classes = np.unique(np.asarray(labels), return_inverse=True)[1]
    group_names = np.asarray(groups, str)
    if not len(names) == len(classes) == len(group_names):
        raise InputError(
            f"splits: {len(names)} file names, {len(classes)} labels and {len(group_names)} groups "
            "do not match; give one of each per example."
        )
    if not names:
        raise InputError("splits: there are no examples.")
    if len(set(names)) != len(names):
        raise InputError("splits: file names occur twice; they must be unique.")
    check_choice("split.protocol", protocol, PROTOCOLS)
    _check_fold(protocol, fold, folds)
    check_count("split.seed", seed, 0)
    if seed >= 2**32:
        raise InputError(f"split.seed={seed}: give a whole number from 0 to {2**32 - 1}.")
    order = np.asarray(sorted(range(len(names)), key=lambda i: _stem(names[i])))
    sorted_names = [names[i] for i in order]
    labels_, groups_ = classes[order], group_names[order]
    if protocol == "paper":
        assigned = _paper(labels_, ratios)
    elif protocol == "paper_clusters":
        assigned = _paper_clusters(labels_, groups_, ratios)
    elif protocol == "random":
        assigned = _random(sorted_names, labels_, fold, folds, seed)
    elif protocol in ("cluster", "joined"):
        assigned = _cluster(labels_, groups_, fold, folds, seed)
    else:
        assigned = _block(labels_, groups_, fold, folds)
    empty = [name for name in SPLITS if name not in assigned]
    if empty and not (protocol in ONE_SPLIT and ratios[1] == 0 and empty == ["val"]):
        raise InputError(
            f"split.protocol={protocol!r}, split.folds={folds}: {len(names)} examples in "
            f"{len(np.unique(group_names))} groups leave no examples for {' and '.join(empty)}; "
            "use fewer folds or more data."
        )
    splits = np.empty(len(names), dtype="<U5")
    splits[order] = assigned
    return splits


def _check_fold(protocol: str, fold: int, folds: int) -> None:
    if protocol in ONE_SPLIT:
        if fold != 0:
            raise InputError(
                f"split.fold={fold}: the protocol {protocol!r} has a single split; use fold 0."
            )
        return
    check_count("split.folds", folds, 2)
    check_count("split.fold", fold, 0)
    if fold >= folds:
        raise InputError(f"split.fold={fold}: with split.folds={folds} choose 0 to {folds - 1}.")


def _stem(name: str) -> tuple[str, str]:
    """Sort key: the name without its suffix, so that .bmp and .jpg copies sort alike."""
    stem, dot, suffix = name.rpartition(".")
    return (stem, suffix) if dot else (name, "")


def _paper(labels: np.ndarray, ratios: tuple[float, float]) -> np.ndarray:
    """Split as split-folders does: shuffle each class with one seed, then cut at the floors."""
    train, val = ratios
    if min(ratios) < 0 or not 0 < train < 1 or train + val >= 1:
        raise InputError(
            f"ratios={ratios}: give shares of train and validation whose sum is below 1."
        )
    splits = np.full(len(labels), "test", dtype="<U5")
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label).tolist()
        random.Random(PAPER_SEED).shuffle(members)
        stop = int(train * len(members))
        splits[members[:stop]] = "train"
        splits[members[stop : stop + int(val * len(members))]] = "val"
    return splits


def _paper_clusters(
    labels: np.ndarray, groups: np.ndarray, ratios: tuple[float, float]
) -> np.ndarray:
    class_of = _main_class(labels, groups)
    units = sorted(class_of)
    splits = _paper(np.asarray([class_of[unit] for unit in units]), ratios)
    return splits[np.searchsorted(units, groups)]


def _half_blocks(units: Sequence, folds: int) -> dict[Any, int]:
    """Cut a sequence into 2 x folds contiguous parts of about equal length: unit -> part."""
    return {unit: number * 2 * folds // len(units) for number, unit in enumerate(units)}


def _of_fold(half_block: int, fold: int, folds: int) -> str:
    if half_block // 2 == fold:
        return "test"
    return "val" if half_block == (2 * fold + 2) % (2 * folds) else "train"


def _random(names: list[str], labels: np.ndarray, fold: int, folds: int, seed: int) -> np.ndarray:
    _need("examples", len(names), folds)
    splits = np.full(len(names), "train", dtype="<U5")
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        shuffled = np.random.default_rng([seed, int(label)]).permutation(members)
        for member, half_block in _half_blocks(shuffled.tolist(), folds).items():
            splits[member] = _of_fold(half_block, fold, folds)
    return splits


def _block(labels: np.ndarray, groups: np.ndarray, fold: int, folds: int) -> np.ndarray:
    class_of = _main_class(labels, groups)
    _need("groups", len(class_of), folds)
    split_of: dict[str, str] = {}
    for label in sorted(set(class_of.values())):
        members = sorted((g for g, c in class_of.items() if c == label), key=_natural)
        for group, half_block in _half_blocks(members, folds).items():
            split_of[group] = _of_fold(half_block, fold, folds)
    return np.asarray([split_of[group] for group in groups])


def _cluster(
    labels: np.ndarray, groups: np.ndarray, fold: int, folds: int, seed: int
) -> np.ndarray:
    _need("groups", len(np.unique(groups)), folds)
    splits = np.full(len(labels), "train", dtype="<U5")
    rest, test = _grouped_fold(labels, groups, fold, folds, seed)
    splits[test] = "test"
    # 1/2k of all examples is 1/2(k - 1) of those that are not test.
    parts = min(2 * (folds - 1), len(np.unique(groups[rest])), np.bincount(labels[rest]).max())
    if parts >= 2:
        _, val = _grouped_fold(labels[rest], groups[rest], 0, parts, seed + 1)
        splits[rest[val]] = "val"
    return splits


def _grouped_fold(
    labels: np.ndarray, groups: np.ndarray, fold: int, folds: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the indices outside one fold and those of the fold."""
    if folds > np.bincount(labels).max():
        raise InputError(f"split.folds={folds}: no class has that many examples; use fewer folds.")
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        # A class with fewer examples than folds is then absent from some folds, as intended.
        warnings.simplefilter("ignore", UserWarning)
        return list(splitter.split(np.zeros(len(labels)), labels, groups))[fold]


def _need(what: str, count: int, folds: int) -> None:
    """Check the number of units: three parts need at least three, and every fold needs one."""
    if count < max(folds, 3):
        raise InputError(
            f"split.folds={folds}: there are only {count} {what}, at least {max(folds, 3)} are "
            "needed; use fewer folds or more data."
        )


def _main_class(labels: np.ndarray, groups: np.ndarray) -> dict[str, int]:
    """Return the most frequent class of every group (the lowest if tied)."""
    names, inverse = np.unique(groups, return_inverse=True)
    counts = np.zeros((len(names), int(labels.max()) + 1), np.int64)
    np.add.at(counts, (inverse, labels), 1)
    return dict(zip(names.tolist(), counts.argmax(axis=1).tolist(), strict=True))


def _natural(name: str) -> tuple:
    """Sort key by which "im_A/9" comes before "im_A/10"."""
    parts = re.split(r"(\d+)", name)
    return tuple(int(part) if odd % 2 else part for odd, part in enumerate(parts)), name


UNKNOWN_GROUPS = (
    "unknown: no groups were given (a column group in images.csv or in a table, or the setting "
    "group_pattern, gives them)"
)
"""Text in place of the leakage if the groups of the items are unknown."""


def groups_known(filenames: Sequence[str], groups: Sequence[str]) -> bool:
    """Whether groups are known: False if the group of every item is its own name.

    Args:
      filenames: N names.
      groups: N groups.
    """
    pairs = zip(filenames, groups, strict=True)
    return any(str(group) != str(filename) for filename, group in pairs)


@dataclasses.dataclass(frozen=True)
class Leakage:
    """Number of test items whose group also occurs in the training or validation data.

    Attributes:
      num_test: number of test items.
      num_seen: number of test items whose group also occurs in train or val. Both influence a
        model: train determines its weights, and val selects the checkpoint.
      num_seen_in_train: number of test items whose group also occurs in train.
      known: whether the groups are known, see `groups_known`.
    """

    num_test: int
    num_seen: int
    num_seen_in_train: int
    known: bool = True

    @property
    def share(self) -> float | None:
        """Share of test items whose group occurs in train or val, in [0, 1]; None if unknown."""
        return self._share(self.num_seen)

    @property
    def share_in_train(self) -> float | None:
        """Share of test items whose group occurs in train, in [0, 1]; None if unknown."""
        return self._share(self.num_seen_in_train)

    def _share(self, count: int) -> float | None:
        if not self.known:
            return None
        return count / self.num_test if self.num_test else 0.0


def leakage(
    splits: Sequence[str] | np.ndarray,
    groups: Sequence[str] | np.ndarray,
    filenames: Sequence[str] | None = None,
    also_trained: np.ndarray | None = None,
) -> Leakage:
    """Count the test items whose group occurs in train or val.

    Args:
      splits: [N] of "train", "val" or "test"; items with other values are ignored.
      groups: [N] group of each item.
      filenames: [N] name of each item, to determine whether the groups are known; None assumes
        that they are.
      also_trained: bool [N], items of any split on which the weights were trained before.
    """
    known = filenames is None or groups_known(filenames, list(groups))
    splits, groups = np.asarray(splits, str), np.asarray(groups, str)
    tested = groups[splits == "test"]
    trained = splits == "train"
    if also_trained is not None:
        trained |= also_trained
    return Leakage(
        num_test=len(tested),
        num_seen=int(np.isin(tested, groups[trained | (splits == "val")]).sum()),
        num_seen_in_train=int(np.isin(tested, groups[trained]).sum()),
        known=known,
    )
