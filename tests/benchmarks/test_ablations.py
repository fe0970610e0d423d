"""The benchmark of what one change of a recipe brings."""

import json
from pathlib import Path

import numpy as np
import pytest

from cervix_jax.evaluate.write import write_report
from cervix_jax.statistics.table import PredictionTable


@pytest.fixture(autouse=True)
def _path(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))


def make_run(folder, right, validation, refit=False):
    """A run of 20 images in 10 groups, the first `right` of them right, of the second epoch."""
    labels = np.arange(20) % 2
    called = np.where(np.arange(20) < right, labels, 1 - labels)
    names = tuple(f"{folder.name}_{number}.png" for number in range(20))
    groups = np.asarray([f"{folder.name}_{number // 2}" for number in range(20)])
    table = PredictionTable(names, groups, labels, 0.1 + 0.8 * np.eye(2)[called], ("a", "b"))
    facts = {"dataset": "d", "split": "test", "fold": 0, "step": 6}
    write_report(folder / "evaluate", "test", table, facts)
    lines = [{"step": 3, "val/accuracy": 0.1}, {"step": 6, "val/accuracy": validation}]
    (folder / "metrics.jsonl").write_text("\n".join(map(json.dumps, lines)))
    (folder / "config.json").write_text(json.dumps({"split": {"refit": refit}}))


def test_a_variant_is_compared_on_the_runs_that_both_have(tmp_path):
    import ablations

    for fold, right in enumerate((10, 12, 20)):
        make_run(tmp_path / "base/seed0" / f"fold{fold}", right, 0.5 + fold / 10)
    for fold, right in ((0, 14), (1, 16)):
        make_run(tmp_path / "changed/seed0" / f"fold{fold}", right, 0.8, refit=fold == 1)
    found = ablations.measured(tmp_path / "base", "changed", tmp_path / "changed")
    assert [(run["seed"], run["fold"]) for run in found["runs"]] == [(0, 0), (0, 1)]
    assert found["runs"][0]["variant"] == {"validation": 0.8, "test": 0.7}
    assert found["runs"][1]["variant"] == {"validation": None, "test": 0.8}  # refit
    assert found["base_validation"] == pytest.approx(0.55)
    assert found["variant_validation"] is None
    assert found["base_test"] == pytest.approx(0.55)
    assert found["difference"] == pytest.approx(0.2)
    low, high = found["interval"]
    assert low < 0.2 < high
    assert "| changed | 0/0, 0/1 | 55.0, none | 55.0, 75.0 | +20.0 (" in ablations.table([found])
    make_run(tmp_path / "other/seed1/fold0", 10, 0.5)
    with pytest.raises(SystemExit, match="no seed and fold in common"):
        ablations.measured(tmp_path / "base", "other", tmp_path / "other")
