"""Checks that a resumed run uses the images that it began with."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import ml_collections
import numpy as np
from jax.sharding import Mesh

from cervix_jax.data.catalog import Dataset
from cervix_jax.data.experiment import ExperimentData, with_batches
from cervix_jax.data.identity import DataIdentity, Differences
from cervix_jax.errors import InputError
from cervix_jax.files.paths import user_path
from cervix_jax.runs.own_data import check_counts, examples_of, read_recorded, say_once


def resumed_data(
    config: ml_collections.ConfigDict,
    folder: Path,
    data: ExperimentData,
    mesh: Mesh | None = None,
    *,
    progress: bool = False,
) -> tuple[ExperimentData, DataIdentity]:
    """Return the data of a run, in the original order and splits if the run has already begun.

    Args:
      config: the run's config.
      folder: the workdir.
      data: the data opened now by the config.
      mesh: devices that share each batch.
      progress: whether to show a bar while decoding.

    Returns:
      The data, which are `data` if nothing differs, and the identity stored in checkpoints.

    Raises:
      InputError: the run began with other images, classes or labels; nothing is written.
    """
    kept = read_recorded(folder)
    if kept is None:
        _say_copies(data)
        data = dataclasses.replace(data, inherited=_inherited(config, data))
        return data, DataIdentity.of(data, config)
    now = DataIdentity.of(data, config)
    elsewhere = ", or give another --workdir to train on the current images."
    name, (recorded, began) = f"--workdir={folder}", kept
    if tuple(recorded["class_names"]) != now.class_names:
        raise InputError(
            f"{name} holds a run with the classes {', '.join(recorded['class_names'])}, but the "
            f"data set has {', '.join(now.class_names)}. Restore the classes{elsewhere}"
        )
    if began is None:
        check_counts(recorded, data.splits, name, data.dataset, elsewhere)
        return data, now
    dataset, _ = require_same_images(data, began, name)
    if dataset is not data.dataset or not np.array_equal(began.splits, data.splits):
        data = with_batches(config, dataset, began.splits, mesh, progress=progress)
    return dataclasses.replace(data, inherited=frozenset(began.inherited)), began.moved_to(now)


def _say_copies(data: ExperimentData) -> None:
    """Report test images that are also among the images that the model is made with."""
    dataset, is_test = data.dataset, data.splits == "test"
    digests = np.asarray(dataset.digests, str)
    copies = is_test & np.isin(digests, digests[~is_test])
    if copies.any():
        say_once(
            f"{copies.sum()} of the {is_test.sum()} test images have the same pixels as training "
            f"or validation images ({dataset.filenames[int(copies.argmax())]} first), so the test "
            "results will be too optimistic: remove the copies, or give the copies one group and "
            "set split.protocol=cluster."
        )


def _inherited(config: ml_collections.ConfigDict, data: ExperimentData) -> frozenset[str]:
    """Return the digests of the images that made the run from which the weights start.

    Reports such images in the test split. Published weights and runs of earlier versions have no
    record of their images.
    """
    source = config.model.init_from
    folder = user_path(source, "model.init_from") if source else None
    kept = read_recorded(folder) if folder and folder.is_dir() else None
    if kept is None or kept[1] is None:
        return frozenset()
    seen = kept[1].digests_of()
    digests = np.asarray(data.dataset.digests, str)
    tested = [digest in seen for digest in digests[data.splits == "test"].tolist()]
    if any(tested):
        say_once(
            f"{sum(tested)} of the {len(tested)} test images are training or validation images of "
            f"{source}, whose weights this run starts from, so the test results will be too "
            "optimistic. These images count as leakage; to avoid it, start from a run with the "
            "same split."
        )
    return seen


def common_identity(folders: Sequence[Path]) -> DataIdentity | None:
    """Return the common identity of the runs of one division that have begun and recorded it.

    Raises:
      InputError: two of the runs were made with other images, labels or groups.
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
                f"{folder} was trained on other images than {first[0]}: {found.text()}. The two "
                "runs are not folds of one split; move one of them away and repeat the command."
            )
    return None if first is None else first[1]


def require_same_images(
    data: ExperimentData, began: DataIdentity, name: str
) -> tuple[Dataset, Differences]:
    """Return the original images of an experiment, in their order, from the current data.

    Raises:
      InputError: there are other images, or they have other labels or groups.
    """
    elsewhere = ", or give another --workdir to train on the current images."
    dataset, found = examples_of(began, data.dataset, name=name, hint=elsewhere)
    if found.added:
        raise InputError(
            f"{name} was started with {len(began.filenames)} images; since then {found.text()}. "
            f"Remove the new images{elsewhere}"
        )
    return dataset, found
