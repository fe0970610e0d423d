"""Whether the training that is asked for can start, before a machine for it costs anything.

Python alone can see that the config file is in the checkout and defines `get_config`. Where this
Python has the package's dependencies, the package itself reads the config and every override.
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
# What `cervix_jax.main` does with its flags before it connects to other processes.
READ = """
from absl import flags
from cervix_jax import main
from cervix_jax.command.run import run_command
from cervix_jax.training.check import check_config
main.define_flags()
run_command(lambda argv: check_config(flags.FLAGS.config), devices=False, alone=False)
"""


def config_file(root: Path, arguments: Sequence[str]) -> str:
    """The config file that the arguments of `cervix_jax.main` name, from the checkout's top.

    Args:
      root: the checkout.
      arguments: with `--config=PATH`, or `--config PATH`; after a colon PATH may have an argument.

    Raises:
      LaunchError: there is none, or it is no config.
    """
    given = dict(word.split("=", 1) for word in config_flags(arguments) if "=" in word)
    given = given.get("--config")
    if not given:
        raise LaunchError(
            "the training has no --config; give it after --, e.g. -- --config=configs/rcan.py."
        )
    path = given.partition(":")[0]
    if Path(path).is_absolute():
        raise LaunchError(
            f"--config={given}: the machines have the files of the checkout alone; give a path "
            "from its top, e.g. --config=configs/rcan.py."
        )
    # As cervix_jax.config.files.find_config: a name alone is a file of configs/.
    found = next((p for p in (path, f"configs/{path}") if (root / p).is_file()), None)
    if found is None:
        known = ", ".join(sorted(each.name for each in (root / "configs").glob("*.py")))
        raise LaunchError(
            f"--config={given}: there is no such file in {root}; configs/ has {known}."
        )
    try:
        tree = ast.parse((root / found).read_text(encoding="utf-8"))
    except (SyntaxError, ValueError) as error:
        raise LaunchError(f"--config={given} is no Python file: {error}.") from error
    names = [node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    names += [a.asname or a.name for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)
              for a in n.names]  # fmt: skip
    if "get_config" not in names:
        raise LaunchError(f"--config={given} defines no get_config, which a config must.")
    return found


def check_overrides(root: Path, arguments: Sequence[str]) -> bool:
    """Have the package read the config with its overrides, where it can be imported here.

    Returns:
      Whether it could.

    Raises:
      LaunchError: the package refuses them, in its own words.
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
    """`--config=...` and the overrides of its fields among arguments, each as one word.

    Their values may also follow as words of their own, and switches have none.
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
    """The line with which a command of the package refuses bad input, or ""."""
    said = [line for line in stderr.splitlines() if line.startswith("error: ")]
    return said[-1].removeprefix("error: ") if said else ""
