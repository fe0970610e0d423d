"""Training: `train_and_evaluate(config, workdir)`, from a config to a test report."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

import jax
import ml_collections
import numpy as np
from absl import logging
from jax.sharding import Mesh

from cervix_jax import __version__, distributed, figures
from cervix_jax.command.preemption import StopRequest
from cervix_jax.data.experiment import ExperimentData, open_data, with_absolute_folders
from cervix_jax.data.pipeline import steps_per_epoch
from cervix_jax.errors import InputError
from cervix_jax.evaluate.write import evaluate_split
from cervix_jax.files.atomic import storage_named
from cervix_jax.files.lock import held
from cervix_jax.files.paths import user_path
from cervix_jax.jax_settings import as_in_every_run
from cervix_jax.runs import workdir
from cervix_jax.runs.checkpoint import Checkpoints, list_steps
from cervix_jax.runs.damage import DamagedCheckpointError
from cervix_jax.runs.inference import make_forward
from cervix_jax.training import losses, optim, writers
from cervix_jax.training.check import batch_unit, check_config
from cervix_jax.training.hooks import EpochHook, Reporter, check_hook
from cervix_jax.training.loop import Loop, stoppable
from cervix_jax.training.profiling import ProfileWindow
from cervix_jax.training.same_data import resumed_data
from cervix_jax.training.start import starting_values
from cervix_jax.training.step import (
    RunInputs,
    State,
    inference_variables,
    init_state,
    make_train_step,
)

EVALUATION = "the final evaluation; every step is saved"


@as_in_every_run()
def train_and_evaluate(
    config: ml_collections.ConfigDict,
    folder: str | Path,
    data: ExperimentData | None = None,
    *,
    profile: str = "",
    on_epoch: EpochHook | None = None,
) -> dict:
    """Train a model, validate it each epoch, and evaluate the best checkpoint on the test split.

        config = base_config("sipakmed/single_cell")      # of cervix_jax.config.base
        config.data.manual_dir = "SIPaKMeD"
        report = train_and_evaluate(config, "runs/rcan")

    Without validation examples (as in the paper's split of Herlev) the last checkpoint is
    evaluated. Training resumes from the newest checkpoint in `folder`; a finished run is only
    evaluated again.

    Args:
      config: the config, see `base_config`.
      folder: the workdir; created if it does not exist.
      data: the data of the config, if they are already open.
      profile: training steps to profile, see `ProfileWindow`; "" profiles none.
      on_epoch: called after every epoch as `on_epoch(step, epoch, values)`, on the first process,
        once the epoch is saved. `values` are those of metrics.jsonl (`learning_rate`,
        `train/loss`, `val/accuracy` and so on), and `seed` and `fold`. A resumed run calls it once
        for each epoch that was not reported yet.

    Returns:
      The test report, see `cervix_jax.evaluate.report_file`.

    Raises:
      InputError: an input is invalid, or the folder is not writable.
      Preempted: SIGTERM was received; the progress is saved.
      NonFiniteLossError: the loss or a weight is not finite.
      HookError: `on_epoch` raised an exception; the run is saved, and the same call continues it.
    """
    if not isinstance(config, ml_collections.ConfigDict):
        raise InputError(
            f"config is a {type(config).__name__}; give a ConfigDict, such as "
            "cervix_jax.config.base.base_config() makes."
        )
    if not str(folder).strip():
        raise InputError("folder='': give the folder that the run is written to.")
    if on_epoch is not None:
        check_hook(on_epoch)
    with StopRequest() as stop:
        place = user_path(folder, "folder")
        return _train_and_evaluate(config, place, stop, data, profile, on_epoch)


def _train_and_evaluate(
    config: ml_collections.ConfigDict,
    folder: Path,
    stop: StopRequest,
    data: ExperimentData | None,
    profile: str,
    on_epoch: EpochHook | None,
) -> dict:
    window = ProfileWindow(profile, folder / "profile")
    show = distributed.is_main_process()
    _require_same_config(config)
    with stop.at_once("the preparation of the data"), distributed.all_or_none():
        check_config(config)
        mesh = data.pipeline.mesh if data else training_mesh(config)
        config = with_absolute_folders(config)
        data = data or open_data(config, mesh, progress=show)
        data, identity = resumed_data(config, folder, data, mesh, progress=show)
        train_indices = data.indices("train")
        data.indices("test")  # fails before any work
        epoch_steps = steps_per_epoch(len(train_indices), config.batch_size)
        num_steps = epoch_steps * config.num_epochs
        names = data.dataset.class_names
        schedule = optim.make_schedule(config, epoch_steps, num_steps)
        labels = np.asarray(data.dataset.labels)[train_indices]
        inputs = RunInputs(
            seed=config.seed,
            learning_rates=optim.learning_rates(schedule, num_steps),
            head_only_steps=round(config.optimizer.freeze_epochs * epoch_steps),
            class_weights=losses.class_weights(config.loss.class_weights, labels, len(names)),
        )
        resumes = bool(list_steps(folder / "checkpoints"))
        start_from = {} if resumes else starting_values(config, names)
        graphdef, state = init_state(config, len(names), mesh, start_from)
        train_step = make_train_step(graphdef, config, len(names), mesh)
        forward = make_forward(graphdef, config.model.normalization, mesh)
    _require_same_data(data)
    distributed.meet(mesh)
    placement = data.pipeline.placement  # the processes agree on it

    described = workdir.dataset_item(data.describe(), identity)
    items = {"config": config.to_dict(), "dataset": described, "history": []}
    target = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), state
    )
    # Nothing is written before every field of the config has been checked.
    with _storage_errors(folder), alone(folder):
        with distributed.all_or_none():
            workdir.claim(folder, config)
            # Not its limit, which differs at every start.
            kept = {"kind": placement.kind, "decoded_bytes": placement.decoded_bytes}
            workdir.write_environment(folder, data.describe(), kept)
            workdir.write_fingerprints(folder, data.dataset)
        distributed.require_same(
            {"config.json of the --workdir": workdir.config_text(folder)},
            "Give a --workdir on storage that all processes share.",
        )
        checkpoints = Checkpoints(folder / "checkpoints", config.checkpoint.best_metric)
        start = 0
        with stop.at_once("the reading of a checkpoint"):
            restored = checkpoints.restore_latest(target)
        if restored:
            start, state, kept_items = restored
            items["history"] = kept_items["history"]
            path = folder / "checkpoints" / str(start)
            if workdir.split_dataset_item(kept_items["dataset"], path)[1] is None:
                items["dataset"] = kept_items["dataset"]  # from a version that recorded less
            if start >= num_steps:
                logging.info(
                    "All %d steps are finished; evaluating the best checkpoint.", num_steps
                )
            else:
                logging.info("Resuming from step %d of %d.", start, num_steps)
        writer = writers.make_writer(folder, after_step=start)
        reporter = Reporter(on_epoch, folder, config)
        loop = Loop(
            config, data, train_step, forward, checkpoints, writer, items, inputs, stop, window,
            reporter,
        )  # fmt: skip
        try:
            reporter.report(writers.read_json_lines(folder / "metrics.jsonl"))
            loop.run(state, start, epoch_steps, num_steps)
            window.close()
            best = checkpoints.best_step() or checkpoints.steps()[-1]
        finally:
            writer.close()
            checkpoints.close()
        with stop.at_once(EVALUATION):
            evaluated = stoppable(forward, stop, EVALUATION)
            variables = inference_variables(_restore_best(checkpoints, folder, best, target))
            if show:
                figures.learning_curves(items["history"], folder / "learning_curves.png")
            report = evaluate_split(
                folder / "evaluate", "test", evaluated, variables, data, config, best, progress=show
            )
    return json.loads(distributed.gather_text(json.dumps(report))[0])


def _restore_best(checkpoints: Checkpoints, folder: Path, best: int, target: State) -> State:
    try:
        return checkpoints.restore(best, target)[0]
    except DamagedCheckpointError as error:
        raise InputError(
            f"{folder}/checkpoints/{best}: the best checkpoint cannot be read ({error}); "
            "restore it from a backup, or move that folder away to use the next best."
        ) from error


def _require_same_config(config: ml_collections.ConfigDict) -> None:
    facts = {
        f"config.{name}": repr(value)
        for name, value in workdir.flatten(config.to_dict()).items()
        if name not in ("data.manual_dir", "data.data_dir")  # hosts may store these elsewhere
    }
    facts |= {"version of cervix_jax": __version__, "version of JAX": jax.__version__}
    distributed.require_same(facts, "Start every process with the same command and versions.")


def _require_same_data(data: ExperimentData) -> None:
    dataset = data.dataset
    facts = {
        "data set": f"{dataset.name} {dataset.version}",
        "number of prepared examples": str(len(dataset)),
        "file names of the examples": "\n".join(dataset.filenames),
        "pixels of the examples": " ".join(dataset.digests),
        "labels of the examples": str(np.asarray(dataset.labels).tolist()),
        "division into train, val and test": " ".join(data.splits),
    }
    distributed.require_same(facts, "Prepare the same data set for every process.")


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """A block in which no other command trains in `folder`; all processes of a run enter together.

    Raises:
      InputError: another command trains there; the message names its process.
    """
    with contextlib.ExitStack() as stack:
        with distributed.all_or_none():
            if distributed.is_main_process():
                stack.enter_context(held(folder, f"--workdir={folder}"))
        yield


def _storage_errors(folder: Path) -> contextlib.AbstractContextManager[None]:
    """Convert library errors about a full or read-only disk to one line."""
    return storage_named(
        folder,
        lambda problem: (
            f"--workdir={folder} cannot be written ({problem}); the checkpoints there, of steps "
            f"{list_steps(folder / 'checkpoints')}, are unchanged. Make it writable or free "
            "some space, and repeat the command."
        ),
    )


def training_mesh(config: ml_collections.ConfigDict) -> Mesh:
    """Return the devices that share each batch: all, or as many as can share it equally.

    The batch size is part of the recipe and does not depend on the machine.

    Raises:
      InputError: several processes cannot share the batch.
    """
    unit = batch_unit(config)
    size = config.batch_size // unit
    mesh = distributed.make_mesh(size)
    groups = " / model.norm_groups" if config.model.norm_groups else ""
    distributed.check_divides(f"batch_size / accumulation_steps{groups}", size, mesh)
    used, there = mesh.devices.size, jax.device_count()
    if used < there and distributed.is_main_process():
        more = -(-size // there) * there * unit
        logging.warning(
            "%d of %d devices are used, because %d cannot share batch_size=%d equally; "
            "--config.batch_size=%d uses all of them.",
            used, there, there, config.batch_size, more,
        )  # fmt: skip
    return mesh
