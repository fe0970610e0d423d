"""The splits of a prepared data set."""

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging

from cervix_jax.data import catalog
from cervix_jax.data.splits import ONE_SPLIT, PAPER_RATIOS, SPLITS, assign_splits


def split_dataset(
    dataset: catalog.Dataset,
    *,
    protocol: str,
    fold: int = 0,
    folds: int = 5,
    seed: int = 0,
    refit: bool = False,
) -> np.ndarray:
    """Apply `assign_splits` to a prepared data set, with the builder's ratios for "paper".

    For "joined" the groups are merged first, so that fields that share a cell and near-duplicate
    images stay together. A warning names each class that is absent from a part.

    Args:
      dataset: the prepared data set.
      protocol: see `assign_splits`, as `fold`, `folds` and `seed`.
      fold: see `assign_splits`.
      folds: see `assign_splits`.
      seed: see `assign_splits`.
      refit: whether to train on the validation examples too, which leaves none for model selection.

    Returns:
      array [N] of "train", "val" or "test", in the order of the data set.
    """
    groups = dataset.joined_groups if protocol == "joined" else dataset.groups
    splits = divided(dataset, groups, protocol=protocol, fold=fold, folds=folds, seed=seed)
    units = dataset.filenames if protocol == "random" else groups
    for text in absences(
        splits,
        dataset.labels,
        units,
        dataset.class_names,
        protocol=protocol,
        fold=fold,
        folds=folds,
    ):
        _say_once(text)
    return np.where(splits == "val", "train", splits) if refit else splits


def divided(
    dataset: catalog.Dataset,
    groups: Sequence[str],
    *,
    protocol: str,
    fold: int = 0,
    folds: int = 5,
    seed: int = 0,
) -> np.ndarray:
    """Apply `assign_splits` with the given groups and the builder's ratios for "paper".

    Args:
      dataset: the prepared data set.
      groups: [N], in the order of the data set.
      protocol: see `assign_splits`, as are `fold`, `folds` and `seed`.
      fold: see `assign_splits`.
      folds: see `assign_splits`.
      seed: see `assign_splits`.

    Returns:
      array [N] of "train", "val" or "test".
    """
    return assign_splits(
        dataset.filenames,
        dataset.labels,
        groups,
        protocol=protocol,
        fold=fold,
        folds=folds,
        seed=seed,
        ratios=getattr(catalog.find_builder(dataset.name), "PAPER_RATIOS", PAPER_RATIOS),
    )


def absences(
    splits: np.ndarray,
    labels: np.ndarray,
    units: Sequence[str],
    class_names: Sequence[str],
    *,
    protocol: str,
    fold: int,
    folds: int,
) -> list[str]:
    """Describe the classes that are absent from a part, or necessarily absent in some fold.

    Args:
      splits: [N] of "train", "val" or "test".
      labels: int [N].
      units: [N] units that the protocol keeps whole: the groups, or the names of the examples.
      class_names: names of the classes.
      protocol: see `assign_splits`, as `fold` and `folds`.
      fold: see `assign_splits`.
      folds: see `assign_splits`.
    """
    where = f"split.protocol={protocol}"
    where += "" if protocol in ONE_SPLIT else f", split.fold={fold} of {folds}"
    texts, present = [], [int(label) for label in np.unique(labels)]
    for split in SPLITS:
        inside = set(labels[splits == split].tolist())
        absent = [class_names[label] for label in present if label not in inside]
        if inside and absent:
            texts.append(
                f"{where}: no {split} image of class {', '.join(absent)}; its {split} metrics "
                "are undefined."
            )
    if protocol not in ONE_SPLIT:
        what = "images" if protocol == "random" else "groups"
        counts = {
            class_names[label]: len({units[int(i)] for i in np.flatnonzero(labels == label)})
            for label in present
        }
        few = [f"{name} ({count} {what})" for name, count in counts.items() if count < folds]
        if few:
            texts.append(
                f"split.protocol={protocol}, split.folds={folds}: {', '.join(few)} cannot be in "
                f"the test split of every fold; add {what} of the class, or use fewer folds."
            )
    return texts


@functools.cache
def _say_once(text: str) -> None:
    """Warn once per text, since a cross-validation divides the data once per fold."""
    logging.warning("%s", text)


def split_table(
    dataset_name: str,
    *,
    protocol: str = "cluster",
    fold: int = 0,
    folds: int = 5,
    seed: int = 0,
    manual_dir: str | Path | None = None,
    data_dir: str | Path | None = None,
    settings: Mapping[str, Any] | None = None,
    check_counts: bool = True,
) -> list[dict[str, str]]:
    """Return the split of a data set as rows, sorted by file name.

    Args:
      dataset_name: `<builder>/<config>`.
      protocol: see `assign_splits`, as `fold`, `folds` and `seed`.
      fold: see `assign_splits`.
      folds: see `assign_splits`.
      seed: see `assign_splits`.
      manual_dir: see `cervix_jax.data.catalog.load`, as are the arguments that follow.
      data_dir: see `cervix_jax.data.catalog.load`.
      settings: see `cervix_jax.data.catalog.load`.
      check_counts: see `cervix_jax.data.catalog.load`.

    Returns:
      {"filename", "label" (name of the class), "group", "split"} per example.

    Raises:
      InputError: the data set cannot be opened, or the split is not possible.
    """
    dataset = catalog.load(
        dataset_name,
        manual_dir=manual_dir,
        data_dir=data_dir,
        settings=settings,
        check_counts=check_counts,
    )
    splits = split_dataset(dataset, protocol=protocol, fold=fold, folds=folds, seed=seed)
    labels = [dataset.class_names[label] for label in dataset.labels]
    columns = zip(dataset.filenames, labels, dataset.groups, splits.tolist(), strict=True)
    rows = [
        {"filename": filename, "label": label, "group": group, "split": split}
        for filename, label, group, split in columns
    ]
    return sorted(rows, key=lambda row: row["filename"])
