"""The flags by which commands find a run: one text and one default."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = """
'''Prints its flags.

  python command.py --workdir=DIR
'''
from absl import flags
from cervix_jax.command.flags import run_flags
from cervix_jax.command.run import run_command

if __name__ == "__main__":
    run_flags({arguments})
    run_command(lambda argv: print(flags.FLAGS.workdir, flags.FLAGS.step))
"""


@pytest.fixture
def command(tmp_path):
    def call(arguments: str, *given: str) -> subprocess.CompletedProcess:
        script = tmp_path / "command.py"
        script.write_text(SCRIPT.replace("{arguments}", arguments))
        return subprocess.run(
            [sys.executable, str(script), *given],
            env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=120,
        )  # fmt: skip

    return call


def test_they_are_flags_of_the_command_that_asked(command):
    said = command("", "--help").stdout
    for flag in ("--workdir", "--step", "--manual_dir", "--data_dir"):
        assert flag in said
    assert "--manual_dir" not in command("'workdir', 'step'", "--help").stdout
    assert command("", "--workdir=a").stdout.split() == ["a", "best"]


def test_a_run_that_is_needed_and_not_given_is_bad_input(command):
    done = command("required=True")
    assert done.returncode == 2
    assert "the folder of a trained run is missing; give e.g. --workdir=runs/rcan" in done.stderr
    assert command("").returncode == 0
