"""`cervix <command>`, `python -m cervix_jax`, and modules that are no command."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from cervix_jax.command import entry

ROOT = Path(__file__).parents[2]


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, env=os.environ | environment,
        capture_output=True, text=True, timeout=100,
    )  # fmt: skip


def test_every_command_is_listed_and_no_other_module_is_one():
    package = ROOT / "cervix_jax"
    runnable = {
        ".".join(path.relative_to(package).with_suffix("").parts).removesuffix(".__main__")
        for path in package.rglob("*.py")
        if 'if __name__ == "__main__":' in path.read_text(encoding="utf-8")
    }
    assert runnable == {*entry.COMMANDS, *entry.TOOLS, "__main__"}
    done = run("-m", "cervix_jax")
    assert done.returncode == 0
    listed = [line.split()[0] for line in done.stdout.splitlines() if line.startswith("  ")]
    assert listed[: len(entry.COMMANDS)] == list(entry.COMMANDS)


def test_the_console_script_is_the_same_function():
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    assert scripts == {"cervix": "cervix_jax.command.entry:main"}


@pytest.mark.parametrize(
    ("module", "meant"),
    [("train", "main"), ("training", "main"), ("evaluat", "evaluate"), ("distributed", ""),
     ("explain.registry", "explain"), ("config", ""), ("no_such_thing", "")],
)  # fmt: skip
def test_what_is_no_command_says_so(module, meant):
    done = run("-m", f"cervix_jax.{module}")
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"error: python -m cervix_jax.{module} is not a command")
    assert (f"python -m cervix_jax.{meant}?" in line) if meant else ("did you mean" not in line)


@pytest.mark.parametrize(
    ("line", "module"),
    [
        (["python", "-m", "cervix_jax.main", "-m", "x"], "main"),
        (["python", "-mcervix_jax.main"], "main"),
        (["python", "-uBm", "cervix_jax.main"], "main"),
        (["python", "-X", "dev", "-m", "pytest", "cervix_jax.main"], ""),
        (["python", "-m", "cervix_jax"], ""),
        (["python", "script.py"], ""),
    ],
)
def test_the_module_of_a_command_line(line, module):
    assert entry._module(line) == module


def test_a_command_by_name_is_the_module(tmp_path):
    by_name = run("-m", "cervix_jax", "report", "--help")
    by_module = run("-m", "cervix_jax.report", "--help")
    assert by_name.returncode == by_module.returncode == 0
    assert by_name.stdout == by_module.stdout
    wrong = run("-m", "cervix_jax", "report", f"--workdir={tmp_path}")
    assert wrong.returncode == 2
    assert "Traceback" not in wrong.stderr


def test_a_command_that_is_none():
    done = run("-m", "cervix_jax", "train")
    assert done.returncode == 2
    assert "'train' is not a command; did you mean python -m cervix_jax.main?" in done.stderr


def test_a_setting_that_jax_does_not_know_is_named():
    done = run("-m", "cervix_jax.report", JAX_ENABLE_X64="maybe")
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert "JAX_ENABLE_X64" in line
