"""Training: `train_and_evaluate(config, workdir)`, from a config to a test report."""

import signal
import sys
import threading
import time
from pathlib import Path

import jax
import ml_collections
import numpy as np
import optax
from absl import logging
from tqdm import tqdm

from cervix_jax import distributed, evaluate, figures, losses, optim, workdir, writers
from cervix_jax.checkpoint import Checkpoints, list_steps
from cervix_jax.data.experiment import ExperimentData, open_data
from cervix_jax.data.normalization import NORMALIZATIONS
from cervix_jax.data.pipeline import steps_per_epoch
from cervix_jax.errors import InputError
from cervix_jax.inference import Forward, make_forward, predict_split
from cervix_jax.init_from import starting_values
from cervix_jax.metrics import classification_report
from cervix_jax.train_step import State, inference_variables, init_state, make_train_step

REPORT_EVERY_STEPS = 10
BEST_METRICS = ("accuracy", "balanced_accuracy", "loss")


class Preempted(Exception):
    """The process was asked to stop (SIGTERM); what was done so far is saved."""


class NonFiniteLossError(Exception):
    """The loss became infinite or not a number; no checkpoint after that was written."""


def train_and_evaluate(config: ml_collections.ConfigDict, folder: str | Path) -> dict:
    """Train, validate each epoch, and evaluate the best checkpoint on the test split.

    A split without validation examples (the paper's of Herlev) takes the last checkpoint.

    Starts from the newest checkpoint in `folder`; a finished run is only evaluated again.

    Args:
      config: see `configs/common.py`.
      folder: the workdir; made if needed.

    Returns:
      The test report, see `cervix_jax.evaluate.write_evaluation`.

    Raises:
      InputError: something the user gave cannot be used.
      Preempted: SIGTERM came; the state is saved.
      NonFiniteLossError: the loss is no longer a number.
    """
    folder = Path(folder)
    mesh = distributed.make_mesh()
    check_config(config, mesh)
    show = distributed.is_main_process()
    data = open_data(config, mesh, progress=show)
    train_indices = data.indices("train")
    epoch_steps = steps_per_epoch(len(train_indices), config.batch_size)
    num_steps = epoch_steps * config.num_epochs
    names = data.dataset.class_names

    schedule = optim.make_schedule(config, epoch_steps, num_steps)
    optimizer = optim.make_optimizer(config, schedule, epoch_steps)
    labels = np.asarray(data.dataset.labels)[train_indices]
    weights = losses.class_weights(config.loss.class_weights, labels, len(names))
    kept = folder / "checkpoints"
    resumes = kept.is_dir() and bool(list_steps(kept))
    start_from = {} if resumes else starting_values(config, names)
    graphdef, state = init_state(config, len(names), optimizer, mesh, start_from)
    train_step = make_train_step(graphdef, config, optimizer, weights, mesh)
    forward = make_forward(graphdef, config.model.normalization, mesh)

    # Only now, with every field of the config looked at, is anything written.
    workdir.claim(folder, config)
    about_data = data.describe()
    workdir.write_environment(folder, about_data)
    checkpoints = Checkpoints(folder / "checkpoints", config.checkpoint.best_metric)
    items = {"config": config.to_dict(), "dataset": about_data, "history": []}
    target = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), state
    )
    restored = checkpoints.restore_latest(target)
    if restored:
        start, state, kept_items = restored
        items["history"] = kept_items["history"]
        if start >= num_steps:
            logging.info("All %d steps are done; evaluating the best checkpoint.", num_steps)
        else:
            logging.info("Resuming from step %d of %d.", start, num_steps)
    else:
        start = 0
    writer = writers.make_writer(folder, after_step=start)
    loop = Loop(config, data, train_step, forward, checkpoints, writer, items, schedule)
    try:
        loop.run(state, start, epoch_steps, num_steps)
        best = checkpoints.best_step() or checkpoints.steps()[-1]
        state, _ = checkpoints.restore(best, target)
    finally:
        writer.close()
        checkpoints.close()

    predictions = predict_split(
        forward,
        inference_variables(state),
        data.pipeline,
        data.indices("test"),
        config.eval_batch_size,
        progress="test" if show else "",
    )
    figures.learning_curves(items["history"], folder / "learning_curves.png")
    return evaluate.write_evaluation(folder / "evaluate", "test", predictions, data, config, best)


class Loop:
    """The epochs of one run; `items` is what each checkpoint says beside its arrays."""

    def __init__(
        self,
        config: ml_collections.ConfigDict,
        data: ExperimentData,
        train_step,
        forward: Forward,
        checkpoints: Checkpoints,
        writer: writers.MetricWriter,
        items: dict,
        schedule: optax.Schedule,
    ):
        self._config, self._data = config, data
        self._train_step, self._forward, self._schedule = train_step, forward, schedule
        self._checkpoints, self._writer, self._items = checkpoints, writer, items
        self._show = distributed.is_main_process()
        # The paper's Herlev split has no validation images: then the last checkpoint is taken.
        self._validates = bool((data.splits == "val").any())

    def run(self, state: State, start: int, epoch_steps: int, num_steps: int) -> State:
        """Train from step `start` to `num_steps`, or until validation no longer improves."""
        config = self._config
        if self._is_over(start, num_steps):
            return state
        batches = self._data.pipeline.train_batches(
            self._data.indices("train"), config.batch_size, seed=config.seed, start=start
        )
        every = config.checkpoint.every_steps
        bar = tqdm(
            total=num_steps * config.batch_size, initial=start * config.batch_size,
            desc="training", unit=" images", smoothing=0.05, disable=not self._show,
            mininterval=0.2 if sys.stderr.isatty() else 20,
        )  # fmt: skip
        with bar, _StopRequest() as stop:
            since, began = start, time.monotonic()
            for step in range(start + 1, num_steps + 1):
                state = self._train_step(state, next(batches))
                bar.update(config.batch_size)
                ends_epoch = step % epoch_steps == 0
                must_save = stop.requested or bool(every and step % every == 0)
                if ends_epoch or must_save or step % REPORT_EVERY_STEPS == 0:
                    loss = float(state["metrics"].loss.compute())
                    self._check_finite(loss, step)
                    bar.set_postfix(loss=f"{loss:.3f}", epoch=step // epoch_steps)
                if ends_epoch:
                    train = {k: float(v) for k, v in state["metrics"].compute().items()}
                    speed = (step - since) * config.batch_size / (time.monotonic() - began)
                    state = self._end_epoch(state, step, step // epoch_steps, train, speed)
                    if self._is_over(step, num_steps):
                        break
                    since, began = step, time.monotonic()
                elif must_save:
                    self._save(state, step, None)
                if stop.requested and (ends_epoch or must_save):
                    self._checkpoints.wait()
                    raise Preempted(f"stopped at step {step} of {num_steps}; saved")
        return state

    def _end_epoch(self, state: State, step: int, epoch: int, train: dict, speed: float) -> State:
        """Validate, log and save; gives back the state with its epoch sums at zero."""
        val = self._validate(state) if self._validates else {}
        row = {"epoch": epoch, "learning_rate": float(self._schedule(step))}
        row |= {f"train/{name}": value for name, value in train.items()}
        row |= {f"val/{name}": value for name, value in val.items()}
        self._items["history"] = [*self._items["history"], row]
        self._writer.write_scalars(step, row | {"images_per_second": speed})
        state |= {"metrics": jax.tree.map(lambda x: x * 0, state["metrics"])}
        self._save(state, step, val or None)
        text = f"train loss {train['loss']:.4f} accuracy {train['accuracy']:.4f}"
        if val:
            text += f"  val loss {val['loss']:.4f} accuracy {val['accuracy']:.4f}"
        tqdm.write(f"epoch {epoch:3d}  {text}  {speed:.1f} images/s")
        return state

    def _validate(self, state: State) -> dict[str, float]:
        predictions = predict_split(
            self._forward,
            inference_variables(state),
            self._data.pipeline,
            self._data.indices("val"),
            self._config.eval_batch_size,
            progress="validation" if self._show else "",
        )
        report = classification_report(
            predictions.labels, predictions.probabilities, self._data.dataset.class_names
        )
        return {
            "loss": report["nll"],
            "accuracy": report["accuracy"],
            "balanced_accuracy": report["balanced_accuracy"],
        }

    def _save(self, state: State, step: int, metrics: dict | None) -> None:
        self._checkpoints.save(step, state, self._items, metrics)

    def _is_over(self, step: int, num_steps: int) -> bool:
        """Whether all steps are done, or validation has not improved for long enough."""
        patience, metric = self._config.early_stopping_epochs, self._config.checkpoint.best_metric
        if step >= num_steps or not patience or not self._validates:
            return step >= num_steps
        values = [row[f"val/{metric}"] for row in self._items["history"]]
        if metric == "loss":
            values = [-value for value in values]
        return bool(values) and len(values) - 1 - int(np.argmax(values)) >= patience

    def _check_finite(self, loss: float, step: int) -> None:
        if not np.isfinite(loss):
            raise NonFiniteLossError(
                f"the loss became {loss} between steps {max(step - REPORT_EVERY_STEPS, 0)} and "
                f"{step}; checkpoints kept: {self._checkpoints.steps()}. Try a lower learning_rate."
            )


def check_config(config: ml_collections.ConfigDict, mesh) -> None:
    """See that numbers are in range, before any work.

    Raises:
      InputError: names the field and its value.
    """
    distributed.check_divides("batch_size", config.batch_size, mesh)
    distributed.check_divides("eval_batch_size", config.eval_batch_size, mesh)
    ranges = {
        "num_epochs": (config.num_epochs, 1, 100_000),
        "image_size": (config.image_size, 32, 4096),
        "learning_rate": (config.learning_rate, 0, 100),
        "ema_decay": (config.ema_decay, 0, 1),
        "early_stopping_epochs": (config.early_stopping_epochs, 0, 100_000),
        "optimizer.freeze_epochs": (config.optimizer.freeze_epochs, 0, 100_000),
        "optimizer.layer_decay": (config.optimizer.layer_decay, 0.01, 1),
        "loss.label_smoothing": (config.loss.label_smoothing, 0, 0.999),
        "checkpoint.every_steps": (config.checkpoint.every_steps, 0, 10**9),
    }
    for name, (value, low, high) in ranges.items():
        if not low <= value <= high:
            raise InputError(f"{name}={value} is out of range; give a value from {low} to {high}.")
    choices = {
        "checkpoint.best_metric": (config.checkpoint.best_metric, BEST_METRICS),
        "model.normalization": (config.model.normalization, NORMALIZATIONS),
    }
    for name, (value, known) in choices.items():
        if value not in known:
            raise InputError(f"{name}={value!r} is unknown; choose one of {', '.join(known)}.")


class _StopRequest:
    """Notes SIGTERM instead of dying of it, while the block lasts (main thread only)."""

    def __enter__(self):
        self.requested, self._previous = False, None
        if threading.current_thread() is threading.main_thread():
            self._previous = signal.signal(signal.SIGTERM, self._note)
        return self

    def __exit__(self, *unused):
        if self._previous is not None:
            signal.signal(signal.SIGTERM, self._previous)

    def _note(self, *unused):
        self.requested = True
