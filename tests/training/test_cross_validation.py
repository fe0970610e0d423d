import json

import numpy as np
import pytest

from cervix_jax.errors import InputError
from cervix_jax.evaluate.report_file import EvaluationReport, Metric
from cervix_jax.training import cross_validation
from cervix_jax.training.run import train_and_evaluate
from cervix_jax.training.step import _make_train_step


@pytest.fixture(scope="module")
def crossed(tmp_path_factory, tiny_config):
    folder = tmp_path_factory.mktemp("crossed")
    config = tiny_config()
    config.num_epochs, config.split.folds, config.cross_validation.seeds = 1, 3, 2
    before = _make_train_step.cache_info().misses
    summary = cross_validation.cross_validate(config, folder)
    return config, folder, summary, _make_train_step.cache_info().misses - before


@pytest.mark.slow
def test_every_fold_with_every_seed_by_one_program(crossed):
    _, folder, summary, programs = crossed
    assert [(run["seed"], run["fold"]) for run in summary["runs"]] == [
        (seed, fold) for seed in (0, 1) for fold in (0, 1, 2)
    ]
    assert programs <= 1
    assert json.loads((folder / "summary.json").read_text()) == summary
    assert all((folder / f"seed{s}/fold{f}/evaluate/test.json").is_file()
               for s in (0, 1) for f in (0, 1, 2))  # fmt: skip
    # The folds of one seed hold every example once.
    assert [row["n"] for row in summary["pooled"]] == [40, 40]


@pytest.mark.slow
def test_a_member_equals_the_run_by_itself(crossed, tmp_path):
    config, folder, _, _ = crossed
    single = cross_validation.members(config)[4]
    assert (single.seed, single.split.fold, single.cross_validation.seeds) == (1, 1, 0)
    train_and_evaluate(single, tmp_path)
    for name in ("evaluate/test_predictions.csv", "evaluate/test.json", "config.json"):
        assert (folder / "seed1/fold1" / name).read_text() == (tmp_path / name).read_text()


@pytest.mark.slow
def test_the_same_command_does_only_what_is_missing(crossed, monkeypatch):
    config, folder, summary, _ = crossed
    asked = []

    def train(config, folder, data, *, on_epoch):
        asked.append(folder.name)
        return train_and_evaluate(config, folder, data, on_epoch=on_epoch)

    monkeypatch.setattr(cross_validation, "train_and_evaluate", train)
    (folder / "seed0/fold2/evaluate/test.json").unlink()
    assert cross_validation.cross_validate(config, folder) == summary
    assert asked == ["fold2"]


@pytest.mark.slow
def test_another_config_is_refused(crossed):
    config, folder, _, _ = crossed
    other = config.copy_and_resolve_references()
    other.learning_rate = 0.5
    with pytest.raises(InputError, match="learning_rate"):
        cross_validation.cross_validate(other, folder)


def report(seed, fold, correct, n):
    values = {"accuracy": correct / n, "balanced_accuracy": correct / n, "macro_f1": 0.5}
    values["nll"] = 1.0
    return seed, EvaluationReport(
        "test.json", "a/b", "test", n, correct / n, (0.0, 1.0), ("a", "b"),
        ((correct, n - correct), (0, 0)), groups=3, protocol="cluster", leakage=0.0, fold=fold,
        folds=2, step=1,
        metrics={name: Metric(value, None, None, n, "") for name, value in values.items()},
    )  # fmt: skip


def test_means_spreads_and_pooled_counts_by_hand():
    summary = cross_validation.summarise(
        [report(0, 0, 9, 10), report(0, 1, 6, 10), report(1, 0, 8, 10), report(1, 1, 9, 10)]
    )
    accuracy = summary["metrics"]["accuracy"]
    assert accuracy["mean"] == pytest.approx(0.8)
    assert accuracy["sd"] == pytest.approx(np.sqrt((0.01 + 0.04 + 0 + 0.01) / 3))
    assert (accuracy["min"], accuracy["max"]) == (0.6, 0.9)
    assert [row["accuracy"] for row in summary["pooled"]] == [0.75, 0.85]
    assert summary["pooled"][0]["accuracy_interval"][0] == pytest.approx(0.531, abs=1e-3)
    text = cross_validation.table(summary)
    assert "mean accuracy 0.8000 ± 0.1414 (sd between runs)" in text
    assert cross_validation.summarise([report(0, 0, 9, 10)])["metrics"]["accuracy"]["sd"] is None


def test_the_papers_split_has_one_fold(tiny_config):
    config = tiny_config()
    config.split.protocol, config.cross_validation.seeds = "paper", 3
    assert [(m.seed, m.split.fold) for m in cross_validation.members(config)] == [
        (0, 0), (1, 0), (2, 0),
    ]  # fmt: skip
