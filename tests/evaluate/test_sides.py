import json

import numpy as np
import pytest
from random_tables import random_table
from scipy.stats import binomtest, wilcoxon
from sklearn.metrics import roc_auc_score

from cervix_jax.errors import InputError
from cervix_jax.evaluate.predictions_file import write_table
from cervix_jax.evaluate.sides import read_side
from cervix_jax.statistics.comparison import fold_test
from cervix_jax.statistics.side_by_side import compare


def write_run(folder, table, train=None):
    write_table(folder / "evaluate" / "test_predictions.csv", table)
    if train:
        examples = {"train": train, "val": 5, "test": len(table.labels)}
        (folder / "env.json").write_text(json.dumps({"dataset": {"examples": examples}}))


def worse(table, rows):
    """The same images, of which some are predicted wrongly."""
    wrong = 0.8 * np.eye(3)[(table.labels + 1) % 3] + 0.2 / 3
    chosen = np.isin(np.arange(len(table.labels)), rows)[:, None]
    return table.with_probabilities(np.where(chosen, wrong, table.probabilities))


@pytest.fixture
def crossed(tmp_path):
    """Two cross-validations of 3 folds and 2 seeds; B errs more, most in the last fold."""
    folds = [random_table(f, n=40) for f in range(3)]
    folds = [
        type(t)(tuple(f"{f}/{n}" for n in t.filenames), np.char.add(f"{f}", t.groups),
                t.labels, t.probabilities, t.class_names)
        for f, t in enumerate(folds)
    ]  # fmt: skip
    for seed in (0, 1):
        for fold, table in enumerate(folds):
            write_run(tmp_path / f"a/seed{seed}/fold{fold}", table, train=100)
            mistakes = np.flatnonzero(table.correct)[: 2 + 2 * fold + seed]
            write_run(tmp_path / f"b/seed{seed}/fold{fold}", worse(table, mistakes), train=100)
    return tmp_path / "a", tmp_path / "b", folds


def test_two_files_by_hand(tmp_path):
    table = random_table(0)
    right, wrong = np.flatnonzero(table.correct), np.flatnonzero(~table.correct)
    fixed = 0.8 * np.eye(3)[table.labels] + 0.2 / 3
    other = worse(table, right[:3])
    better = np.where(np.isin(np.arange(60), wrong[:1])[:, None], fixed, other.probabilities)
    other = other.with_probabilities(better).take(np.arange(60)[::-1])
    write_table(tmp_path / "a.csv", table)
    write_table(tmp_path / "b.csv", other)
    sides = [read_side(tmp_path / name) for name in ("a.csv", "b.csv")]
    found = compare(*sides)
    p = binomtest(1, 4).pvalue
    assert found.sentences == [
        f"A is right on {len(right)} and B on {len(right) - 2}: a difference of 2 of 60 images; "
        f"p = {p:.2g} (exact McNemar; 3 right by A alone, 1 by B alone)."
    ]
    rows = {row.metric: row for row in found.rows}
    assert rows["accuracy"].difference == pytest.approx(2 / 60)
    low, high = rows["accuracy"].interval
    assert low < 2 / 60 < high
    assert rows["accuracy"].p_value == pytest.approx(p)
    for number, name in enumerate("abc"):
        row, positive = rows[f"AUROC {name}"], table.labels == number
        assert row.first == pytest.approx(roc_auc_score(positive, table.probabilities[:, number]))
        assert row.second == pytest.approx(roc_auc_score(positive, better[:, number]))
        assert row.interval[0] <= row.difference <= row.interval[1]
        assert row.p_value is None
    printed = found.text()
    assert printed.splitlines()[0].endswith("a.csv")
    assert f"accuracy           {len(right) / 60:8.4f}  {(len(right) - 2) / 60:8.4f}" in printed
    assert printed.splitlines()[-1] == found.sentences[0]


def test_two_classes_have_one_auroc(tmp_path):
    write_table(tmp_path / "a.csv", random_table(1, num_classes=2))
    side = read_side(tmp_path / "a.csv")
    found = compare(side, side)
    assert [row.metric for row in found.rows if "AUROC" in row.metric] == ["AUROC b"]
    assert found.sentences[0].startswith("A is right on")
    assert "a difference of 0 of 60 images; p = 1 (" in found.sentences[0]


def test_a_class_that_does_not_occur_has_no_auroc(tmp_path):
    table = random_table(2)
    write_table(tmp_path / "a.csv", table.take(np.flatnonzero(table.labels != 1)))
    side = read_side(tmp_path / "a.csv")
    rows = [row.metric for row in compare(side, side).rows]
    assert [name for name in rows if "AUROC" in name] == ["AUROC a", "AUROC c"]


def test_folds_and_seeds(crossed):
    a, b, folds = crossed
    sides = read_side(a), read_side(b)
    assert sorted(sides[0].tables) == [(s, f) for s in (0, 1) for f in (0, 1, 2)]
    found = compare(*sides)
    right = sum(int(table.correct.sum()) for table in folds)
    assert found.sentences[0].startswith(
        f"seed 0: A is right on {right} and B on {right - 12}: "
        "a difference of 12 of 120 images; p < 0.001"
    )
    assert found.sentences[1].startswith(f"seed 1: A is right on {right} and B on {right - 15}")
    # Per fold, seeds averaged: 2.5, 4.5 and 6.5 images of 40.
    differences = np.array([2.5, 4.5, 6.5]) / 40
    expected = fold_test(differences, 40 / 100)
    rows = {row.metric: row for row in found.rows}
    row = rows["accuracy, mean of 3 folds"]
    assert row.difference == pytest.approx(differences.mean())
    assert row.p_value == pytest.approx(expected.p_t)
    assert row.interval == pytest.approx(expected.interval)
    assert rows["accuracy"].difference == pytest.approx(13.5 / 120)
    assert rows["accuracy"].p_value is None  # McNemar is of one pair of runs
    assert not [row for row in found.rows if "AUROC" in row.metric]
    wilcoxon_rows = [row for row in found.rows if row.test == "Wilcoxon"]
    assert wilcoxon_rows[0].p_value == pytest.approx(wilcoxon(differences).pvalue)
    assert "Over 3 folds the accuracies differ by +0.1125" in found.sentences[2]
    assert "cannot go below 0.25 with 3 folds" in found.sentences[2]


def test_only_folds_that_both_have_count(crossed):
    a, b, folds = crossed
    (b / "seed0/fold2/evaluate/test_predictions.csv").unlink()
    found = compare(read_side(a), read_side(b))
    assert "a difference of 6 of 80 images; p = " in found.sentences[0]
    for fold in (0, 1, 2):
        (b / f"seed1/fold{fold}/evaluate/test_predictions.csv").unlink()
    (b / "seed0/fold1/evaluate/test_predictions.csv").unlink()
    found = compare(read_side(a), read_side(b))
    assert len(found.sentences) == 1
    assert f" of {len(folds[0].labels)} images; " in found.sentences[0]


def test_without_env_json_the_share_follows_from_the_folds(crossed):
    a, b, _ = crossed
    for path in (*a.glob("*/*/env.json"), *b.glob("*/*/env.json")):
        path.write_text("{}")
    rows = {row.metric: row for row in compare(read_side(a), read_side(b)).rows}
    # One of 3 folds is test, half of one validation: (1/3) / (1/2).
    expected = fold_test(np.array([2.5, 4.5, 6.5]) / 40, 2 / 3)
    assert rows["accuracy, mean of 3 folds"].p_value == pytest.approx(expected.p_t)


def test_what_cannot_be_compared(crossed, tmp_path):
    a, _, _ = crossed
    with pytest.raises(InputError, match="no such file or folder"):
        read_side(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"cervix_jax\.evaluate --workdir=.*empty --split=val"):
        read_side(tmp_path / "empty", "val")
    write_run(tmp_path / "single", random_table(8))
    with pytest.raises(InputError, match="the images differ"):
        compare(read_side(a), read_side(tmp_path / "single"))
    write_run(tmp_path / "c/seed7/fold0", random_table(8))
    with pytest.raises(InputError, match="no seed and fold in common"):
        compare(read_side(a), read_side(tmp_path / "c"))
