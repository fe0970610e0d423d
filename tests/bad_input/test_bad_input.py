"""The table of bad input: every command refuses it in one line, or copes, and loses nothing."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import bad_checkpoints
import bad_configs
import bad_images
import bad_outputs
import bad_predictions
import bad_slides
import bad_tables
import bad_trees
import bad_weights
import pytest
from bad_case import MODULES, Case, Done, call, contents, deadline

TOPICS = (
    bad_images, bad_trees, bad_tables, bad_configs, bad_checkpoints, bad_weights, bad_outputs,
    bad_predictions, bad_slides,
)  # fmt: skip
CASES: list[Case] = [case for topic in TOPICS for case in topic.CASES]
# The default tests have the first case of each topic with each command, the slow ones all others.
FIRST = [
    next(case for case in topic.CASES if case.command == command)
    for topic in TOPICS
    for command in dict.fromkeys(case.command for case in topic.CASES)
]
SECONDS = 40  # a case takes far less than one, or a few where a network is compiled


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(
            case,
            id=f"{case.command}: {case.id}",
            marks=() if any(case is first for first in FIRST) else pytest.mark.slow,
        )
        for case in CASES
    ],
)
def test_bad_input(case, in_process, tmp_path, monkeypatch, request):
    monkeypatch.chdir(tmp_path)
    data = tmp_path / "data"
    places = {"tmp": tmp_path, "root": request.config.rootpath}
    if case.wants("run", "data", "prepared"):
        run, data = request.getfixturevalue("finished_run")
        for name, source in (("run", run), ("prepared", data)):
            if case.wants(name):
                shutil.copytree(source, tmp_path / name)
        places |= {"data": data, "run": tmp_path / "run", "prepared": tmp_path / "prepared"}
    if case.make:
        case.make(tmp_path)
    before = contents(tmp_path)
    with case.around(), deadline(SECONDS):
        code, out, err = call(case.command, filled(case.args, places))
    if case.handled:
        assert code == 0, err
        case.handled(Done(code, out, err, tmp_path, data))
        return
    assert_refused(case, code, err, tmp_path)
    assert contents(tmp_path) == before


@pytest.mark.slow
@pytest.mark.parametrize("id_", ["a cut PNG", "predictions above 1", "batch_size=0"])
def test_a_process_of_its_own_ends_as_the_call_does(id_, tmp_path, request):
    """What the table says of calls in this process is true of the command."""
    (case,) = (case for case in CASES if case.id == id_)
    if case.make:
        case.make(tmp_path)
    places = {"tmp": tmp_path, "data": tmp_path / "data", "root": request.config.rootpath}
    module = MODULES[case.command].removesuffix(".__main__")
    done = subprocess.run(
        [sys.executable, "-m", module, *filled(case.args, places)],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(request.config.rootpath)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert_refused(case, done.returncode, done.stderr, tmp_path)


def filled(arguments, places) -> list[str]:
    """The arguments with paths for their placeholders."""
    for name, place in places.items():
        arguments = [argument.replace(f"{{{name}}}", str(place)) for argument in arguments]
    return arguments


def assert_refused(case: Case, code: int, err: str, folder: Path) -> None:
    """Exit code 2, and one line with what the case expects."""
    assert code == 2, err
    assert "Traceback" not in err
    (line,) = (line for line in err.splitlines() if line.startswith("error: "))
    for part in case.expected:
        assert part.replace("{tmp}", str(folder)) in line


def test_the_table_is_whole():
    """At least 60 cases, of every command, and none twice."""
    named = [(case.command, case.id) for case in CASES]
    assert len(named) == len(set(named)) >= 60
    assert {command for command, _ in named} == set(MODULES)
