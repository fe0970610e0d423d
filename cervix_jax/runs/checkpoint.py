"""Orbax checkpoints of a run: the best by validation metric, and the latest two.

A checkpoint holds the items `state` (a plain nested dict of arrays), `config`, `dataset` (class
names and where the data came from) and `history` (validation metrics so far), all but the first as
JSON. Any Orbax installation reads them without this package.

Damaged checkpoints are detected by checksums of the arrays and of the JSON items, which are stored
in the checkpoint's metadata. The storage format has its own checksums, but none for the values of
large arrays.
"""

import functools
import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from absl import logging
from etils import epath

from cervix_jax import distributed
from cervix_jax.errors import InputError
from cervix_jax.files.alias import plain_path
from cervix_jax.runs.checksums import CHECKSUMS, array_sums, compare, json_sum, json_sums
from cervix_jax.runs.damage import DamagedCheckpointError, reading

JSON_ITEMS = ("config", "dataset", "history")
MINIMISED = ("loss",)
KEPT_LATEST = 2  # leaves a fallback if the newest is also the best


class _Manager(ocp.CheckpointManager):
    """A manager that leaves the question of preemption to the training loop."""

    def reached_preemption(self, step: int) -> bool:
        # The preemption service requires increasing numbers; Orbax passes the step, and also calls
        # from its own thread.
        del step
        return False


class Checkpoints:
    """The checkpoints under one folder; every process of a run makes the same calls.

    Args:
      folder: `<workdir>/checkpoints`.
      metric: validation metric that selects the best: "accuracy", "balanced_accuracy" or "loss".
    """

    def __init__(self, folder: Path, metric: str = "accuracy"):
        self._folder, self._metric = folder.absolute(), metric
        self._read_back_once = False

    @functools.cached_property
    def _manager(self) -> ocp.CheckpointManager:
        # Created on first use, because it writes and fails if a metrics file is damaged.
        self._folder.mkdir(parents=True, exist_ok=True)  # a link to nothing cannot be made one
        managers = ocp.checkpoint_managers
        lower_is_better = self._metric in MINIMISED

        def value(metrics: dict) -> float:
            return metrics[self._metric]

        best = managers.BestN(
            get_metric_fn=value,
            reverse=lower_is_better,
            n=1,
            keep_checkpoints_without_metrics=False,
        )
        options = ocp.CheckpointManagerOptions(
            best_fn=value,
            best_mode="min" if lower_is_better else "max",
            preservation_policy=managers.AnyPreservationPolicy(
                [managers.LatestN(KEPT_LATEST), best]
            ),
            cleanup_tmp_directories=True,
        )
        return _Manager(plain_path(self._folder), options=options)

    def save(self, step: int, state: Any, items: dict[str, Any], metrics: dict | None) -> None:
        """Start to write a checkpoint in the background; waits for the first one and reads it back.

        Does nothing if `step` has a checkpoint, unless that one was saved without metrics and
        `metrics` are given. A save that failed in the background raises at the next method call.
        """
        if step in self._manager.all_steps():
            if metrics is None or self._manager.metrics(step) is not None:
                return
            self.wait()
            self._manager.delete(step)
        kept = {name: items[name] for name in JSON_ITEMS}
        json_items = {name: ocp.args.JsonSave(item) for name, item in kept.items()}
        composite = ocp.args.Composite(state=ocp.args.StandardSave(state), **json_items)
        sums = {CHECKSUMS: array_sums(state) | json_sums(kept, metrics)}
        self._manager.save(step, args=composite, metrics=metrics, custom_metadata=sums, force=True)
        if not self._read_back_once:
            self._read_back_once = True
            self._read_back(step)

    def raise_failures(self) -> None:
        """Raise the error of a failed background save; does not wait for saves under way."""
        if "_manager" in vars(self):
            self._manager.check_for_errors()

    def steps(self) -> list[int]:
        """Return the steps that have a finished checkpoint, ascending."""
        return list_steps(self._folder)

    def best_step(self) -> int | None:
        """Return the step with the best validation metric, or None; waits for saves under way."""
        self.wait()
        return find_best_step(self._folder, self._metric)

    def restore_latest(self, target: Any) -> tuple[int, Any, dict[str, Any]] | None:
        """Restore the newest undamaged checkpoint (step, state, JSON items); None if none exists.

        Newer damaged checkpoints are moved aside, so that their steps can be saved again, and so
        are older ones with damaged metrics.

        Args:
          target: abstract state (shapes, dtypes and shardings).

        Raises:
          InputError: all checkpoints are damaged, or one cannot be read for another reason, such as
            permissions. Nothing is deleted or moved.
        """
        steps, damaged = self.steps(), {}
        for step in reversed(steps):
            # In two parts: in the second the processes wait for each other.
            items, damage = _damage_anywhere(functools.partial(self._read_items, step))
            if damage is None:
                read_state = functools.partial(self._read_state, step, target)
                state, damage = _damage_anywhere(read_state)
                if damage is None:
                    damaged |= _damaged_metrics(self._folder, [s for s in steps if s < step])
                    for bad, what in damaged.items():
                        self._set_aside(bad, what, step)
                    return step, state, items
            damaged[step] = damage
        if damaged:
            raise InputError(
                f"{self._folder}: none of the checkpoints {steps} can be read "
                f"({damaged[steps[-1]]}); restore one from a backup, or train in another "
                "--workdir."
            )
        return None

    def _set_aside(self, bad: int, damage: str, going_on_from: int) -> None:
        number, aside = 0, self._folder / f"{bad}.damaged"
        while aside.exists():
            number += 1
            aside = self._folder / f"{bad}.damaged-{number}"
        distributed.wait_for_all("damaged")
        if distributed.is_main_process():
            logging.warning(
                "%s/%d cannot be read (%s); moved to %s; resuming from step %d.",
                self._folder, bad, damage, aside, going_on_from,
            )  # fmt: skip
            (self._folder / str(bad)).rename(aside)
        distributed.wait_for_all("set aside")

    def restore(self, step: int, target: Any) -> tuple[Any, dict[str, Any]]:
        """Return state and JSON items of one checkpoint.

        Raises:
          DamagedCheckpointError: a file is damaged; the message names it.
          InputError: it cannot be read for another reason, or belongs to another model.
        """
        items = self._read_items(step)
        return self._read_state(step, target), items

    def _read_items(self, step: int) -> dict[str, Any]:
        with reading(self._folder / str(step)):
            items = {name: read_json(self._folder, step, name) for name in JSON_ITEMS}
            metrics = _read_metrics(self._folder, step)
            sums = json_sums(items, metrics) | {"json": json_sum([items, metrics])}
            compare(self._folder, step, sums)
        return items

    def _read_state(self, step: int, target: Any) -> Any:
        with (
            reading(self._folder / str(step)),
            ocp.Checkpointer(ocp.StandardCheckpointHandler()) as checkpointer,
        ):
            path = epath.Path(plain_path(self._folder)) / str(step) / "state"
            state = checkpointer.restore(path, args=ocp.args.StandardRestore(target))
            compare(self._folder, step, array_sums(state))
        return state

    def _read_back(self, step: int) -> None:
        """Check once that the storage returns the saved data, before a run relies on it.

        Raises:
          InputError: it does not.
        """
        self._manager.wait_until_finished()
        with distributed.all_or_none():
            try:
                self._read_items(step)
                read_arrays(self._folder, step, "params", "stats", "ema")
            except InputError as error:
                raise InputError(
                    f"the first checkpoint was written and cannot be read back: {error} Choose a "
                    "--workdir on another file system."
                ) from error

    def wait(self) -> None:
        """Wait until all saves are on disk."""
        if "_manager" in vars(self):
            self._manager.wait_until_finished()

    def close(self) -> None:
        """Wait for saves, then release the background threads."""
        if "_manager" in vars(self):
            self._manager.close()


def list_steps(folder: Path) -> list[int]:
    """Return the steps with a finished checkpoint under `folder`, ascending; without Orbax."""
    if not folder.is_dir():
        return []
    return sorted(int(path.name) for path in folder.iterdir() if path.name.isdecimal())


def find_best_step(folder: Path, metric: str) -> int | None:
    """Return the step with the best validation metric (the later if tied) or None; no Orbax."""
    sign = -1 if metric in MINIMISED else 1
    scored = []
    for step in list_steps(folder):
        metrics = _read_metrics(folder, step)
        if metrics is not None:
            if metric not in metrics:
                raise InputError(
                    f"{folder / str(step)}: has no {metric}, the checkpoint.best_metric of "
                    "config.json; restore the original value in config.json."
                )
            scored.append((sign * metrics[metric], step))
    return max(scored)[1] if scored else None


def read_json(folder: Path, step: int, item: str) -> Any:
    """Return one of `JSON_ITEMS` of a checkpoint; without Orbax."""
    with reading(folder / str(step)):
        return json.loads((folder / str(step) / item / "metadata").read_text(encoding="utf-8"))


def _read_metrics(folder: Path, step: int) -> dict[str, float] | None:
    path = folder / str(step) / "metrics" / "metrics"
    with reading(folder / str(step)):
        metrics = json.loads(path.read_text(encoding="utf-8")) if path.exists() else None
        if not isinstance(metrics, dict | None):
            raise DamagedCheckpointError(f"{path}: is damaged: it holds no metrics")
    return metrics


def _damaged_metrics(folder: Path, steps: list[int]) -> dict[int, str]:
    damaged = {}
    for step in steps:
        try:
            _read_metrics(folder, step)
        except DamagedCheckpointError as error:
            damaged[step] = str(error)
    return damaged


def _damage_anywhere(read: Callable[[], Any]) -> tuple[Any, str | None]:
    """Return the result of `read`, and damage found by any process; all processes get the same."""
    found, damage = None, ""
    with distributed.all_or_none():
        try:
            found = read()
        except DamagedCheckpointError as error:
            damage = str(error)
    return found, next(filter(None, distributed.gather_text(damage)), None)


def read_arrays(folder: Path, step: int, *parts: str) -> dict[str, Any]:
    """Read arrays of a checkpoint's state as NumPy, on any number of devices.

    Args:
      folder: `<workdir>/checkpoints`.
      step: step of the checkpoint.
      parts: top-level keys to read, e.g. "params", "stats"; missing keys are skipped.

    Returns:
      Nested dict of NumPy arrays.

    Raises:
      DamagedCheckpointError: a file is damaged; the message names it.
      InputError: it cannot be read for another reason.
    """
    path = epath.Path(plain_path(folder)) / str(step) / "state"
    with reading(folder / str(step)), ocp.PyTreeCheckpointer() as checkpointer:
        level = logging.get_verbosity()
        logging.set_verbosity(logging.ERROR)  # no warning that an item is no checkpoint
        try:
            described = checkpointer.metadata(path).item_metadata
        finally:
            logging.set_verbosity(level)
        if described is None:  # Orbax hides the reason, but restoring raises it too
            with warnings.catch_warnings(action="ignore"):
                checkpointer.restore(path)
            raise DamagedCheckpointError(
                f"{folder / str(step) / 'state'}: has no readable metadata"
            )
        tree = described.tree
        wanted = {part: tree[part] for part in parts if part in tree}
        if not wanted:
            return {}
        as_numpy = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), wanted)
        arrays = checkpointer.restore(
            path,
            args=ocp.args.PyTreeRestore(item=wanted, restore_args=as_numpy, partial_restore=True),
        )
        # The optimiser's state is restored in other containers, whose arrays have another order.
        plain = {part: tree for part, tree in arrays.items() if part in ("params", "stats", "ema")}
        compare(folder, step, array_sums(plain))
    return arrays
