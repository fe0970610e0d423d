"""The command line that `main` gives to go on with a run."""

import shlex
import sys
from pathlib import Path

import pytest

from cervix_jax.main import same_command


@pytest.mark.parametrize("given", [[], ["--workdir=runs/a b"], ["-workdir=runs/a b"]])
def test_it_names_the_folder_once(monkeypatch, given):
    field = "--config.data.manual_dir=/my data"
    monkeypatch.setattr(sys, "argv", ["main", "--config=configs/rcan.py", *given, field])
    assert shlex.split(same_command(Path("runs/a b"))) == [
        "python", "-m", "cervix_jax.main", "--config=configs/rcan.py", field, "--workdir=runs/a b",
    ]  # fmt: skip
