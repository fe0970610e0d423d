"""Orbax checkpoints of a run: the best by validation metric, and the latest.

A checkpoint holds the items `state` (a plain nested dict of arrays), `config`, `dataset` (class
names and where the data came from) and `history` (validation metrics so far), all but the first as
JSON. Any Orbax installation reads them without this package.
"""

import json
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from absl import logging
from etils import epath

from cervix_jax.errors import InputError

JSON_ITEMS = ("config", "dataset", "history")
MINIMISED = ("loss",)


class Checkpoints:
    """The checkpoints under one folder.

    Args:
      folder: `<workdir>/checkpoints`.
      metric: validation metric that says which is best: "accuracy", "balanced_accuracy", "loss".
    """

    def __init__(self, folder: Path, metric: str = "accuracy"):
        managers = ocp.checkpoint_managers
        lower_is_better = metric in MINIMISED

        def value(metrics: dict) -> float:
            return metrics[metric]

        best = managers.BestN(
            get_metric_fn=value,
            reverse=lower_is_better,
            n=1,
            keep_checkpoints_without_metrics=False,
        )
        options = ocp.CheckpointManagerOptions(
            best_fn=value,
            best_mode="min" if lower_is_better else "max",
            preservation_policy=managers.AnyPreservationPolicy([managers.LatestN(1), best]),
        )
        self._folder, self._metric = folder.absolute(), metric
        self._manager = ocp.CheckpointManager(self._folder, options=options)

    def save(self, step: int, state: Any, items: dict[str, Any], metrics: dict | None) -> None:
        """Start to write a checkpoint in the background; does nothing where `step` has one."""
        if step in self._manager.all_steps():
            return
        json_items = {name: ocp.args.JsonSave(items[name]) for name in JSON_ITEMS}
        composite = ocp.args.Composite(state=ocp.args.StandardSave(state), **json_items)
        self._manager.save(step, args=composite, metrics=metrics, force=True)

    def steps(self) -> list[int]:
        """Steps that have a finished checkpoint, ascending."""
        return sorted(self._manager.all_steps())

    def best_step(self) -> int | None:
        """Step with the best validation metric, or None; waits for saves under way."""
        self.wait()
        return find_best_step(self._folder, self._metric)

    def restore_latest(self, target: Any) -> tuple[int, Any, dict[str, Any]] | None:
        """The newest readable checkpoint: step, state, and JSON items; None where there is none.

        Unreadable ones that are newer are moved aside, so that their steps can be saved again.

        Args:
          target: abstract state (shapes, dtypes and shardings).

        Raises:
          InputError: there are checkpoints, and none can be read. Nothing is deleted.
        """
        steps, failures = self.steps(), {}
        for step in reversed(steps):
            try:
                restored = self.restore(step, target)
            except Exception as error:  # Orbax raises many kinds for a damaged file
                failures[step] = error
                continue
            for bad, error in failures.items():
                aside = self._folder / f"{bad}.damaged"
                logging.warning(
                    "%s/%d cannot be read (%s); moved to %s, going on from step %d.",
                    self._folder, bad, error, aside, step,
                )  # fmt: skip
                (self._folder / str(bad)).rename(aside)
            if failures:
                self._manager.reload()
            return step, *restored
        if failures:
            raise InputError(
                f"{self._folder}: none of the checkpoints {steps} can be read "
                f"({failures[steps[-1]]}); restore one from a backup, or train in another "
                "--workdir."
            )
        return None

    def restore(self, step: int, target: Any) -> tuple[Any, dict[str, Any]]:
        """State and JSON items of one checkpoint; raises what Orbax raises."""
        json_items = {name: ocp.args.JsonRestore() for name in JSON_ITEMS}
        composite = ocp.args.Composite(state=ocp.args.StandardRestore(target), **json_items)
        restored = self._manager.restore(step, args=composite)
        return restored["state"], {name: restored[name] for name in JSON_ITEMS}

    def wait(self) -> None:
        """Wait until what was saved is on disk."""
        self._manager.wait_until_finished()

    def close(self) -> None:
        """Wait, then release the background threads."""
        self._manager.wait_until_finished()
        self._manager.close()


def list_steps(folder: Path) -> list[int]:
    """Steps that have a finished checkpoint under `folder`, ascending; without Orbax."""
    return sorted(int(path.name) for path in folder.iterdir() if path.name.isdigit())


def find_best_step(folder: Path, metric: str) -> int | None:
    """Step with the best validation metric (the later of equals), or None; without Orbax."""
    sign = -1 if metric in MINIMISED else 1
    scored = []
    for step in list_steps(folder):
        path = folder / str(step) / "metrics" / "metrics"
        if path.exists():
            scored.append((sign * json.loads(path.read_text())[metric], step))
    return max(scored)[1] if scored else None


def read_json(folder: Path, step: int, item: str) -> Any:
    """One of `JSON_ITEMS` of a checkpoint; without Orbax."""
    return json.loads((folder / str(step) / item / "metadata").read_text())


def read_arrays(folder: Path, step: int, *parts: str) -> dict[str, Any]:
    """Arrays of a checkpoint's state as NumPy, on any number of devices.

    Args:
      folder: `<workdir>/checkpoints`.
      step: which checkpoint.
      parts: top-level keys to read, e.g. "params", "stats"; keys that are not there are left out.

    Returns:
      Nested dict of NumPy arrays.
    """
    path = epath.Path(folder.absolute()) / str(step) / "state"
    with ocp.PyTreeCheckpointer() as checkpointer:
        level = logging.get_verbosity()
        logging.set_verbosity(logging.ERROR)  # it warns that an item is not a checkpoint by itself
        try:
            tree = checkpointer.metadata(path).item_metadata.tree
        finally:
            logging.set_verbosity(level)
        wanted = {part: tree[part] for part in parts if part in tree}
        if not wanted:
            return {}
        as_numpy = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), wanted)
        return checkpointer.restore(
            path,
            args=ocp.args.PyTreeRestore(item=wanted, restore_args=as_numpy, partial_restore=True),
        )
