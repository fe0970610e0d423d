"""Reading of a checkpoint and its metadata from the folder of a run."""

from pathlib import Path
from typing import Any, NamedTuple

import ml_collections

from cervix_jax.config.fields import check_types
from cervix_jax.data.identity import DataIdentity
from cervix_jax.errors import InputError
from cervix_jax.runs import checkpoint, workdir
from cervix_jax.runs.damage import DamagedCheckpointError
from cervix_jax.runs.fit import fitted
from cervix_jax.runs.inference import Variables

# Fields that reading a run requires; the others differ between versions.
NEEDED = (
    "image_size", "eval_batch_size", "checkpoint.best_metric",
    *(f"data.{name}" for name in (
        "dataset", "manual_dir", "data_dir", "placement", "resize", "microns_per_pixel",
        "check_counts")),
    *(f"split.{name}" for name in ("protocol", "fold", "folds", "seed")),
    *(f"model.{name}" for name in ("name", "attention", "dropout", "dtype", "normalization")),
)  # fmt: skip


class Stored(NamedTuple):
    """The parts of a `Run`, see there."""

    config: ml_collections.ConfigDict
    dataset: dict[str, Any]
    variables: Variables
    step: int
    workdir: Path
    identity: DataIdentity | None


def read_run(folder: Path, step: str | int) -> Stored:
    """Read a checkpoint of a run, with its config and data.

    Args:
      folder: the run's folder.
      step: "best", "latest" or a number.

    Raises:
      InputError: the run or the checkpoint does not exist, or cannot be read.
    """
    config = workdir.read_config(folder)
    check_types(config, f"{folder / 'config.json'}", NEEDED)
    kept = folder / "checkpoints"
    if not kept.is_dir():
        raise InputError(f"{folder}: has no checkpoint yet; train it first.")
    steps = checkpoint.list_steps(kept)
    try:
        latest = max(steps, default=None)
        best = checkpoint.find_best_step(kept, config.checkpoint.best_metric) or latest
        named = {"best": best, "latest": latest}
        chosen = named[step] if isinstance(step, str) else step
        if chosen not in steps:
            raise InputError(
                f"{kept}: has no checkpoint {step!r}; give best, latest or one of {steps}."
            )
        described = kept / str(chosen) / "dataset" / "metadata"
        dataset = checkpoint.read_json(kept, chosen, "dataset")
        if not (isinstance(dataset, dict) and dataset.get("class_names")):
            raise DamagedCheckpointError(f"{described}: does not name the classes")
        dataset, identity = workdir.split_dataset_item(dataset, described)
        arrays = checkpoint.read_arrays(kept, chosen, "ema")
        variables = arrays.get("ema") or checkpoint.read_arrays(kept, chosen, "params", "stats")
    except DamagedCheckpointError as error:
        raise InputError(
            f"{kept}: checkpoint {step!r} cannot be read ({error}); restore it from a backup, or "
            f"give another --step of {steps}."
        ) from error
    variables = fitted(kept / str(chosen), config, len(dataset["class_names"]), variables)
    return Stored(config, dataset, variables, chosen, folder, identity)
