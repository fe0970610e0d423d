"""Checks that training can start, before a machine is requested and costs money.

With Python alone it checks that the config file is in the checkout and defines `get_config`. If
this Python also has the package's dependencies, the package checks the config and every override.
"""

import ast
import importlib.util
import itertools
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tpu_types import LaunchError

NEEDED = ("absl", "flax", "jax", "ml_collections", "tensorflow_datasets")
# The checks that `cervix_jax.main` makes before it connects to other processes.
READ = """
from absl import flags
from cervix_jax import main
from cervix_jax.command.run import run_command
from cervix_jax.training.check import check_config
main.define_flags()
run_command(lambda argv: check_config(flags.FLAGS.config), devices=False, alone=False)
"""


def config_file(root: Path, arguments: Sequence[str]) -> str:
    """The path, relative to the checkout, of the config that the arguments name.

    Args:
      root: the checkout.
      arguments: arguments of `cervix_jax.main` with `--config=PATH` or `--config PATH`; PATH may
        have an argument after a colon.

    Raises:
      LaunchError: the arguments name no config, or the file is not a config.
    """
    given = dict(word.split("=", 1) for word in config_flags(arguments) if "=" in word)
    given = given.get("--config")
    if not given:
        raise LaunchError(
            "--config is missing; give it after --, e.g. -- --config=configs/rcan.py."
        )
    path = given.partition(":")[0]
    if Path(path).is_absolute():
        raise LaunchError(
            f"--config={given}: the machines have only the files of the checkout; give a path "
            "relative to it, e.g. --config=configs/rcan.py."
        )
    # As in cervix_jax.config.files.find_config, a bare name refers to a file of configs/.
    found = next((p for p in (path, f"configs/{path}") if (root / p).is_file()), None)
    if found is None:
        known = ", ".join(sorted(each.name for each in (root / "configs").glob("*.py")))
        raise LaunchError(
            f"--config={given}: there is no such file in {root}; configs/ has {known}."
        )
    try:
        tree = ast.parse((root / found).read_text(encoding="utf-8"))
    except (SyntaxError, ValueError) as error:
        raise LaunchError(f"--config={given} is not a Python file: {error}.") from error
    names = [node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    names += [a.asname or a.name for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)
              for a in n.names]  # fmt: skip
    if "get_config" not in names:
        raise LaunchError(f"--config={given} defines no function get_config; give a config file.")
    return found


def check_overrides(root: Path, arguments: Sequence[str]) -> bool:
    """Check the config and its overrides with the package, if it can be imported here.

    Returns:
      Whether the package made the check and found no error.

    Raises:
      LaunchError: the package refuses the config or an override; has the package's message.
    """
    if not all(importlib.util.find_spec(name) for name in NEEDED):
        return False
    done = subprocess.run(
        [sys.executable, "-c", READ, *arguments],
        cwd=root, env=os.environ | {"JAX_PLATFORMS": "cpu"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    said = error_line(done.stderr)
    if done.returncode == 2 and said:
        raise LaunchError(said)
    return done.returncode == 0


def config_flags(arguments: Sequence[str]) -> list[str]:
    """The `--config` argument and its overrides, each as one word `--name=value`.

    In `arguments` a value may also be a separate word, and switches have no value.
    """
    found = []
    for argument, following in itertools.pairwise([*arguments, ""]):
        name, equals, _ = argument.lstrip("-").partition("=")
        if not argument.startswith("-") or not re.fullmatch(r"(no)?config(\..*)?", name):
            continue
        apart = not equals and following and not following.startswith("-")
        found.append(f"--{argument.lstrip('-')}" + (f"={following}" if apart else ""))
    return found


def error_line(stderr: str) -> str:
    """The error message of a command that refused its input; "" without one."""
    said = [line for line in stderr.splitlines() if line.startswith("error: ")]
    return said[-1].removeprefix("error: ") if said else ""
