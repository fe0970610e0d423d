"""A run that goes on must go on with the images that it began with."""

from pathlib import Path

import ml_collections
import numpy as np
from jax.sharding import Mesh

from cervix_jax.data.experiment import ExperimentData, with_batches
from cervix_jax.data.identity import DataIdentity
from cervix_jax.errors import InputError
from cervix_jax.runs import workdir
from cervix_jax.runs.checkpoint import list_steps, read_json
from cervix_jax.runs.own_data import check_counts, examples_of


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
    kept = _read_item(folder / "checkpoints")
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
    dataset, found = examples_of(began, data.dataset, name=name, hint=elsewhere)
    if found.added:
        raise InputError(
            f"{name} was begun with {len(began.filenames)} images, and {found.text()}. Remove them"
            f"{elsewhere}"
        )
    if dataset is data.dataset and np.array_equal(began.splits, data.splits):
        return data, began.moved_to(now)
    own = with_batches(config, dataset, began.splits, mesh, progress=progress)
    return own, began.moved_to(now)


def _read_item(checkpoints: Path) -> tuple[dict, DataIdentity | None] | None:
    """What the newest checkpoint that can be read says of its data."""
    for step in reversed(list_steps(checkpoints)):
        try:
            recorded, began = workdir.split_dataset_item(read_json(checkpoints, step, "dataset"))
        except (OSError, ValueError, AttributeError, TypeError):
            continue  # a damaged one is set aside when the weights are read
        if recorded.get("class_names"):
            return recorded, began
    return None
