"""A run that goes on must go on with the images that it began with."""

from collections.abc import Sequence
from pathlib import Path

import ml_collections
import numpy as np
from jax.sharding import Mesh

from cervix_jax.data.catalog import Dataset
from cervix_jax.data.experiment import ExperimentData, with_batches
from cervix_jax.data.identity import DataIdentity, Differences
from cervix_jax.errors import InputError
from cervix_jax.runs.own_data import check_counts, examples_of, read_recorded


def resumed_data(
    config: ml_collections.ConfigDict,
    folder: Path,
    data: ExperimentData,
    mesh: Mesh | None = None,
    *,
    progress: bool = False,
) -> tuple[ExperimentData, DataIdentity]:
    """The data of a run that may have begun already, in its order and divided as then.

    Args:
      config: the run's config.
      folder: the workdir.
      data: what the config opens today.
      mesh: devices that share each batch.
      progress: show a bar while decoding.

    Returns:
      The data, which are `data` where nothing differs, and the identity that checkpoints keep.

    Raises:
      InputError: the run was begun with other images, classes or labels; nothing is written.
    """
    now = DataIdentity.of(data, config)
    kept = read_recorded(folder)
    if kept is None:
        return data, now
    elsewhere = ", or give another --workdir to train on the images as they are now."
    name, (recorded, began) = f"--workdir={folder}", kept
    if tuple(recorded["class_names"]) != now.class_names:
        raise InputError(
            f"{name} holds a run of the classes {', '.join(recorded['class_names'])}, and those of "
            f"the data set are {', '.join(now.class_names)}. Restore them{elsewhere}"
        )
    if began is None:
        check_counts(recorded, data.splits, name, data.dataset, elsewhere)
        return data, now
    dataset, _ = require_same_images(data, began, name)
    if dataset is data.dataset and np.array_equal(began.splits, data.splits):
        return data, began.moved_to(now)
    own = with_batches(config, dataset, began.splits, mesh, progress=progress)
    return own, began.moved_to(now)


def common_identity(folders: Sequence[Path]) -> DataIdentity | None:
    """The identity that runs of one division have, of those that have begun and recorded it.

    Raises:
      InputError: two of them were made with other images, labels or groups.
    """
    first: tuple[Path, DataIdentity] | None = None
    for folder in folders:
        kept = read_recorded(folder)
        if kept is None or kept[1] is None:
            continue
        if first is None:
            first = folder, kept[1]
            continue
        found = first[1].differences(kept[1])
        if found.any:
            raise InputError(
                f"{folder} was trained on other images than {first[0]}: {found.text()}. They are "
                "no folds of one division; move the one away, and give the same command."
            )
    return None if first is None else first[1]


def require_same_images(
    data: ExperimentData, began: DataIdentity, name: str
) -> tuple[Dataset, Differences]:
    """The images that something began with, in its order, out of the data of today.

    Raises:
      InputError: there are others, or they have other labels or groups.
    """
    elsewhere = ", or give another --workdir to train on the images as they are now."
    dataset, found = examples_of(began, data.dataset, name=name, hint=elsewhere)
    if found.added:
        raise InputError(
            f"{name} was begun with {len(began.filenames)} images, and {found.text()}. Remove them"
            f"{elsewhere}"
        )
    return dataset, found
