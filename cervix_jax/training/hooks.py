"""A user-defined function that receives the metrics of every epoch, for experiment trackers.

`hook.json` in the folder of the run counts the reported epochs, so an interrupted run reports each
epoch once, in order.
"""

import importlib
import inspect
import json
import sys
import traceback
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import ml_collections

from cervix_jax import distributed, plugins
from cervix_jax.errors import InputError, did_you_mean
from cervix_jax.files.atomic import write_json

EpochHook = Callable[[int, int, dict[str, float]], Any]
"""Called as `hook(step, epoch, values)`; what it returns is not used."""
FILE = "hook.json"


class HookError(Exception):
    """The hook raised an exception; the epochs so far are saved."""


def find_hook(text: str) -> EpochHook | None:
    """Return the hook of `--hook`.

    Args:
      text: `module:function`, with the module in the working directory or installed; or the name
        of an entry point of the group `cervix_jax.hooks`; "" means no hook.

    Raises:
      InputError: the hook does not exist, or cannot be called with three arguments.
    """
    if not text:
        return None
    module, colon, name = text.partition(":")
    if not colon:
        offered = plugins.load(plugins.HOOKS, "hook", text, check=check_hook)
        if offered is None:
            known = plugins.names(plugins.HOOKS)
            offers = f"; installed packages offer {', '.join(known)}" if known else ""
            raise InputError(
                f"--hook={text}: there is no such hook{did_you_mean(text, known)}; give "
                f"module:function{offers}."
            )
        return offered
    sys.path.insert(0, "")  # the command `cervix` does not search the working directory
    try:
        hook = getattr(importlib.import_module(module), name)
    except Exception as error:  # the user's module may raise anything
        raise InputError(
            f"--hook={text}: cannot be imported ({type(error).__name__}: {error}); give "
            "module:function, with the module in the working directory or installed."
        ) from error
    finally:
        sys.path.remove("")
    try:
        check_hook(hook)
    except InputError as error:
        raise InputError(f"--hook={text}: {error}") from error
    return hook


def check_hook(hook: Any) -> None:
    """Check that an object can be called as a hook.

    Raises:
      InputError: it cannot.
    """
    try:
        inspect.signature(hook).bind(0, 0, {})
    except TypeError as error:
        raise InputError(
            f"{hook!r} cannot be called as hook(step, epoch, values); define it with these three "
            "parameters."
        ) from error
    except ValueError:
        pass  # a function in C without a signature


class Reporter:
    """Calls a hook once for each epoch of one run, on the first process.

    Args:
      hook: the hook; None for no hook.
      folder: the folder of the run.
      config: the config of the run; its seed and fold are added to the values.
    """

    def __init__(self, hook: EpochHook | None, folder: Path, config: ml_collections.ConfigDict):
        self._hook, self._path = hook, folder / FILE
        self._facts = {"seed": config.seed, "fold": config.split.fold}
        self._reported = _last_epoch(self._path) if hook else 0

    def report(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Call the hook for the rows of metrics.jsonl whose epochs were not reported yet.

        With several processes all must call this together.

        Raises:
          HookError: the hook raised an exception.
        """
        if self._hook is None:
            return
        with distributed.all_or_none():
            if distributed.is_main_process():
                for row in rows:
                    if row["epoch"] > self._reported:
                        self._call(row)

    def _call(self, row: Mapping[str, Any]) -> None:
        values = {name: value for name, value in row.items() if name != "step"} | self._facts
        epoch = int(row["epoch"])
        assert self._hook is not None
        try:
            self._hook(int(row["step"]), epoch, values)
        except Exception as error:
            name = getattr(self._hook, "__qualname__", type(self._hook).__name__)
            last = traceback.extract_tb(error.__traceback__)[-1]
            raise HookError(
                f"the hook {name} failed after epoch {epoch} ({type(error).__name__}: {error}; "
                f"{last.filename}:{last.lineno}). The run is saved; correct the hook and "
                "repeat the command: it continues and calls the hook for this epoch again."
            ) from error
        self._reported = epoch
        write_json(self._path, {"epoch": epoch})


def _last_epoch(path: Path) -> int:
    try:
        return int(json.loads(path.read_text(encoding="utf-8"))["epoch"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0
