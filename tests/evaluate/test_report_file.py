"""The schema of reports, by its one maker and its one reader."""

import json
from pathlib import Path

import pytest
from random_tables import random_table

from cervix_jax.errors import InputError, shell_command
from cervix_jax.evaluate.any_model import evaluate_file
from cervix_jax.evaluate.predictions_file import read_table
from cervix_jax.evaluate.report_file import (
    TITLES,
    EvaluationReport,
    Metric,
    make_report,
    read_report,
)
from cervix_jax.evaluate.workflow import evaluate_groups, evaluate_run
from cervix_jax.runs.run import load_run
from cervix_jax.statistics.resampling import Resamples

OF_0_1 = Path(__file__).parents[1] / "fixtures" / "run_of_0_1" / "evaluate"
FACTS = {
    "dataset": "d", "split": "test", "protocol": "cluster", "fold": 1, "folds": 5, "refit": True,
    "leakage": 0.25, "leakage_train": 0.0, "step": 7, "tta": False,
}  # fmt: skip


@pytest.fixture(scope="module")
def values():
    """What a report file holds, of 60 predictions in 12 groups."""
    table = random_table(0)
    return json.loads(json.dumps(make_report(table, FACTS, Resamples(table.groups, number=99))))


def test_the_flat_keys_are_those_of_the_metrics(values):
    accuracy = values["metrics"]["accuracy"]
    assert values["n"] == accuracy["n"] == sum(map(sum, values["confusion_matrix"])) == 60
    assert values["accuracy"] == accuracy["estimate"] == accuracy["successes"] / 60
    assert values["accuracy_interval"] == accuracy["interval"]
    assert values["groups"] == 12
    assert values.items() >= FACTS.items()
    assert not {"overall", "probabilities", "one_v_rest", "nll"} & values.keys()


def test_what_is_read_is_what_was_written(values, tmp_path):
    path = tmp_path / "test.json"
    assert read_report(path) is None
    path.write_text(json.dumps(values))
    report = read_report(path)
    for name, value in FACTS.items():
        assert getattr(report, name) == value, name
    assert report.accuracy_interval == tuple(values["accuracy_interval"])
    assert report.class_names == ("a", "b", "c")
    assert report.warning.startswith("only 12 groups")
    assert TITLES.keys() <= report.metrics.keys() == values["metrics"].keys()
    for name, entry in values["metrics"].items():
        assert report.metric(name).estimate == entry["estimate"]
    sensitivity = report.metric("sensitivity", "b")
    assert sensitivity.n == sum(values["confusion_matrix"][1])
    assert str(sensitivity) == "{:.4f} ({:.3f} to {:.3f})".format(
        sensitivity.estimate, *sensitivity.interval
    )


def test_what_is_undefined_says_why():
    entry = {"estimate": None, "interval": None, "interval_by_group": None, "n": 0}
    assert str(Metric.of(entry | {"method": "", "why": "no example"})) == "undefined (no example)"


def test_a_report_of_version_0_1_has_its_facts_and_no_metrics():
    old = json.loads((OF_0_1 / "test.json").read_text())
    report = read_report(OF_0_1 / "test.json")
    for name in ("dataset", "split", "n", "groups", "protocol", "fold", "leakage", "step"):
        assert getattr(report, name) == old[name], name
    for asked in (("nll",), ("auroc", old["class_names"][0])):
        with pytest.raises(
            InputError, match=r"test\.json: was written by an earlier version"
        ) as caught:
            report.metric(*asked)
        command = f"run {shell_command('evaluate', workdir=OF_0_1.parent)} again."
        assert str(caught.value).endswith(command)


@pytest.mark.parametrize(
    ("name", "flags"),
    [
        ("test", {}),
        ("val", {"split": "val"}),
        ("test_tta", {"tta": True}),
        ("val_group_adapted", {"split": "val", "adapt": "group"}),
    ],
)
def test_the_command_that_makes_a_report_anew_is_exact(tmp_path, name, flags):
    folder = tmp_path / "my run" / "evaluate"
    folder.mkdir(parents=True)
    (folder / f"{name}.json").write_text('{"n": 3}')
    with pytest.raises(InputError, match=r"has no dataset; evaluate again\.$"):
        read_report(folder / f"{name}.json")  # of no run
    (folder.parent / "config.json").write_text("{}")
    with pytest.raises(InputError) as caught:
        read_report(folder / f"{name}.json")
    command = shell_command("evaluate", workdir=folder.parent, **flags)
    assert str(caught.value).endswith(f"; run {command} again.")


def test_a_report_of_version_0_1_and_todays_have_the_same_numbers():
    old = json.loads((OF_0_1 / "test.json").read_text())
    table = read_table(OF_0_1 / "test_predictions.csv")
    report = make_report(table, {"dataset": "d", "split": "test"}, Resamples(table.groups))
    for name, entry in (old["overall"] | old["probabilities"]).items():
        _assert_same(report["metrics"][name], entry)
    for class_name, entries in old["one_v_rest"].items():
        for name, entry in entries.items():
            _assert_same(report["per_class"][class_name][name], entry)
        f1 = old["per_class"][class_name]["f1"]
        assert report["per_class"][class_name]["f1"]["estimate"] == pytest.approx(f1)
    for rule in ("mean", "vote"):
        _assert_same(report["aggregation"]["accuracy"][rule], old["aggregation"][rule])


def _assert_same(entry: dict, old: dict) -> None:
    """Equal but for what six digits of the probabilities in the CSV leave open.

    Intervals over groups are others: version 0.1 took percentiles of the resamples.
    """
    assert entry["estimate"] == pytest.approx(old["estimate"], abs=1e-5)
    if entry["method"] == "wilson":
        assert entry["interval"] == pytest.approx(old["interval"], abs=1e-5)
    if "of" in old:
        assert [entry["successes"], entry["n"]] == old["of"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dataset": None}, "has no dataset"),
        ({"confusion_matrix": 3}, "is damaged or has another format"),
        ({"metrics": {"nll": {"estimate": 1.0}}}, "is damaged or has another format"),
        ({"accuracy_interval": ["x", "y"]}, "is damaged or has another format"),
    ],
)
def test_a_damaged_report_is_named(values, changes, message):
    with pytest.raises(InputError, match=rf"^runs/a: .*{message}"):
        EvaluationReport.of(values | changes, "runs/a")


def test_a_run_is_evaluated_into_another_folder(trained, tmp_path):
    folder, report = trained
    before = {path.name: path.stat().st_mtime_ns for path in (folder / "evaluate").iterdir()}
    found = evaluate_run(load_run(folder), "test", out=tmp_path)
    assert json.loads((tmp_path / "test.json").read_text()) == found
    assert found == report
    assert (tmp_path / "test_decisions.json").is_file()
    after = {path.name: path.stat().st_mtime_ns for path in (folder / "evaluate").iterdir()}
    assert after == before


def test_a_run_in_memory_needs_a_folder(trained):
    run = load_run(trained[0])
    run.workdir = None
    with pytest.raises(InputError, match=r"^out: "):
        evaluate_run(run)


def test_groups_want_an_evaluation(tmp_path):
    with pytest.raises(InputError, match="there is no such evaluation"):
        evaluate_groups(tmp_path, "test", "vote")
    with pytest.raises(InputError, match="there is no such file"):
        evaluate_file(tmp_path / "none.csv")
