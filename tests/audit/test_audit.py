"""The command `audit`: of data sets and of runs."""

import csv
import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from absl import flags
from absl.testing import flagsaver
from PIL import Image

from cervix_jax.audit import __main__ as command
from cervix_jax.audit import model as run_audit
from cervix_jax.audit.baselines import balanced_accuracy, cross_validate, share_above_chance
from cervix_jax.audit.dataset import audit_dataset, reading
from cervix_jax.audit.report import dataset_text
from cervix_jax.audit.write import write_dataset_audit
from cervix_jax.data import catalog, divide
from cervix_jax.data.decode import resize_square
from cervix_jax.errors import InputError
from cervix_jax.files.images import png
from cervix_jax.statistics.intervals import wilson_interval

pytestmark = pytest.mark.slow  # forests and a trained run

FAST = {"trees": 20, "folds": 5, "progress": False}


@pytest.fixture(scope="module")
def audited(prepared):
    """Audits of the same phantom cells, none, half and all in the colours of their classes."""
    reports = []
    for confounding in (0.0, 0.5, 1.0):
        few = {"clusters_per_class": 20, "clusters_per_slide": 2, "cells_per_cluster": 2}
        dataset = catalog.load(
            "cervix_phantom/single_cell",
            data_dir=prepared,
            settings=few | {"confounding": confounding},
        )
        reports.append(audit_dataset(dataset, **FAST))
    return reports


@pytest.fixture(scope="module")
def phantom(prepared):
    few = {"clusters_per_class": 4, "cells_per_cluster": 2}
    return catalog.load("cervix_phantom/single_cell", data_dir=prepared, settings=few)


# --- data sets ----------------------------------------------------------------------------------


@pytest.mark.slow
def test_confounding_shows_in_colour_and_border_but_not_in_shape(audited):
    plain, half, confounded = (report["baselines"] for report in audited)
    colour = [each["colour"]["random"]["mean"] for each in (plain, half, confounded)]
    assert colour[0] + 0.1 < colour[1] < colour[2] - 0.05
    assert confounded["colour"]["random"]["mean"] > 0.75
    assert confounded["border"]["random"]["mean"] > plain["border"]["random"]["mean"] + 0.2
    # Border pixels show neighbours and background only; without confounding they are near chance.
    assert plain["border"]["random"]["mean"] < 0.4
    # New slides are harder where slides tell the class.
    assert confounded["border"]["block"]["mean"] < confounded["border"]["random"]["mean"] - 0.08
    for protocol in ("random", "cluster", "block"):
        assert plain["shape"][protocol] == confounded["shape"][protocol]
    assert plain["shape"]["cluster"]["mean"] > 0.9


def test_the_reading_says_what_colour_reaches(audited):
    plain, _, report = audited
    score = report["baselines"]["colour"]["cluster"]["mean"]
    assert f"{(score - 0.2) / 0.8:.0%} of the way from chance (0.200)" in report["reading"]
    assert "The colour baseline falls from" in report["reading"]
    assert "The strongest baseline without shape uses width, height and area" in plain["reading"]
    leaky = reading(report | {"protocol": "random"})
    share = max(fold["leakage"] for fold in report["splits"]["random"])
    assert share > 0.5
    assert f"Up to {share:.1%} of a fold's test images come from groups" in leaky
    assert "come from groups" not in report["reading"]


def test_counts_add_up(audited):
    report = audited[0]
    assert report["examples"] == 200
    assert report["groups"] == 100
    assert report["chance"] == 0.2
    for name in ("random", "cluster", "block"):
        folds = report["splits"][name]
        assert len(folds) == 5
        assert sum(fold["sizes"]["test"] for fold in folds) == 200
        for fold in folds:
            assert sum(fold["sizes"].values()) == 200
            for split, size in fold["sizes"].items():
                assert sum(fold["class_counts"][split]) == size
    assert {fold["leakage"] for fold in report["splits"]["cluster"]} == {0.0}
    for found in report["classes"].values():
        assert (found["examples"], found["groups"]) == (40, 20)
        assert found["width"] == sorted(found["width"])


def test_phantom_cells_are_no_duplicates(audited):
    assert audited[0]["duplicates"]["pairs"] == []
    assert "joined" not in audited[0]["splits"]


def with_copies(dataset, *copies):
    """The data set with more examples, each an image, a label and a group."""
    extra = [{"image": image} for image, _, _ in copies]
    decoded = [{"image": dataset.decoded_source[i]["image"]} for i in range(len(dataset))] + extra
    return dataclasses.replace(
        dataset,
        filenames=(*dataset.filenames, *(f"copy/{n}.png" for n in range(len(copies)))),
        labels=np.concatenate([dataset.labels, [label for _, label, _ in copies]]),
        groups=(*dataset.groups, *(group for _, _, group in copies)),
        source=[{"image": png(Image.fromarray(example["image"]))} for example in decoded],
        decoded_source=decoded,
    )


def test_planted_duplicates_across_splits_are_found_by_name(phantom):
    first, second = (np.asarray(phantom.decoded_source[i]["image"]) for i in (3, 30))
    smaller = resize_square(second, 60)
    mirrored = np.asarray(Image.fromarray(smaller).transpose(Image.Transpose.FLIP_LEFT_RIGHT))
    label, other = int(phantom.labels[3]), (int(phantom.labels[30]) + 1) % 5
    dataset = with_copies(phantom, (first, label, "copy/1"), (mirrored, other, "copy/2"))
    # The same cells can be apart under one seed and together under another.
    reports = [audit_dataset(dataset, **FAST | {"folds": 4, "seed": s, "trees": 2}) for s in (0, 1)]
    found = reports[0]["duplicates"]
    assert (found["exact"], found["near"], found["between_classes"]) == (1, 1, 1)
    exact, near = found["pairs"]
    assert (exact["first"], exact["second"]) == (phantom.filenames[3], "copy/0.png")
    assert exact["exact"]
    assert (near["first"], near["second"]) == (phantom.filenames[30], "copy/1.png")
    assert near["pose"] == "mirrored left to right"
    assert reports[0]["groups"] - found["groups_joined"] == 2
    assert any(r["duplicates"]["crossing"]["cluster"] for r in reports)
    for report in reports:
        for protocol, folds in report["splits"].items():
            pairs = report["duplicates"]["pairs"]
            apart = {fold for pair in pairs for fold in pair["crosses"].get(protocol, [])}
            assert apart == {n for n, fold in enumerate(folds) if fold["duplicated"] > 0}
        assert report["duplicates"]["crossing"]["joined"] == 0
        if report["duplicates"]["crossing"]["cluster"]:
            assert "duplicate or near-duplicate pairs" in report["reading"]
        assert "pairs of duplicates or near duplicates have different labels" in report["reading"]


def test_joined_can_be_looked_at_closely_and_its_groups_are_written(phantom, tmp_path):
    image = np.asarray(phantom.decoded_source[3]["image"])
    alone = {"folds": 3, "trees": 2, "protocol": "joined"}
    assert audit_dataset(phantom, **FAST | alone)["splits"].keys() >= {"joined"}
    dataset = with_copies(phantom, (image, int(phantom.labels[3]), "copy, of slide 1"))
    found = audit_dataset(dataset, **FAST | alone)
    assert found["protocol"] == "joined"
    assert found["duplicates"]["crossing"]["joined"] == 0
    for fold in range(3):
        expected = divide.split_dataset(dataset, protocol="joined", fold=fold, folds=3)
        sizes = {split: int((expected == split).sum()) for split in ("train", "val", "test")}
        assert found["splits"]["joined"][fold]["sizes"] == sizes
    write_dataset_audit(found, dataset, tmp_path)
    with (tmp_path / "images.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    labels = [dataset.class_names[label] for label in dataset.labels]
    expected = sorted(zip(dataset.filenames, labels, dataset.joined_groups, strict=True))
    assert [tuple(row.values()) for row in rows] == expected
    assert dataset.joined_groups[-1] == dataset.joined_groups[3]
    with pytest.raises(InputError, match=r"split\.folds=60"):
        audit_dataset(dataset, **FAST | alone | {"folds": 60})


def test_without_groups_leakage_is_unknown(phantom, tmp_path):
    dataset = dataclasses.replace(phantom, groups=phantom.filenames)
    found = audit_dataset(dataset, **FAST | {"folds": 4, "trees": 2})
    assert not found["groups_known"]
    folds = [fold for each in found["splits"].values() for fold in each]
    assert {(fold["leakage"], fold["leakage_train"]) for fold in folds} == {(None, None)}
    assert "Leakage is unknown: no groups were given" in found["reading"]
    text = dataset_text(found)
    row = next(line for line in text.splitlines() if line.startswith("random"))
    assert "unknown" in row
    assert "images.csv groups only duplicates" in text


def test_protocols_that_do_not_fit(phantom):
    with pytest.raises(InputError, match="use fewer folds"):
        audit_dataset(phantom, protocol="cluster", **FAST | {"folds": 30})
    report = audit_dataset(phantom, protocol="paper", **FAST | {"trees": 2, "folds": 30})
    assert set(report["unavailable"]) == {"random", "cluster", "block"}
    assert "use fewer folds" in report["unavailable"]["block"]
    assert report["baselines"]["colour"]["paper"]["deviation"] is None
    assert len(report["splits"]["paper"]) == 1


def test_balanced_accuracy_counts_classes_alike():
    labels = np.array([0] * 8 + [1] * 2)
    assert balanced_accuracy(labels, np.zeros(10, int)) == 0.5
    assert balanced_accuracy(labels, labels) == 1
    assert balanced_accuracy(np.array([2, 2]), np.array([2, 0])) == 0.5
    assert share_above_chance(0.6, 0.2) == pytest.approx(0.5)


def test_forests_learn_from_all_but_the_test_part():
    labels = np.tile([0, 1], 30)
    features = labels[:, None] + np.zeros((60, 2))
    splits = np.array(["train"] * 20 + ["val"] * 20 + ["test"] * 20)
    assert cross_validate(features, labels, [splits], trees=3) == [1.0]
    # Only val shows class 1, and only train class 0.
    splits = np.where(np.arange(60) < 20, "test", np.where(labels == 0, "train", "val"))
    assert cross_validate(features, labels, [splits], trees=3, jobs=2) == [1.0]


# --- runs ---------------------------------------------------------------------------------------


def test_a_run_is_compared_with_itself():
    unchanged = np.array([1, 1, 1, 1, 1, 1, 0, 0], bool)
    changed = np.array([1, 1, 0, 0, 0, 0, 1, 0], bool)
    found = run_audit._compare(changed, unchanged, majority=0.25)
    assert found["accuracy"] == 3 / 8
    assert found["accuracy_interval"] == list(wilson_interval(3, 8))
    assert found["drop"] == 3 / 8
    assert (found["lost"], found["gained"]) == (4, 1)
    assert found["p_value"] == pytest.approx(2 * (1 + 5) / 2**5)
    assert found["kept"] == pytest.approx((3 / 8 - 1 / 4) / (3 / 4 - 1 / 4))
    same = run_audit._compare(unchanged, unchanged, majority=0.9)
    assert (same["drop"], same["p_value"], same["kept"]) == (0, 1, None)


def test_a_class_recognised_by_its_border_is_named():
    labels, predicted = np.array([0, 0, 0, 1, 1, 2]), np.array([0, 0, 1, 1, 2, 1])
    by_class = run_audit._by_class(labels, predicted, ("a", "b", "c", "empty"))
    assert by_class == {
        "a": {"recall": 2 / 3, "called": 0.0},
        "b": {"recall": 1 / 2, "called": 1 / 2},
        "c": {"recall": 0.0, "called": 1 / 5},
    }
    change = {"accuracy": 0.9, "kept": 0.5, "by_class": by_class}
    report = {"majority": 0.5, "changes": dict.fromkeys(run_audit.DESCRIPTIONS, change)}
    said = run_audit.reading(report)
    assert "recognises a: it predicts this class for 67% of its images and 0% of the others" in said
    assert said.count("From the border alone") == 1


@pytest.fixture(scope="module")
def audit():
    """Calls the command with flags, in this process (which knows the tiny model)."""
    before = set(flags.FLAGS)
    command.define_flags()
    own = set(flags.FLAGS) - before

    def call(**values):
        with flagsaver.flagsaver(**values):
            command.main([])

    yield call
    for name in own:
        delattr(flags.FLAGS, name)


@pytest.mark.slow
def test_command_on_a_run(trained, audit, capsys):
    folder, test_report = trained
    audit(workdir=str(folder), jobs=1)
    report = json.loads((folder / "audit" / "audit.json").read_text())
    assert set(report["changes"]) == set(run_audit.DESCRIPTIONS)
    unchanged = report["changes"]["unchanged"]
    assert unchanged["accuracy"] == pytest.approx(test_report["accuracy"])
    assert unchanged["balanced_accuracy"] == pytest.approx(
        test_report["metrics"]["balanced_accuracy"]["estimate"]
    )
    assert unchanged["drop"] == 0
    assert report["n"] == test_report["n"]
    assert report["masks"] == {"data set": report["n"], "segmentation": 0}
    for found in report["changes"].values():
        low, high = found["accuracy_interval"]
        assert low <= found["accuracy"] <= high
        right = round(found["accuracy"] * report["n"])
        right_unchanged = round(unchanged["accuracy"] * report["n"])
        assert right - right_unchanged == found["gained"] - found["lost"]
    with Image.open(folder / "audit" / "changes.png") as image:
        assert image.width > 600
    printed = capsys.readouterr().out
    assert "background_removed" in printed
    assert report["reading"] in printed


def test_changes_reach_the_model(trained, audit, monkeypatch, tmp_path):
    """A model that says 1 for bright images and 0 for others knows what it is shown."""
    shown = []

    def logits(self, images, *, batch_size):
        shown.append(images)
        return np.eye(5)[(images.mean(axis=(1, 2, 3)) > 128).astype(int)]

    monkeypatch.setattr("cervix_jax.runs.run.Run.logits", logits)
    audit(workdir=str(trained[0]), out=str(tmp_path), jobs=1)
    images = dict(zip(run_audit.DESCRIPTIONS, shown, strict=True))
    assert all(each.shape[1:] == (32, 32, 3) for each in images.values())
    assert np.ptp(images["grey"].astype(int), axis=-1).max() == 0
    assert (
        np.ptp(images["border_only"][:, 8:-8, 8:-8].reshape(len(shown[0]), -1, 3), axis=1).max()
        == 0
    )
    white = (images["background_removed"] == 255).all(-1).mean()
    assert white > (images["unchanged"] == 255).all(-1).mean() + 0.1
    # Every image has one stain, so the images' means differ less.
    spread = [
        images[n].mean(axis=(1, 2)).std(axis=0).mean() for n in ("unchanged", "stain_normalised")
    ]
    assert spread[1] < 0.5 * spread[0]
    shuffled = images["patches_shuffled"].mean(axis=(1, 2))
    np.testing.assert_allclose(shuffled, images["unchanged"].mean(axis=(1, 2)), atol=4)
    assert (tmp_path / "audit.json").is_file()


# --- command ------------------------------------------------------------------------------------


def test_command_on_a_data_set(prepared, audit, tmp_path, capsys):
    audit(
        dataset="cervix_phantom/single_cell",
        data_dir=str(prepared),
        out=str(tmp_path / "new" / "folder"),
        setting=["clusters_per_class=4", "cells_per_cluster=2"],
        folds=4,
        trees=5,
        jobs=1,
    )
    report = json.loads((tmp_path / "new" / "folder" / "audit.json").read_text())
    assert report["examples"] == 40
    assert (tmp_path / "new" / "folder" / "baselines.png").stat().st_size > 10_000
    assert {path.name for path in (tmp_path / "new" / "folder").iterdir()} == {
        "audit.json",
        "baselines.png",
        "images.csv",
    }
    printed = capsys.readouterr().out
    mean = report["baselines"]["colour"]["cluster"]["mean"]
    row = next(line for line in printed.splitlines() if line.startswith("colour"))
    assert f"{mean:.3f} ±" in row
    assert report["reading"] in printed


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "give either --dataset"),
        ({"dataset": "herlev/default", "workdir": "runs/x"}, "give either --dataset"),
        ({"dataset": "sipakmet/single_cell"}, "did you mean 'sipakmed'"),
        ({"workdir": "/no/such/run"}, "not the folder of a run"),
        ({"dataset": "cervix_phantom/single_cell", "setting": ["seed"]}, "--setting=seed: "),
        ({"dataset": "cervix_phantom/single_cell", "setting": ["sead=1"]}, "--setting=sead=1: "),
    ],
)
def test_bad_input(audit, values, message):
    with pytest.raises(InputError, match=message):
        audit(**values)


def test_flags_end_in_one_line():
    result = subprocess.run(
        [sys.executable, "-m", "cervix_jax.audit", "--dataset=x/y", "--protocol=slides"],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert result.returncode == 2
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert "protocol=slides" in line
    assert "Traceback" not in result.stderr


@pytest.mark.slow
def test_real_cells_come_near_the_published_figures(shared, tmp_path):
    """Measured apart, with a forest of another size and other folds: 27 percentiles and so on."""
    dataset = catalog.load(
        "sipakmed/single_cell", manual_dir=shared / "data" / "sipakmed", data_dir=tmp_path
    )
    report = audit_dataset(dataset, progress=False)
    expected = {
        "colour": {"random": 0.909, "cluster": 0.884, "block": 0.767},
        "border": {"random": 0.842, "cluster": 0.804, "block": 0.666},
        "grey": {"random": 0.571, "cluster": 0.562, "block": 0.527},
        "size": {"random": 0.514, "cluster": 0.508},
    }
    for name, figures in expected.items():
        for protocol, figure in figures.items():
            assert report["baselines"][name][protocol]["mean"] == pytest.approx(figure, abs=0.03)
    # Cells photographed twice, in fields that overlap; one is called by two names.
    found = report["duplicates"]
    assert found["exact"] == 0
    assert found["between_groups"] == found["near"] > 200
    assert set(found["poses"]) == {"same pose"}
    names = {frozenset((pair["first"][:-4], pair["second"][:-4])) for pair in found["pairs"]}
    assert {"im_Metaplastic/171_02", "im_Koilocytotic/016_02"} in names
