"""The table of bad input: every command refuses it in one line, or copes, and loses nothing."""

import shutil

import bad_checkpoints
import bad_configs
import bad_images
import bad_outputs
import bad_predictions
import bad_tables
import bad_trees
import bad_weights
import pytest
from bad_case import MODULES, Case, Done, call, contents, deadline

TOPICS = (
    bad_images, bad_trees, bad_tables, bad_configs, bad_checkpoints, bad_weights, bad_outputs,
    bad_predictions,
)  # fmt: skip
CASES: list[Case] = [case for topic in TOPICS for case in topic.CASES]
SECONDS = 40  # a case takes far less than one, or a few where a network is compiled


@pytest.mark.parametrize("case", CASES, ids=[f"{case.command}: {case.id}" for case in CASES])
def test_bad_input(case, in_process, tmp_path, monkeypatch, request):
    monkeypatch.chdir(tmp_path)
    data = tmp_path / "data"
    places = {"tmp": tmp_path, "root": request.config.rootpath}
    if case.wants("run", "data", "prepared"):
        run, data = request.getfixturevalue("finished_run")
        monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(data / "compiled"))
        for name, source in (("run", run), ("prepared", data)):
            if case.wants(name):
                shutil.copytree(source, tmp_path / name, ignore=shutil.ignore_patterns("compiled"))
        places |= {"data": data, "run": tmp_path / "run", "prepared": tmp_path / "prepared"}
    if case.make:
        case.make(tmp_path)
    arguments = list(case.args)
    for name, place in places.items():
        arguments = [argument.replace(f"{{{name}}}", str(place)) for argument in arguments]
    before = contents(tmp_path)
    with case.around(), deadline(SECONDS):
        code, out, err = call(case.command, arguments)
    if case.handled:
        assert code == 0, err
        case.handled(Done(code, out, err, tmp_path, data))
        return
    errors = [line for line in err.splitlines() if line.startswith("error: ")]
    assert code == 2, err
    assert len(errors) == 1, err
    assert "Traceback" not in err
    for part in case.expected:
        assert part.replace("{tmp}", str(tmp_path)) in errors[0]
    after = contents(tmp_path)
    if case.around is bad_outputs.full_disk:  # whole files that found room may stay
        after = {path: after.get(path) for path in before}
    assert after == before


def test_the_table_is_whole():
    """At least 60 cases, of every command, and none twice."""
    named = [(case.command, case.id) for case in CASES]
    assert len(named) == len(set(named)) >= 60
    assert {command for command, _ in named} == set(MODULES)
