"""`--help` of every command, as its user sees it."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from absl import flags
from selection import few

from cervix_jax.command.help import COLUMN, _describe
from cervix_jax.config.base import base_config
from cervix_jax.config.fields import leaves

ROOT = Path(__file__).parents[2]
COMMANDS = sorted(
    path.stem if path.stem != "__main__" else path.parent.name
    for path in (ROOT / "cervix_jax").rglob("*.py")
    if "    run_command(" in path.read_text(encoding="utf-8")
)


def help_of(command: str, *more: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", f"cervix_jax.{command}", "--help", *more],
        cwd=ROOT, env=os.environ, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout


def test_every_command_is_looked_at():
    expected = {"main", "evaluate", "audit", "prepare", "reproduce", "export", "report"}
    assert expected <= set(COMMANDS)


def test_a_flag_that_may_be_repeated_says_so_once():
    own = flags.FlagValues()
    flags.DEFINE_multi_string("setting", [], "Variation as name=value.", flag_values=own)
    expected = f"{'  --setting':<{COLUMN}}Variation as name=value; may be repeated."
    assert _describe(own["setting"]) == expected


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_help_says_what_it_does_with_an_example_and_every_flag(command):
    text = help_of(command)
    first, *_ = text.splitlines()
    assert re.fullmatch(r"[A-Z][^`]*[.:]", first), first
    assert f"\n  python -m cervix_jax.{command} " in text
    options = re.findall(r"^  --(?:\[no\])?([a-z_0-9]+)", text, re.MULTILINE)
    assert options
    assert len(options) == len(set(options))
    shown = text.partition("\n  --")[2]
    assert str(ROOT) not in text  # absl heads its list with the path of the module
    assert "__main__" not in text
    for option in set(re.findall(r"--([a-z_]+)\b", text.partition("\n  --")[0])) - {"help"}:
        assert re.search(rf"\b{option}\b", shown), f"the text speaks of --{option}"
    assert max(map(len, text.splitlines())) <= 100


@pytest.mark.slow
def test_help_with_a_config_lists_its_fields():
    text = help_of("main", "--config=configs/rcan.py:cric/cell")
    fields = text.partition("Fields of this config")[2]
    assert max(map(len, fields.splitlines())) <= 92
    shown = re.findall(r"^  ([a-z_0-9.]+) = ", fields, re.MULTILINE)
    assert sorted(shown) == sorted(name for name, _ in leaves(base_config("cric/cell")))
    plain = " ".join(fields.split())
    for expected in (
        "batch_size = 32 Training batch size over all devices, in images (1 to 1000000) ",
        "model.dropout = 0.5 Dropout rate of the features before the classifier head (0 to 0.999) ",
        "optimizer.name = 'adamw' Optimiser (adam, adamw, sgd) ",
        "data.dataset = 'cric/cell' Data set, as <builder>/<config> (cervix_phantom/single_cell, ",
        "model.remat = False Recompute the activations ",
    ):
        assert expected in plain
    # A range stays on one line, and below the meaning.
    assert re.search(r"^ {34}.*\(8 to 1376; default 100\)$", fields, re.MULTILINE)


@pytest.mark.parametrize("flag", few(["--help", "--instructions"], 1))
def test_output_that_nobody_reads_ends_the_command_quietly(flag):
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "cervix_jax.prepare", "--dataset=herlev/default", flag],
        cwd=ROOT, stdout=writer, stderr=subprocess.PIPE, text=True, timeout=300,
    )  # fmt: skip
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, "")
