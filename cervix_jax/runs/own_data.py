"""The examples of a run, identified in the current data."""

import dataclasses
import functools
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ml_collections
import numpy as np
from absl import logging

from cervix_jax.data.catalog import Dataset
from cervix_jax.data.class_map import ClassMap, absent_classes, match_classes
from cervix_jax.data.experiment import ExperimentData, divide, open_dataset, with_batches
from cervix_jax.data.identity import DataIdentity, Differences
from cervix_jax.data.splits import PROTOCOLS, SPLITS
from cervix_jax.errors import InputError, check_choice
from cervix_jax.files.paths import user_path
from cervix_jax.runs import workdir
from cervix_jax.runs.checkpoint import list_steps, read_json
from cervix_jax.runs.damage import DamagedCheckpointError


def open_own_data(
    config: ml_collections.ConfigDict,
    identity: DataIdentity | None,
    recorded: Mapping[str, Any],
    *,
    name: str,
    manual_dir: str = "",
    data_dir: str = "",
    class_map: ClassMap | None = None,
    progress: bool = False,
) -> ExperimentData:
    """Open the data that a run was trained on, with the original splits, ignoring other images.

    Args:
      config: the run's config.
      identity: the examples of the run; None for runs of earlier versions, which did not record
        them: these are divided as configured.
      recorded: the checkpoint's description of the data set: `class_names`, and `examples`, the
        number of examples in each split.
      name: the run's folder, for messages.
      manual_dir: folder of the raw files; default as in training.
      data_dir: folder of prepared data; default as in training.
      class_map: see `cervix_jax.data.class_map.match_classes`.
      progress: whether to show a bar while decoding.

    Raises:
      InputError: the data cannot be found, read or divided, or are not those of the run.
    """
    check_choice("split.protocol", config.split.protocol, PROTOCOLS)  # reports contain it
    dataset = open_dataset(
        config,
        manual_dir=manual_dir or _place(config.data.manual_dir, identity and identity.manual_dir),
        data_dir=data_dir or _place(config.data.data_dir, identity and identity.data_dir),
    )
    on_these = _evaluation_on(config, name, manual_dir, dataset)
    instead = f", or evaluate on the current images: {on_these}"
    classes = tuple(recorded["class_names"])
    if identity is None:
        own = with_classes(dataset, classes, class_map)
        splits = divide(own, config)
        check_counts(recorded, splits, name, dataset, instead)
    else:
        own, found = examples_of(identity, dataset, class_map, name=name, hint=instead)
        splits = identity.splits
        _say_differences(found, name, on_these, groups_known=dataset.groups_known)
    if absent := absent_classes(classes, dataset.class_names, class_map):
        say_once(f"{dataset.name} has no images of {', '.join(absent)}, classes of {name}.")
    data = with_batches(config, own, splits, augmented=False, progress=progress)
    inherited = frozenset(identity.inherited) if identity else frozenset()
    return dataclasses.replace(data, inherited=inherited)


def read_recorded(folder: Path) -> tuple[dict[str, Any], DataIdentity | None] | None:
    """Read the description of a run's data from its newest readable checkpoint, without weights.

    Args:
      folder: the run's folder.

    Returns:
      The summary (`class_names`, the number of `examples` in each split, ...) and the examples,
      which are None for runs of earlier versions; or None if no checkpoint can be read.
    """
    checkpoints = folder / "checkpoints"
    for step in reversed(list_steps(checkpoints)):
        try:
            item = read_json(checkpoints, step, "dataset")
            recorded, identity = workdir.split_dataset_item(item, checkpoints / str(step))
            if recorded.get("class_names"):
                return recorded, identity
        except (DamagedCheckpointError, AttributeError, TypeError):
            continue  # reading its weights reports a damaged one
    return None


def examples_of(
    identity: DataIdentity,
    dataset: Dataset,
    class_map: ClassMap | None = None,
    *,
    name: str,
    hint: str,
) -> tuple[Dataset, Differences]:
    """Select the examples of a run from a data set, by their pixels, in the run's order.

    Names and labels are those of the run. Groups are the current ones if they contain other images
    than before, unless the groups are unknown now.

    Args:
      identity: the examples of the run.
      dataset: the current data set.
      class_map: see `match_classes`.
      name: the run's folder, for messages.
      hint: end of a message, which names an alternative.

    Raises:
      InputError: images of the run are missing, have other pixels or another class, or the data
        set has a class that the run does not have.
    """
    match_classes(identity.class_names, dataset.class_names, class_map)  # the error lists both
    found = identity.differences(dataset, class_map)
    if found.forbids:
        raise InputError(
            f"{name} was made with {len(identity.filenames)} images, and the data set in "
            f"{dataset.path} differs: {found.text()}. Restore the original images{hint}"
        )
    count = len(identity.filenames)
    same_order = len(dataset) == count and (found.places == np.arange(count)).all()
    own = dataset if same_order else dataset.take(found.places)
    # Unknown groups do not replace the recorded ones. If the groups are the same, the recorded
    # names stay, since resamples are drawn in the order of the names.
    groups = own.groups if own.groups_known and found.regrouped else identity.groups
    named = (identity.class_names, identity.filenames, groups)
    if (own.class_names, own.filenames, own.groups) == named:
        return own, found  # the same object, with its cached values
    labels, (classes, filenames, groups) = identity.labels, named
    return own.described(
        class_names=classes, labels=labels, filenames=filenames, groups=groups
    ), found


def with_classes(
    dataset: Dataset, class_names: tuple[str, ...], class_map: ClassMap | None = None
) -> Dataset:
    """Return a data set with the classes of a run; labels follow the names of the classes.

    Raises:
      InputError: the data set has a class that the run does not have.
    """
    match = match_classes(class_names, dataset.class_names, class_map)
    if tuple(dataset.class_names) == class_names:
        return dataset
    return dataset.described(class_names=class_names, labels=match[dataset.labels])


@functools.cache
def say_once(text: str) -> None:
    """Warn once per process, however often data are opened."""
    logging.warning("%s", text)


def _place(configured: str, recorded: str | None) -> str:
    """Resolve a folder of the config: the configured path depends on the working directory.

    The recorded path does not, but a run may have been moved to another machine.
    """
    if not (configured and recorded):
        return configured  # without a data_dir the environment defines the folder of prepared data
    moved = not Path(recorded).is_dir() and user_path(configured).is_dir()
    return configured if moved else recorded


def _evaluation_on(
    config: ml_collections.ConfigDict, name: str, manual_dir: str, dataset: Dataset
) -> str:
    """Return the command that evaluates a run on the current data."""
    own_folder = config.data.dataset.partition("/")[0] == "image_folder"
    on = (manual_dir or config.data.manual_dir) if own_folder else dataset.name
    return f"python -m cervix_jax.evaluate --workdir={shlex.quote(name)} --on={shlex.quote(on)}"


def _say_differences(found: Differences, name: str, on_these: str, *, groups_known: bool) -> None:
    if found.added:
        say_once(
            f"{len(found.added)} images were added since {name} was trained ({found.added[0]} "
            f"first); this command ignores them. To evaluate on all current images: {on_these}"
        )
    if found.moved:
        say_once(
            f"{len(found.moved)} images were renamed since {name} was trained ({found.moved[0]} "
            "first); they were identified by their pixels and appear under the recorded names."
        )
    if found.regrouped:
        used = "current groups" if groups_known else "recorded groups, as none are given now"
        say_once(
            f"The groups of {len(found.regrouped)} images have changed since {name} was trained "
            f"({found.regrouped[0]} first); leakage and intervals use the {used}."
        )


def check_counts(
    recorded: Mapping[str, Any],
    splits: np.ndarray,
    name: str,
    dataset: Dataset,
    on_these: str,
) -> None:
    """Compare at least the numbers of examples, for a run that did not record its examples.

    Raises:
      InputError: the numbers differ.
    """
    say_once(
        f"{name} was written by an earlier version, which did not record its images, so changes "
        "of the images since then cannot be detected. Train again to record them."
    )
    then = recorded.get("examples") or {}
    now = {split: int((splits == split).sum()) for split in SPLITS}
    if then and dict(then) != now:
        counts = [", ".join(f"{n} {split}" for split, n in c.items()) for c in (then, now)]
        raise InputError(
            f"{name} was made with {counts[0]} images, but the data in {dataset.path} give "
            f"{counts[1]}, so they are not those of the run. Restore the original data{on_these}"
        )
