"""Several runs side by side, on the terminal and in files."""

import csv
import json

import numpy as np
import pytest
from random_tables import random_table

from cervix_jax.config.base import base_config
from cervix_jax.errors import InputError
from cervix_jax.evaluate.predictions_file import write_table
from cervix_jax.evaluate.report_file import make_report
from cervix_jax.evaluate.workflow import tabulate_runs
from cervix_jax.files.atomic import write_json
from cervix_jax.statistics.resampling import Resamples


def write_run(folder, table, **changes):
    """What training leaves of a run, without its weights."""
    config = base_config("cervix_phantom/single_cell")
    config.update_from_flattened_dict(changes)
    write_json(folder / "config.json", config.to_dict())
    facts = {
        "dataset": "cells", "split": "test", "protocol": "cluster", "fold": 0, "folds": 5,
        "leakage": 0.0, "step": 7,
    }  # fmt: skip
    write_table(folder / "evaluate" / "test_predictions.csv", table)
    report = make_report(table, facts, Resamples(table.groups, number=50))
    write_json(folder / "evaluate" / "test.json", report)
    return report


@pytest.fixture(scope="module")
def three(tmp_path_factory):
    """Two runs on the same images, and one on others."""
    root, table = tmp_path_factory.mktemp("runs"), random_table(0)
    flatter = table.with_probabilities(0.5 * table.probabilities + 0.5 / 3)
    reports = [
        write_run(root / "a", table),
        write_run(root / "b", flatter, seed=3, batch_size=8),
        write_run(root / "c | d", random_table(1, n=40).take(np.arange(20)), seed=4),
    ]
    return root, reports


def test_differences_metrics_and_intervals_go_to_files(three, tmp_path):
    root, reports = three
    paths = [root / name for name in ("a", "b", "c | d")]
    table = tabulate_runs(paths, out=tmp_path)
    assert table.differences["seed"] == [0, 3, 4]
    assert "data.manual_dir" not in table.differences
    found = json.loads((tmp_path / "comparison.json").read_text())
    assert found["config_differences"]["seed"] == [0, 3, 4]
    for run, report in zip(found["runs"], reports, strict=True):
        for key in ("estimate", "interval", "interval_by_group", "method"):
            assert run["metrics"]["accuracy"][key] == report["metrics"]["accuracy"][key]
    rows = list(csv.DictReader((tmp_path / "comparison.csv").read_text().splitlines()))
    assert [row["config.seed"] for row in rows] == ["0", "3", "4"]
    assert [float(row["accuracy"]) for row in rows] == [report["accuracy"] for report in reports]
    low, high = reports[1]["metrics"]["accuracy"]["interval_by_group"]
    assert (float(rows[1]["accuracy_group_low"]), float(rows[1]["accuracy_group_high"])) == (
        low, high,
    )  # fmt: skip
    assert rows[0]["accuracy_method"] == "wilson"
    markdown = (tmp_path / "comparison.md").read_text()
    assert "| seed | 0 | 3 | 4 |" in markdown
    assert "c \\| d" in markdown  # a path is no markup
    # The two on the same images are compared image by image; the third says why it is not.
    assert "exact McNemar" in markdown
    assert [("why" in each) for each in found["comparisons"]] == [False, True]
    assert "the images differ" in found["comparisons"][1]["why"]
    text = table.text()
    assert "configs differ in" in text
    assert f"batch_size: {base_config().batch_size}, 8, " in text


def test_two_runs_on_other_images_are_refused(three, tmp_path):
    root, _ = three
    with pytest.raises(InputError, match="the images differ"):
        tabulate_runs([root / "a", root / "c | d"], out=tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_file_of_predictions_is_a_run_without_config(three, tmp_path):
    root, reports = three
    file = root / "b" / "evaluate" / "test_predictions.csv"
    table = tabulate_runs([root / "a", file])
    assert table.differences == {}
    assert table.runs[1].metric("accuracy").estimate == reports[1]["accuracy"]
    assert table.comparisons[0][2].rows[0].metric == "accuracy"


def test_the_members_of_a_cross_validation_have_a_line_each(three, tmp_path):
    for fold in range(2):
        write_run(tmp_path / "cv" / "seed0" / f"fold{fold}", random_table(fold, n=30))
    table = tabulate_runs([three[0] / "a", tmp_path / "cv", three[0] / "b"])
    assert [run.name.rpartition("/")[2] for run in table.runs] == ["a", "fold0", "fold1", "b"]


def test_a_run_that_was_not_evaluated_gets_its_command(tmp_path):
    folder = tmp_path / "my run"
    folder.mkdir()
    with pytest.raises(InputError, match=f"evaluate --workdir='{folder}' --split=val --tta first"):
        tabulate_runs([folder, folder], split="val", tta=True)
