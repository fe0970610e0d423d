"""Whether a config fits into the memory of the machines that were asked for, where it can be seen.

`python -m cervix_jax.compile` compiles the training step for a TPU that is not there. This needs
the package and libtpu on the machine that launches; nothing here stops a launch.
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
    """The arguments with which Python compiles the training step.

    Args:
      kind: the type of Cloud TPU, such as v5litepod-8.
      arguments: those of `cervix_jax.main`; its `--config` and the fields of it are taken.
      out: the JSON file that it writes.
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
    """Compile the training step of a config, and say where it does not fit.

    Returns:
      Whether it fits; None where that was not seen, of which one line says why.
    """
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        say(f"memory: not checked, since {missing[0]} is not installed here.")
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
            say(f"memory: not checked, since compiling took more than {minutes:g} minutes.")
            return None
        if done.returncode or not out.is_file():
            say(f"memory: not checked: {error_line(done.stderr) or 'the compiler failed'}")
            return None
        found = json.loads(out.read_text(encoding="utf-8"))["programs"]["train"]
    memory, images = found["memory"], found["images"]
    needed = f"{memory['total'] / 2**30:.1f} GiB" if memory["total"] else "more"
    there = f"{memory['available'] / 2**30:.1f} GiB"
    if memory["fits"]:
        say(f"memory: batch_size={images} fits: {needed} of {there} a chip.")
        return True
    largest = (found.get("largest_batch") or {}).get("images")
    hint = f"; by an estimate {largest} images do" if largest else ""
    say(
        f"WARNING: batch_size={images} does not fit on {kind}: it needs {needed} a chip and there "
        f"are {there}{hint}. Give a smaller --config.batch_size, --config.model.remat or "
        "--config.accumulation_steps, or more chips."
    )
    return False
