"""The splits of a prepared data set."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from cervix_jax.data import catalog
from cervix_jax.data.splits import PAPER_RATIOS, assign_splits


def split_dataset(
    dataset: catalog.Dataset,
    *,
    protocol: str,
    fold: int = 0,
    folds: int = 5,
    seed: int = 0,
    refit: bool = False,
) -> np.ndarray:
    """`assign_splits` of a prepared data set, with the shares that its builder gives "paper".

    Args:
      dataset: the prepared data set.
      protocol: see `assign_splits`, as `fold`, `folds` and `seed`.
      fold: see there.
      folds: see there.
      seed: see there.
      refit: the validation examples are trained on too, so that none is left to choose by.

    Returns:
      array [N] of "train", "val" or "test", in the order of the data set.
    """
    builder_cls = catalog.find_builder(dataset.name)
    splits = assign_splits(
        dataset.filenames,
        dataset.labels,
        dataset.groups,
        protocol=protocol,
        fold=fold,
        folds=folds,
        seed=seed,
        ratios=getattr(builder_cls, "PAPER_RATIOS", PAPER_RATIOS),
    )
    return np.where(splits == "val", "train", splits) if refit else splits


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
    """The split of a data set as rows, sorted by file name.

    Args:
      dataset_name: `<builder>/<config>`.
      protocol: see `assign_splits`, as `fold`, `folds` and `seed`.
      fold: see `assign_splits`.
      folds: see `assign_splits`.
      seed: see `assign_splits`.
      manual_dir: see `cervix_jax.data.catalog.load`, as all that follow.
      data_dir: see there.
      settings: see there.
      check_counts: see there.

    Returns:
      {"filename", "label" (name of the class), "group", "split"} per example.

    Raises:
      InputError: the data set or the split cannot be had.
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
