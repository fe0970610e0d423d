"""What several processes leave in one folder, from predictions that the test writes."""

import json
from pathlib import Path

import numpy as np
import pytest
from random_tables import random_table

from cervix_jax.errors import InputError
from cervix_jax.evaluate.joined_file import read_joined
from cervix_jax.evaluate.predictions_file import write_table
from cervix_jax.evaluate.report_file import make_report
from cervix_jax.reproduce import outcomes
from cervix_jax.reproduce.experiments import Settings, plan
from cervix_jax.statistics.resampling import Resamples

ROOT = Path(__file__).parents[2]
FACTS = {"dataset": "d", "split": "test", "protocol": "cluster", "leakage": 0.0}
LOG = '{"step": 10, "images_per_second": 1.0}\n{"step": 20, "images_per_second": 2.0}\n'


@pytest.fixture
def finished(tmp_path):
    """An experiment of two seeds and two folds whose predictions are random."""
    settings = Settings(tmp_path, {}, seeds=2, overrides=("split.folds=2", "batch_size=36"))
    (experiment,) = plan(["cric_field_efficientnet_lite0"], ["cluster"], settings)
    for number, run in enumerate(experiment.runs):
        fold = number % 2
        table = random_table(fold, num_classes=3)
        names = tuple(f"{fold}/{name}" for name in table.filenames)
        random = np.random.default_rng(number)
        table = table.with_probabilities(random.dirichlet(np.ones(3), len(names)))
        table = table.take(random.permutation(len(names)))
        object.__setattr__(table, "filenames", tuple(f"{fold}/{f}" for f in table.filenames))
        (run / "evaluate").mkdir(parents=True)
        write_table(run / "evaluate/test_predictions.csv", table)
        write_table(run / "evaluate/test_tta_predictions.csv", table)
        report = make_report(table, FACTS, Resamples(table.groups, number=20))
        (run / "evaluate/test.json").write_text(json.dumps(report))
        (run / "metrics.jsonl").write_text(LOG)
        (run / "env.json").write_text('{"processor": "a chip", "dataset": {}}')
    assert experiment.is_finished
    return experiment


def test_an_outcome_has_every_seed_and_fold_and_agrees_with_what_is_kept(finished, tmp_path):
    outcomes.keep_outcome(tmp_path, finished, "first", ran=True)
    outcomes.keep_outcome(tmp_path, finished, "second", ran=False)
    (found,) = outcomes.collect(tmp_path)["outcomes"]
    assert found["command"] == "first"
    assert found["environment"] == {"processor": "a chip"}
    assert [(run["seed"], run["fold"]) for run in found["runs"]] == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert found["n"] == 120
    # Four runs of 360 images at 1 and 360 at 2 a second.
    assert found["training_hours"] == pytest.approx(4 * 540 / 3600, abs=1e-3)

    kept = read_joined(tmp_path / found["predictions"]["test"])
    assert sorted(kept.tables) == [(0, 0), (0, 1), (1, 0), (1, 1)]
    right = {key: table.correct.sum() for key, table in kept.tables.items()}
    seeds = [(right[seed, 0] + right[seed, 1]) / 120 for seed in (0, 1)]
    assert found["accuracy"] == pytest.approx(np.mean(seeds))
    assert found["sd"] == pytest.approx(np.std(seeds, ddof=1))
    assert found["metrics"]["accuracy"]["estimate"] == pytest.approx(np.mean(seeds))
    assert found["folds_accuracy"][1] == pytest.approx((right[0, 1] + right[1, 1]) / 120)
    # The ensemble, image by image.
    votes = {}
    for table in kept.tables.values():
        for name, label, row in zip(
            table.filenames, table.labels, table.probabilities, strict=True
        ):
            votes.setdefault((name, label), []).append(row)
    hits = [np.sum(rows, axis=0).argmax() == label for (_, label), rows in votes.items()]
    assert found["ensemble"]["metrics"]["accuracy"]["estimate"] == pytest.approx(np.mean(hits))
    variant = found["variants"]["tta"]
    assert variant["metrics"] == found["metrics"]
    assert variant["ensemble"] == found["ensemble"]
    assert found["predictions"]["tta"].endswith("_cluster_tta.csv.gz")


def test_reasons_and_notes_stay_until_there_is_more(finished, tmp_path):
    outcomes.keep_reason(tmp_path, finished, "no data")
    (tmp_path / "words.md").write_text("**Read this.**\n", encoding="utf-8")
    outcomes.keep_note(tmp_path, str(tmp_path / "words.md"))
    outcomes.write_page(tmp_path)
    page = (tmp_path / "RESULTS.md").read_text(encoding="utf-8")
    assert "- cric_field_efficientnet_lite0, cluster: no data" in page
    assert "**Read this.**" in page
    outcomes.keep_outcome(tmp_path, finished, "c", ran=True)
    outcomes.keep_reason(tmp_path, finished, "no data")
    outcomes.write_page(tmp_path)
    page = (tmp_path / "RESULTS.md").read_text(encoding="utf-8")
    assert "no data" not in page
    assert "| cric_field_efficientnet_lite0 | `cluster` | " in page
    with pytest.raises(InputError, match="give a file of Markdown"):
        outcomes.keep_note(tmp_path, str(tmp_path / "none.md"))


def test_a_process_that_finished_meanwhile_is_not_overwritten(finished, tmp_path, monkeypatch):
    draw = outcomes.figures.intervals

    def meanwhile(*args, **kwargs):  # another process finishes while this one writes
        draw(*args, **kwargs)
        if not (tmp_path / "outcomes").exists():
            outcomes.keep_outcome(tmp_path, finished, "c", ran=True)

    monkeypatch.setattr(outcomes.figures, "intervals", meanwhile)
    outcomes.write_page(tmp_path)
    assert len(json.loads((tmp_path / "results.json").read_text())["outcomes"]) == 1


def test_what_is_published_is_the_page_of_its_numbers(finished, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import publish_results

    with pytest.raises(SystemExit, match="holds no outcome"):
        publish_results.publish(tmp_path / "none", tmp_path / "root")
    outcomes.keep_outcome(tmp_path, finished, "c", ran=True)
    publish_results.publish(tmp_path, tmp_path / "root")
    root = tmp_path / "root"
    numbers = json.loads((root / publish_results.NUMBERS).read_text(encoding="utf-8"))
    assert numbers == json.loads(json.dumps(outcomes.collect(tmp_path)))
    page = (root / "RESULTS.md").read_text(encoding="utf-8")
    assert f"]({publish_results.NUMBERS})" in page
    for name in numbers["outcomes"][0]["predictions"].values():
        kept = root / publish_results.PREDICTIONS / name.removeprefix("predictions/")
        assert len(read_joined(kept).tables) == 4


def test_a_published_page_is_written_again_with_another_note(finished, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import publish_results

    outcomes.keep_outcome(tmp_path, finished, "c", ran=True)
    root, note = tmp_path / "root", tmp_path / "note.md"
    publish_results.publish(tmp_path, root)
    first = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    publish_results.publish_again(root, None)
    assert {path: path.read_bytes() for path in root.rglob("*") if path.is_file()} == first
    note.write_text("**A new note.**\n", encoding="utf-8")
    publish_results.publish_again(root, note)
    changed = {path.name for path, content in first.items() if path.read_bytes() != content}
    assert changed == {"RESULTS.md", "reproduce.json"}
    assert "\n**A new note.**\n" in (root / "RESULTS.md").read_text(encoding="utf-8")
