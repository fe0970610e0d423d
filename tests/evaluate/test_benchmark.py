"""Predictions of a stranger on a split file: the same report, and no image too few or too many."""

import json

import numpy as np
import pytest
from random_tables import random_table

from cervix_jax.data.split_file import SplitFile
from cervix_jax.errors import InputError
from cervix_jax.evaluate.any_model import evaluate_file
from cervix_jax.evaluate.joined_file import write_joined
from cervix_jax.evaluate.predictions_file import write_table
from cervix_jax.evaluate.summary_text import summary
from cervix_jax.statistics.performance import performance
from cervix_jax.statistics.resampling import Resamples
from cervix_jax.statistics.side_by_side import Side


@pytest.fixture(scope="module")
def table():
    return random_table(0)


@pytest.fixture
def split(tmp_path, table):
    """Two folds by group; of the second the first is validation."""
    fold = np.asarray([int(group[1:]) % 2 for group in table.groups])
    parts = np.stack([np.where(fold == k, "test", ("train", "val")[k]) for k in (0, 1)], axis=1)
    labels = tuple(table.class_names[label] for label in table.labels)
    made = SplitFile(tmp_path, table.filenames, labels, tuple(table.groups.tolist()), parts)
    made.write(tmp_path / "split.csv")
    return tmp_path / "split.csv"


def lines_of(table, columns=()):
    """The rows of a stranger: no labels, no groups, and paths of his own."""
    head = ["path", *(f"p_{name}" for name in table.class_names), *columns]
    rows = [
        [f"/home/me/{name.removesuffix('.png')}.jpg", *map(repr, row)]
        for name, row in zip(table.filenames, table.probabilities.tolist(), strict=True)
    ]
    return [",".join(head), *(",".join(row) for row in rows)]


def write(path, lines):
    path.write_text("\n".join(lines) + "\n")
    return path


def test_a_strangers_table_gets_the_report_of_a_run(tmp_path, table, split):
    head, *rows = lines_of(table)
    mine = write(tmp_path / "mine.csv", [head, *reversed(rows)])
    report = evaluate_file(mine, split_file=split)
    wanted = performance(table, Resamples(table.groups))
    for name in ("accuracy", "balanced_accuracy", "macro_auroc", "nll"):
        found, own = report["metrics"][name], wanted["metrics"][name]
        assert found["estimate"] == pytest.approx(own["estimate"])
        assert found["interval"] == pytest.approx(own["interval"])
        assert found["interval_by_group"] == pytest.approx(own["interval_by_group"])
    assert report["confusion_matrix"] == wanted["confusion_matrix"]
    assert (report["fold"], report["folds"], report["leakage"]) == ([0, 1], 2, 0)
    folder = tmp_path / "mine_evaluation"
    assert json.loads((folder / "mine.json").read_text()) == report
    rows = report["benchmark"]["by_fold"]
    for fold, row in enumerate(rows):
        own = json.loads((folder / f"fold{fold}" / "mine.json").read_text())
        inside = np.asarray([int(group[1:]) % 2 == fold for group in table.groups])
        part = table.take(np.flatnonzero(inside))
        assert own["accuracy"] == row["accuracy"] == pytest.approx(part.correct.mean())
        assert (row["n"], row["groups"]) == (inside.sum(), len(set(part.groups)))
    spread = report["benchmark"]["over_folds"]["accuracy"]
    values = [row["accuracy"] for row in rows]
    assert spread["mean"] == pytest.approx(np.mean(values))
    assert spread["sd"] == pytest.approx(np.std(values, ddof=1))
    text = summary(report)
    assert "protocol split.csv, 2 folds of 2; 0.0% of the examples" in text
    assert "each test image occurs exactly once; training on test images is not checked" in text
    assert "fold 1: accuracy" in text
    assert "mean ± sd between folds: accuracy" in text


def test_the_test_images_of_one_split_are_all_that_count(tmp_path, table):
    parts = np.where(np.arange(len(table.labels)) < 20, "test", "train")[:, None]
    labels = tuple(table.class_names[label] for label in table.labels)
    groups = tuple(table.groups.tolist())
    SplitFile(tmp_path, table.filenames, labels, groups, parts).write(tmp_path / "one.csv")
    write_table(tmp_path / "mine.csv.gz", table.take(np.arange(20)))
    report = evaluate_file(tmp_path / "mine.csv.gz", split_file=tmp_path / "one.csv")
    assert (report["n"], report["fold"], report["benchmark"]["by_fold"]) == (20, 0, [])
    assert report["leakage"] > 0  # groups are divided here
    assert (tmp_path / "mine_evaluation" / "mine.json").is_file()
    write_table(tmp_path / "all.csv", table)
    with pytest.raises(InputError, match=r"40 images are not test images of one.csv, e.g. 'image"):
        evaluate_file(tmp_path / "all.csv", split_file=tmp_path / "one.csv")


def test_a_column_fold_is_checked(tmp_path, table, split):
    head, *rows = lines_of(table, ["fold"])
    folds = [int(group[1:]) % 2 for group in table.groups]
    right = [f"{row},{fold}" for row, fold in zip(rows, folds, strict=True)]
    report = evaluate_file(write(tmp_path / "mine.csv", [head, *right]), split_file=split)
    assert report["benchmark"]["folds_checked"]
    assert "no column fold" not in summary(report)
    wrong = [*right[:-1], f"{rows[-1]},{1 - folds[-1]}"]
    with pytest.raises(InputError, match=r"line 61: .*the models of other folds .* trained on it"):
        evaluate_file(write(tmp_path / "mine.csv", [head, *wrong]), split_file=split)


def test_seeds_are_averaged_and_each_is_told(tmp_path, table, split):
    other = random_table(5)
    second = table.with_probabilities(other.probabilities)
    folds = np.asarray([int(group[1:]) % 2 for group in table.groups])
    members = {
        (seed, fold): each.take(np.flatnonzero(folds == fold))
        for seed, each in enumerate((table, second))
        for fold in (0, 1)
    }
    write_joined(tmp_path / "mine.csv.gz", Side("mine", members, {}))
    report = evaluate_file(tmp_path / "mine.csv.gz", split_file=split)
    mean = (table.probabilities + other.probabilities) / 2
    assert report["accuracy"] == pytest.approx((mean.argmax(1) == table.labels).mean(), abs=0.02)
    assert (report["members"], report["n"]) == (2, 60)
    rows = report["benchmark"]["by_seed"]
    assert rows[0]["accuracy"] == pytest.approx(table.correct.mean())
    assert rows[1]["accuracy"] == pytest.approx(second.correct.mean())
    assert "mean of 2 models" in summary(report)
    assert "seed 1: accuracy" in summary(report)
    alone = evaluate_file(tmp_path / "mine.csv.gz", out=tmp_path / "alone")
    assert (alone["accuracy"], alone["members"]) == (report["accuracy"], 2)
    members[1, 0], members[1, 1] = members[1, 1], members[1, 0]
    write_joined(tmp_path / "mine.csv.gz", Side("mine", members, {}))
    with pytest.raises(InputError, match="the images differ"):
        evaluate_file(tmp_path / "mine.csv.gz", split_file=split)


def test_what_does_not_fit_is_one_line(tmp_path, table, split):
    lines = lines_of(table)
    labelled = [lines[0] + ",label", *(f"{line},a" for line in lines[1:])]
    head = lines[0].replace("p_c", "p_d")
    for given, says in (
        (lines[:-3], r"3 of 60 test images of split.csv have no prediction, e.g. 'image057.png'"),
        ([*lines, "new.png,0.2,0.3,0.5"], r"'new.png' is not an image of split.csv"),
        ([*lines, "image000.gif,0.2,0.3,0.5"], r"are the same image of split.csv, 'image000.png'"),
        ([*lines, lines[1]], r"occurs more than once"),
        ([head, *lines[1:]], r"has no column p_c, but split.csv has images of that class"),
        (labelled, r"is 'a', but '[bc]' in split.csv \(\d+ images differ\)"),
    ):
        with pytest.raises(InputError, match=says) as error:
            evaluate_file(write(tmp_path / "mine.csv", given), split_file=split)
        assert "\n" not in str(error.value)
        assert not (tmp_path / "mine_evaluation").exists()
    with pytest.raises(InputError, match=r"--labels=.*leave it out"):
        evaluate_file(tmp_path / "mine.csv", split_file=split, labels="labels.csv")
