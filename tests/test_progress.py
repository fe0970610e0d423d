"""`--progress`: every line of standard error is one event, whatever becomes of the command."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cervix_jax.progress import Bar

ROOT = Path(__file__).parents[1]
SCRIPT = """
'''Does what it is told.

  python program.py --do=bar
'''
import logging as python_logging
import sys, time, warnings
python_logging.basicConfig()  # as some libraries do when they are imported
from absl import flags, logging
from cervix_jax import progress
from cervix_jax.command.run import run_command
from cervix_jax.errors import InputError

DO = flags.DEFINE_enum("do", "bar", ["bar", "crash", "input", "nothing"], "What.")

def main(argv):
    if DO.value == "bar":
        for _ in progress.Bar(range(3), desc="counting", unit=" steps"):
            time.sleep(0.02)
        with progress.Bar(total=4, desc="half", unit="image") as bar:
            bar.update(2)
            bar.write("left out: a.png", file=sys.stderr)
        list(progress.counted(["a", "b"], "runs", "run"))
        logging.warning("two\\nlines")
        python_logging.getLogger("other").error("of another library")
        warnings.warn("old")
        print("part", end="", file=sys.stderr)
        print(" and rest", file=sys.stderr)
        print("result")
        print("unfinished", end="", file=sys.stderr)
        progress.report("epoch", epoch=1, values={"val/loss": float("nan")})
    if DO.value == "crash":
        raise RuntimeError("a real failure")
    if DO.value == "input":
        raise InputError("bad input")
    return 75 if DO.value == "nothing" else None

run_command(main)
"""


@pytest.fixture
def program(tmp_path):
    def call(*arguments: str, code: int = 0) -> subprocess.CompletedProcess:
        (tmp_path / "program.py").write_text(SCRIPT)
        done = subprocess.run(
            [sys.executable, str(tmp_path / "program.py"), *arguments], capture_output=True,
            env=os.environ | {"PYTHONPATH": str(ROOT)}, text=True, timeout=300,
        )  # fmt: skip
        assert done.returncode == code, done.stderr
        return done

    return call


def events(stderr: str) -> list[dict]:
    """All lines, parsed strictly; each has the keys that every event has."""
    lines = stderr.splitlines()

    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    found = [json.loads(line, parse_constant=refuse) for line in lines]
    seconds = [event["seconds"] for event in found]
    assert seconds == sorted(seconds)
    assert {event["command"] for event in found} == {found[0]["command"]}
    assert (found[0]["event"], found[-1]["event"]) == ("start", "end")
    assert sum(event["event"] in ("start", "end") for event in found) == 2
    return found


def test_every_kind_of_output_becomes_an_event(program):
    done = program("--progress=json")
    found = events(done.stderr)
    assert done.stdout == "result\n"
    kinds = {"phase", "done", "total", "unit", "phase_seconds"}
    bars = [e for e in found if e["event"] in ("progress", "phase_end")]
    assert all(set(e) == {"event", "command", "seconds"} | kinds for e in bars)
    ends = [(e["phase"], e["done"], e["total"], e["unit"]) for e in bars if "end" in e["event"]]
    assert ends == [
        ("counting", 3, 3, "steps"), ("half", 2, 4, "image"), ("runs", 2, 2, "run"),
    ]  # fmt: skip
    assert bars[0] | {"seconds": 0, "phase_seconds": 0} == {
        "event": "progress", "command": "command", "seconds": 0, "phase": "counting", "done": 0,
        "total": 3, "unit": "steps", "phase_seconds": 0,
    }  # fmt: skip
    logs = [(e["level"], e["message"]) for e in found if e["event"] == "log"]
    assert ("info", "left out: a.png") in logs
    assert ("warning", "two\nlines") in logs
    assert ("info", "part and rest") in logs
    assert logs[-1] == ("info", "unfinished")
    assert any(level == "warning" and "old" in message for level, message in logs)
    (epoch,) = [e for e in found if e["event"] == "epoch"]
    assert epoch["values"] == {"val/loss": None}
    assert found[-1]["exit_code"] == 0


def test_every_ending_is_an_event(program):
    *_, error, end = events(program("--progress=json", "--do=input", code=2).stderr)
    assert (error["event"], error["message"], end["exit_code"]) == ("error", "bad input", 2)
    *_, error, end = events(program("--progress=json", "--do=crash", code=1).stderr)
    assert (error["message"], end["exit_code"]) == ("RuntimeError: a real failure", 1)
    assert "in main" in error["traceback"]
    assert events(program("--progress", "json", "--do=nothing", code=75).stderr)[-1] == {
        "event": "end", "command": "command", "exit_code": 75,
    } | {"seconds": pytest.approx(0, abs=300)}  # fmt: skip
    *_, error, end = events(program("--progress=json", "--do=what", code=2).stderr)
    assert error["message"].startswith("flag --do=what")


def test_bars_are_drawn_unless_they_are_not_wanted(program):
    shown = program().stderr
    assert "counting: 100%" in shown
    assert '"event"' not in shown
    silent = program("--progress=none").stderr
    assert "counting" not in silent
    assert "left out: a.png" in silent
    assert "bar|json|none" in program("--progress=xml", code=2).stderr


def test_a_closed_bar_leaves_the_cursor_at_the_start_of_its_line():
    drawn = io.StringIO()
    for _ in Bar(range(3), desc="counting", leave=False, file=drawn):
        pass
    assert drawn.getvalue().endswith(" \r")


@pytest.mark.slow
def test_commands_write_nothing_but_events(tmp_path):
    def run(command: str, *arguments: str) -> list[dict]:
        done = subprocess.run(
            [sys.executable, "-m", f"cervix_jax.{command}", *arguments, "--progress=json"],
            cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
            timeout=400,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        found = events(done.stderr)
        assert found[0]["command"] == command
        return found

    def phases(found: list[dict]) -> set[str]:
        return {event["phase"] for event in found if event["event"] == "phase_end"}

    data, workdir = tmp_path / "data", f"--workdir={tmp_path / 'run'}"
    name = "cervix_phantom/single_cell"
    small = ("--setting=clusters_per_class=4", "--setting=cells_per_cluster=2")
    prepared = run("prepare", f"--dataset={name}", f"--data_dir={data}", *small)
    assert {"generating train examples", "fingerprints"} <= phases(prepared)
    trained = run("main", f"--config=tests/small.py:{data}", workdir)
    assert {"training", "validation", "test"} <= phases(trained)
    epochs = [event for event in trained if event["event"] == "epoch"]
    assert [event["epoch"] for event in epochs] == [1, 2, 3, 4]
    assert {"train/loss", "val/accuracy"} <= set(epochs[0]["values"])
    audited = run("audit", f"--dataset={name}", f"--data_dir={data}", *small,
                  f"--out={tmp_path / 'audit'}")  # fmt: skip
    assert {"measuring", "forests"} <= phases(audited)
