"""Checks that the training of a config fits into the memory of the requested machines.

`python -m cervix_jax.compile` compiles the training step for a TPU without having one. The check
requires the package and libtpu on the launching machine. It never stops a launch.
"""

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from config_check import config_flags, error_line

NEEDED = ("jax", "flax", "ml_collections", "libtpu")


def command(kind: str, arguments: Sequence[str], out: str) -> list[str]:
    """Arguments of Python that compile the training step.

    Args:
      kind: Cloud TPU type, such as v5litepod-8.
      arguments: arguments of `cervix_jax.main`; only `--config` and its overrides are used.
      out: JSON file to write.
    """
    return [
        "-m", "cervix_jax.compile", f"--topology={kind}", "--programs=train",
        f"--out={out}", *config_flags(arguments),
    ]  # fmt: skip


def check_fit(
    root: Path,
    kind: str,
    arguments: Sequence[str],
    minutes: float,
    say: Callable[[str], None] = print,
) -> bool | None:
    """Compile the training step of a config and print a warning if it does not fit.

    Returns:
      Whether it fits; None if the check was not possible, with the reason printed as one line.
    """
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        say(f"memory: not checked, because {missing[0]} is not installed here.")
        return None
    say(f"memory: compiling the training step for {kind}, at most {minutes:g} minutes ...")
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch, "fit.json")
        try:
            done = subprocess.run(
                [sys.executable, *command(kind, arguments, str(out))],
                cwd=root, timeout=60 * minutes, check=False,
                env=os.environ | {"JAX_PLATFORMS": "cpu"}, capture_output=True, text=True,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            say(f"memory: not checked, because compilation took more than {minutes:g} minutes.")
            return None
        if done.returncode or not out.is_file():
            say(f"memory: not checked: {error_line(done.stderr) or 'the compiler failed'}")
            return None
        found = json.loads(out.read_text(encoding="utf-8"))["programs"]["train"]
    memory, images = found["memory"], found["images"]
    needed = f"{memory['total'] / 2**30:.1f} GiB" if memory["total"] else "more"
    there = f"{memory['available'] / 2**30:.1f} GiB"
    if memory["fits"]:
        say(f"memory: batch_size={images} fits: {needed} of {there} per chip.")
        return True
    largest = (found.get("largest_batch") or {}).get("images")
    hint = f"; the estimated largest batch size is {largest}" if largest else ""
    say(
        f"WARNING: batch_size={images} does not fit on {kind}: it needs {needed} per chip of "
        f"{there} available{hint}. Give a smaller --config.batch_size, --config.model.remat or "
        "--config.accumulation_steps, or more chips."
    )
    return False
