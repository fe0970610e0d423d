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
KEPT_LATEST = 2  # so that there is one to fall back to where the newest is also the best


class _Manager(ocp.CheckpointManager):
    """Leaves it to the training loop to ask whether the process is being preempted."""

    def reached_preemption(self, step: int) -> bool:
        # The preemption service wants numbers that only grow; Orbax asks with the step, and also
        # from a thread of its own.
        del step
        return False


class Checkpoints:
    """The checkpoints under one folder; every process of a run makes the same calls.

    Args:
      folder: `<workdir>/checkpoints`.
      metric: validation metric that says which is best: "accuracy", "balanced_accuracy", "loss".
    """

    def __init__(self, folder: Path, metric: str = "accuracy"):
        self._folder, self._metric = folder.absolute(), metric
        self._read_back_once = False

    @functools.cached_property
    def _manager(self) -> ocp.CheckpointManager:
        # Made when it is first needed: it writes, and it fails where a metrics file is damaged.
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
        """Start to write a checkpoint in the background; the first is waited for and read back.

        Does nothing where `step` has one, unless that one was saved without metrics and these
        bring them. A save that failed in the background raises at the next call of any method.
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
        """Raise what a save in the background has failed with; does not wait for it."""
        if "_manager" in vars(self):
            self._manager.check_for_errors()

    def steps(self) -> list[int]:
        """Steps that have a finished checkpoint, ascending."""
        return list_steps(self._folder)

    def best_step(self) -> int | None:
        """Step with the best validation metric, or None; waits for saves under way."""
        self.wait()
        return find_best_step(self._folder, self._metric)

    def restore_latest(self, target: Any) -> tuple[int, Any, dict[str, Any]] | None:
        """The newest undamaged checkpoint: step, state, and JSON items; None where there is none.

        Damaged ones that are newer are moved aside, so that their steps can be saved again; so are
        older ones whose metrics are damaged.

        Args:
          target: abstract state (shapes, dtypes and shardings).

        Raises:
          InputError: there are checkpoints, and all are damaged, or one cannot be read for another
            reason, such as permissions. Nothing is deleted or moved.
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
        """State and JSON items of one checkpoint.

        Raises:
          DamagedCheckpointError: a file is damaged; names it.
          InputError: it cannot be read for another reason, or is not of this network.
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
        """See once that a storage gives back what was saved, before a run relies on it.

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
        """Wait until what was saved is on disk."""
        if "_manager" in vars(self):
            self._manager.wait_until_finished()

    def close(self) -> None:
        """Wait, then release the background threads."""
        if "_manager" in vars(self):
            self._manager.close()


def list_steps(folder: Path) -> list[int]:
    """Steps that have a finished checkpoint under `folder`, ascending; without Orbax."""
    if not folder.is_dir():
        return []
    return sorted(int(path.name) for path in folder.iterdir() if path.name.isdecimal())


def find_best_step(folder: Path, metric: str) -> int | None:
    """Step with the best validation metric (the later of equals), or None; without Orbax."""
    sign = -1 if metric in MINIMISED else 1
    scored = []
    for step in list_steps(folder):
        metrics = _read_metrics(folder, step)
        if metrics is not None:
            if metric not in metrics:
                raise InputError(
                    f"{folder / str(step)}: was saved without {metric}, by which config.json says "
                    "the best is chosen; give config.json back its checkpoint.best_metric."
                )
            scored.append((sign * metrics[metric], step))
    return max(scored)[1] if scored else None


def read_json(folder: Path, step: int, item: str) -> Any:
    """One of `JSON_ITEMS` of a checkpoint; without Orbax."""
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
    """What `read` gives, and the damage that it or another process's found; all get the same."""
    found, damage = None, ""
    with distributed.all_or_none():
        try:
            found = read()
        except DamagedCheckpointError as error:
            damage = str(error)
    return found, next(filter(None, distributed.gather_text(damage)), None)


def read_arrays(folder: Path, step: int, *parts: str) -> dict[str, Any]:
    """Arrays of a checkpoint's state as NumPy, on any number of devices.

    Args:
      folder: `<workdir>/checkpoints`.
      step: which checkpoint.
      parts: top-level keys to read, e.g. "params", "stats"; keys that are not there are left out.

    Returns:
      Nested dict of NumPy arrays.

    Raises:
      DamagedCheckpointError: a file is damaged; names it.
      InputError: it cannot be read for another reason.
    """
    path = epath.Path(plain_path(folder)) / str(step) / "state"
    with reading(folder / str(step)), ocp.PyTreeCheckpointer() as checkpointer:
        level = logging.get_verbosity()
        logging.set_verbosity(logging.ERROR)  # it warns that an item is not a checkpoint by itself
        try:
            described = checkpointer.metadata(path).item_metadata
        finally:
            logging.set_verbosity(level)
        if described is None:  # Orbax keeps the reason to itself, but restoring has it too
            with warnings.catch_warnings(action="ignore"):
                checkpointer.restore(path)
            raise DamagedCheckpointError(f"{folder / str(step) / 'state'}: cannot be described")
        tree = described.tree
        wanted = {part: tree[part] for part in parts if part in tree}
        if not wanted:
            return {}
        as_numpy = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), wanted)
        arrays = checkpointer.restore(
            path,
            args=ocp.args.PyTreeRestore(item=wanted, restore_args=as_numpy, partial_restore=True),
        )
        # The optimiser's state comes back as other containers, whose arrays have another order.
        plain = {part: tree for part, tree in arrays.items() if part in ("params", "stats", "ema")}
        compare(folder, step, array_sums(plain))
    return arrays
