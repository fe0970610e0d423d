"""Every column that a command writes has its line in docs/columns.md, and no line is of none.

The tables of predict have a test of their own, tests/predict/test_predict_columns.py.
"""

import csv
import dataclasses
import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from cervix_jax import data
from cervix_jax.audit import write as audit
from cervix_jax.evaluate import external, seen
from cervix_jax.evaluate.predictions_file import write_table
from cervix_jax.evaluate.report_file import TITLES
from cervix_jax.evaluate.runs_table import RunsTable, read_evaluated
from cervix_jax.explanations import channel_attention, summary
from cervix_jax.statistics.table import PredictionTable

PAGE = Path(__file__).parents[1] / "docs" / "columns.md"


def _head(path: Path) -> list[str]:
    with path.open(newline="", encoding="utf-8") as file:
        return next(csv.reader(file))


def _predictions(folder: Path) -> list[str]:
    table = PredictionTable(
        filenames=("a", "b"), groups=np.array(["g", "h"]), labels=np.array([0, 1]),
        probabilities=np.eye(2), class_names=("A", "B"),
    )  # fmt: skip
    write_table(folder / "x_predictions.csv", table)
    return ["p_<class>" if c.startswith("p_") else c for c in _head(folder / "x_predictions.csv")]


def _skipped(folder: Path) -> list[str]:
    external._write_skipped(folder / "skipped.csv", [("a.png", "is damaged")])
    return _head(folder / "skipped.csv")


def _images(folder: Path) -> list[str]:
    dataset: Any = SimpleNamespace(
        filenames=("a",), labels=np.array([0]), groups=("g",), class_names=("A",)
    )
    text = audit._list_of_images({"duplicates": {"joined": {}}}, dataset)
    return text.splitlines()[0].split(",")


LIGHT = {
    "Evaluate: predictions": _predictions,
    "Evaluate: images that the run has seen": lambda folder: seen.COLUMNS,
    "Evaluate: images left out": _skipped,
    "Explain: measures": lambda folder: summary.CSV_FIELDS,
    "Explain: channel attention": lambda folder: channel_attention.CSV_FIELDS,
    "Audit: list of images": _images,
}


def _compare(part: str, written) -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert f"\n## {part}\n" in text, f"docs/columns.md has no part {part!r}"
    section = text.split(f"\n## {part}\n")[1].split("\n## ")[0]
    documented = re.findall(r"^\| `([^`]+)` \|", section, re.MULTILINE)
    assert not (missing := sorted(set(written) - set(documented))), (
        f"docs/columns.md, {part}: add a line for {', '.join(missing)}"
    )
    assert not (left := sorted(set(documented) - set(written))), (
        f"docs/columns.md, {part}: no table has {', '.join(left)}; remove its line"
    )


@pytest.mark.parametrize("part", LIGHT)
def test_columns_of(part, tmp_path):
    _compare(part, LIGHT[part](tmp_path))


def test_columns_of_the_table_of_runs(trained):
    (one,) = read_evaluated(trained[0], "test")
    other = dataclasses.replace(one, config={**(one.config or {}), "batch_size": 99})
    head = RunsTable([one, other], []).csv().splitlines()[0].split(",")
    assert "config.batch_size" in head
    generic = [re.sub(r"^config\..*", "config.<field>", name) for name in head]
    for metric in sorted(TITLES, key=len, reverse=True):
        generic = [
            re.sub(rf"^{metric}(|_low|_high|_method|_group_low|_group_high)$", r"<metric>\1", name)
            for name in generic
        ]
        assert f"`{metric}`" in PAGE.read_text(encoding="utf-8"), metric
    _compare("Evaluate: table of runs", generic)


def test_columns_of_the_training_log(trained):
    lines = (trained[0] / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    _compare("Training log", {name for line in lines for name in json.loads(line)})


def test_columns_of_the_table_of_splits(prepared):
    rows = data.split_table(
        "cervix_phantom/single_cell", data_dir=prepared,
        settings={"clusters_per_class": 4, "cells_per_cluster": 2}, folds=4,
    )  # fmt: skip
    _compare("Split table", rows[0])


def test_a_missing_column_is_named(tmp_path):
    with pytest.raises(AssertionError, match="Split table: add a line for brand_new"):
        _compare("Split table", ["filename", "label", "group", "split", "brand_new"])
