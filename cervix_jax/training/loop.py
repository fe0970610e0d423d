"""The epochs of one run: train, validate and save, with preemption and early stopping."""

import sys
import time
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import optax
from absl import logging

from cervix_jax import distributed, progress
from cervix_jax.command.preemption import Preempted, StopRequest
from cervix_jax.data.experiment import ExperimentData
from cervix_jax.progress import Bar
from cervix_jax.runs.checkpoint import Checkpoints
from cervix_jax.runs.inference import Forward, predict_split
from cervix_jax.statistics.performance import quick_metrics
from cervix_jax.training import writers
from cervix_jax.training.hooks import Reporter
from cervix_jax.training.profiling import ProfileWindow
from cervix_jax.training.step import (
    RunInputs,
    State,
    TrainStep,
    inference_variables,
)

REPORT_EVERY_STEPS = 10


class NonFiniteLossError(Exception):
    """The loss or a weight became infinite or NaN; no later checkpoint was written."""


class Loop:
    """The epochs of one run: training steps, validation, checkpoints and metrics.

    Args:
      config: the run's config.
      data: the data of the run.
      train_step: from `make_train_step`.
      forward: from `make_forward`.
      checkpoints: stores the states.
      writer: receives the metrics.
      items: JSON items of the checkpoints; `items["history"]` has a row for each epoch so far.
      inputs: inputs of the steps besides the batches.
      stop: checked after every step and every batch of validation.
      window: the steps to profile.
      reporter: receives the metrics of every saved epoch.
    """

    def __init__(
        self,
        config: ml_collections.ConfigDict,
        data: ExperimentData,
        train_step: TrainStep,
        forward: Forward,
        checkpoints: Checkpoints,
        writer: writers.MetricWriter,
        items: dict,
        inputs: RunInputs,
        stop: StopRequest,
        window: ProfileWindow,
        reporter: Reporter,
    ):
        self._config, self._data, self._stop, self._window = config, data, stop, window
        self._train_step, self._forward, self._inputs = train_step, forward, inputs
        self._checkpoints, self._writer, self._items = checkpoints, writer, items
        self._reporter = reporter
        self._show = distributed.is_main_process()
        self._left_out = 0  # updates that were not finite
        # The paper's Herlev split has no validation images; its run uses the last checkpoint.
        self._validates = bool((data.splits == "val").any())

    def run(self, state: State, start: int, epoch_steps: int, num_steps: int) -> State:
        """Train from step `start` to `num_steps`, or until validation no longer improves.

        Raises:
          Preempted: the process received a stop request; the state is saved.
          NonFiniteLossError: more updates than allowed were not finite.
        """
        config = self._config
        if start % epoch_steps == 0 and len(self._items["history"]) < start // epoch_steps:
            # The epoch's last step was saved, but the process stopped during its validation.
            state = self._end_epoch(state, start, start // epoch_steps, speed=0.0)
        if self._is_over(start, num_steps):
            return state
        batches = self._data.pipeline.train_batches(
            self._data.indices("train"), config.batch_size, seed=config.seed, start=start
        )
        every = config.checkpoint.every_steps
        bar = Bar(
            total=num_steps * config.batch_size, initial=start * config.batch_size,
            desc="compiling the network", unit=" images", smoothing=0.05, disable=not self._show,
            mininterval=0.2 if sys.stderr.isatty() else 20,
        )  # fmt: skip
        self._left_out, self._checked = int(state["nonfinite"]["total"]), start
        with bar:
            with self._stop.at_once("the preparation of the data"):
                batch = next(batches)
            since, began = start, time.monotonic()
            for step in range(start + 1, num_steps + 1):
                self._window.before(step)
                state = self._train_step(state, batch, self._inputs.at(step - 1))
                self._window.after(step, state)
                if step == start + 1:
                    since, began = self._compiled(state, bar, step)
                else:
                    bar.update(config.batch_size)
                ends_epoch = step % epoch_steps == 0
                stopping = self._stop.reached()
                must_save = stopping or bool(every and step % every == 0)
                if ends_epoch or must_save or step % REPORT_EVERY_STEPS == 0:
                    self._check_finite(state, step)
                    self._checkpoints.raise_failures()
                    loss = float(state["metrics"].loss.compute())
                    bar.set_postfix(loss=f"{loss:.3f}", epoch=step // epoch_steps)
                try:
                    if ends_epoch:
                        seconds = max(time.monotonic() - began, 1e-9)
                        speed = (step - since) * config.batch_size / seconds
                        state = self._end_epoch(state, step, step // epoch_steps, speed)
                    elif must_save:
                        self._save(state, step, None)
                    if self._is_over(step, num_steps):
                        break
                    if stopping:
                        raise Preempted
                except Preempted:  # after the step, or in the validation, which is then repeated
                    self._save(state, step, None)
                    self._checkpoints.wait()
                    raise Preempted(f"stopped at step {step} of {num_steps}; saved") from None
                if ends_epoch:
                    since, began = step, time.monotonic()
                batch = next(batches)
        return state

    def _compiled(self, state: State, bar: Bar, step: int) -> tuple[int, float]:
        """Run the first step, which compiles the model, outside the time that the bar measures.

        Returns:
          Step and time at which the speed measurement begins.
        """
        jax.block_until_ready(state)
        if self._show:
            Bar.write(f"compiled in {time.time() - bar.start_t:.0f} s", file=sys.stderr)
        bar.initial = bar.n = step * self._config.batch_size
        bar.start_t = bar.last_print_t = time.time()
        bar.last_print_n = bar.n
        bar.set_description_str("training")
        return step, time.monotonic()

    def _end_epoch(self, state: State, step: int, epoch: int, speed: float) -> State:
        """Validate, log and save; returns the state with its epoch sums at zero.

        Raises:
          Preempted: during the validation, before any change.
          HookError: after the epoch is saved.
        """
        val = self._validate(state, step) if self._validates else {}
        train = {name: float(value) for name, value in state["metrics"].compute().items()}
        row = {"epoch": epoch, "learning_rate": float(self._inputs.learning_rates[step - 1])}
        row |= {f"train/{name}": value for name, value in train.items()}
        row |= {f"val/{name}": value for name, value in val.items()}
        self._items["history"] = [*self._items["history"], row]
        scalars = row | {"images_per_second": speed}
        self._writer.write_scalars(step, scalars)
        state |= {"metrics": jax.tree.map(lambda x: x * 0, state["metrics"])}
        self._save(state, step, val or None)
        if self._show:
            facts = {"seed": self._config.seed, "fold": self._config.split.fold}
            progress.report("epoch", step=step, epoch=epoch, **facts, values=scalars)
        self._reporter.report([{"step": step, **scalars}])
        text = f"train loss {train['loss']:.4f} accuracy {train['accuracy']:.4f}"
        if val:
            text += f"  val loss {val['loss']:.4f} accuracy {val['accuracy']:.4f}"
        if self._show:
            Bar.write(f"epoch {epoch:3d}  {text}  {speed:.1f} images/s")
        return state

    def _validate(self, state: State, step: int) -> dict[str, float]:
        predictions = predict_split(
            stoppable(self._forward, self._stop, f"the validation after step {step}"),
            inference_variables(state),
            self._data.pipeline,
            self._data.indices("val"),
            self._config.eval_batch_size,
            progress="validation" if self._show else "",
        )
        found = quick_metrics(*predictions.scored())
        return {"loss": found.pop("nll")} | found

    def _save(self, state: State, step: int, metrics: dict | None) -> None:
        self._checkpoints.save(step, state, self._items, metrics)

    def _is_over(self, step: int, num_steps: int) -> bool:
        """Whether all steps are done, or validation has stopped improving."""
        patience, metric = self._config.early_stopping_epochs, self._config.checkpoint.best_metric
        if step >= num_steps or not patience or not self._validates:
            return step >= num_steps
        values = [row[f"val/{metric}"] for row in self._items["history"]]
        if metric == "loss":
            values = [-value for value in values]
        return bool(values) and len(values) - 1 - int(np.argmax(values)) >= patience

    def _check_finite(self, state: State, step: int) -> None:
        """Check that the weights are finite, and that few consecutive updates were skipped."""
        finite = bool(_finite(state["params"]))
        total, longest = (int(state["nonfinite"][name]) for name in ("total", "longest"))
        since, self._checked = self._checked, step
        if longest > self._config.optimizer.skip_nonfinite or not finite:
            what = "the loss or its gradient" if finite else "a weight"
            raise NonFiniteLossError(
                f"{what} was not finite between steps {since} and {step}; "
                f"checkpoints kept: {self._checkpoints.steps()}. Try a lower learning_rate."
            )
        if total > self._left_out:
            logging.warning(
                "Skipped %d non-finite updates between steps %d and %d.",
                total - self._left_out, since, step,
            )  # fmt: skip
            self._left_out = total


@jax.jit
def _finite(params: Any) -> jax.Array:
    return jnp.isfinite(optax.tree.norm(params))


def stoppable(forward: Forward, stop: StopRequest, stage: str) -> Forward:
    """Return `forward` that raises `Preempted` between two batches after a stop request."""

    def checked(variables, images):
        stop.check(stage)
        return forward(variables, images)

    return checked
