"""A run on labelled images from elsewhere: which are found, which of them the run has seen."""

import copy
import csv
import dataclasses
import json
import shutil

import numpy as np
import pytest
from PIL import Image

from cervix_jax import evaluate_on, load_run
from cervix_jax.errors import InputError
from cervix_jax.evaluate.labelled_images import open_labelled
from cervix_jax.evaluate.predictions_file import read_table
from cervix_jax.evaluate.seen import Copy, Seen
from cervix_jax.evaluate.summary_text import summary


@pytest.fixture(scope="module")
def run(trained, tmp_path_factory):
    """A copy of the tiny run, since other tests look at what lies in it."""
    folder = tmp_path_factory.mktemp("external") / "run"
    shutil.copytree(trained[0], folder)
    return load_run(folder)


@pytest.fixture(scope="module")
def own(run):
    """The run's own images by split, as (pixels, class)."""
    data = run.open_data()
    return {
        split: [
            (data.dataset.decoded_source[int(i)]["image"], data.dataset.class_names[label])
            for i, label in zip(
                data.indices(split), data.dataset.labels[data.indices(split)], strict=True
            )
        ]
        for split in ("train", "val", "test")
    }


@pytest.fixture(scope="module")
def hospital(own, tmp_path_factory):
    """A folder: 3 training images, 1 recompressed, 2 of validation, 4 of test, 2 new ones."""
    root = tmp_path_factory.mktemp("data") / "hospital b"

    def put(pixels, label, name, **options):
        (root / label).mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(root / label / name, **options)

    for number in range(3):
        put(*own["train"][number], f"t{number}.png")
    put(*own["train"][5], "recompressed.jpg", quality=90)
    for number in range(2):
        put(*own["val"][number], f"v{number}.png")
    for number in range(4):
        put(*own["test"][number], f"e{number}.png")
    random = np.random.default_rng(0)
    for number in range(2):
        put(random.integers(0, 256, (40, 40, 3), np.uint8), "Parabasal", f"n{number}.png")
    return root


def test_images_of_the_run_are_found_by_their_pixels(run, hospital):
    before = sorted((path, path.stat().st_mtime) for path in (run.workdir / "evaluate").iterdir())
    report = evaluate_on(run, hospital)
    folder = run.workdir / "external" / "hospital_b"
    assert json.loads((folder / "external.json").read_text()) == report
    found = report["external"]["seen"]
    assert found["exact"] == {"train": 3, "val": 2, "test": 4}
    assert found["near"]["train"] == 1
    assert found["images"] == 6
    assert report["leakage"] == pytest.approx(6 / 12)
    assert report["leakage_train"] == pytest.approx(4 / 12)
    assert report["external"]["unseen"]["n"] == 6
    assert report["dataset"] == "hospital b"
    rows = list(csv.DictReader((folder / "external_seen.csv").read_text().splitlines()))
    assert {row["kind"] for row in rows if row["filename"].endswith("recompressed.jpg")} == {"near"}
    text = summary(report)
    assert "by group unknown: no groups were given" in text
    assert "leakage 50.0%: the run was trained or validated on 6 of 12 images (5 identical" in text
    assert "(5 identical in every pixel, 1 as near duplicates" in text
    assert "accuracy on the 6 other images:" in text
    assert before == sorted(
        (path, path.stat().st_mtime) for path in (run.workdir / "evaluate").iterdir()
    )


def test_what_shares_a_group_with_a_copy_leaks(run, hospital, tmp_path):
    """One slide holds a training image and a new one: the run knows the slide."""
    slides = {"t0.png": "one", "n0.png": "one", "n1.png": "two", "e0.png": "three"}
    rows = [
        f"{path},{path.parent.name},{slides[path.name]}"
        for path in sorted(hospital.rglob("*.png"))
        if path.name in slides
    ]
    (tmp_path / "slides.csv").write_text("\n".join(["path,label,group", *rows]))
    report = evaluate_on(run, tmp_path / "slides.csv")
    seen = report["external"]["seen"]
    assert seen["made_with"] == {"exact": 1, "near": 0, "same_group": 1}
    assert report["leakage"] == pytest.approx(2 / 4)
    assert report["external"]["unseen"]["n"] == 2
    text = "1 not copies, but in a group of the run's images); 1 are test images of the run"
    assert text in summary(report)


def test_an_image_like_several_of_the_run_is_counted_once():
    copies = tuple(
        Copy(0, split, "like.png", exact, 0, 1.0, "same pose")
        for split, exact in (("train", False), ("val", False), ("train", True), ("test", False))
    )
    none = np.zeros(2, bool)
    seen = Seen("", copies, {}, none, False, near=True, repeated=0, count=2).to_json()
    assert seen["made_with"] == {"exact": 1, "near": 0, "same_group": 0}
    assert seen["images"] == 1


def test_groups_of_a_run_without_groups_are_unknown(run, hospital, tmp_path):
    names = run.identity.filenames
    ungrouped = copy.copy(run)
    ungrouped.identity = dataclasses.replace(run.identity, groups=names)
    path = next(hospital.rglob("n0.png"))
    other = path.with_name("n1.png")
    rows = [f"{place},Parabasal,one" for place in (path, other)]
    (tmp_path / "grouped.csv").write_text("\n".join(["path,label,group", *rows]))
    said = summary(evaluate_on(ungrouped, tmp_path / "grouped.csv"))
    assert "leakage by group is known only for groups in which" in said


def test_recompressed_test_images_of_the_run_are_said(run, own, tmp_path):
    for number, (pixels, label) in enumerate(own["test"][:3]):
        (tmp_path / "again" / label).mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(tmp_path / "again" / label / f"{number}.jpg", quality=90)
    said = summary(evaluate_on(run, tmp_path / "again"))
    assert "3 are test images of the run (3 as near duplicates)" in said


def test_probabilities_are_those_of_the_run(run, hospital, tmp_path):
    evaluate_on(run, hospital, out=tmp_path)
    table = read_table(tmp_path / "external_predictions.csv")
    source = open_labelled(hospital)
    pixels = [np.asarray(source.load(i)) for i in range(len(source))]
    np.testing.assert_allclose(table.probabilities, run.predict(pixels), atol=2e-5)
    assert table.filenames == source.filenames
    names = [source.class_names[label] for label in source.labels]
    assert [run.class_names[label] for label in table.labels] == names


def test_a_list_reads_as_the_folder_does(run, hospital, tmp_path):
    whole = evaluate_on(run, hospital, out=tmp_path / "a")
    paths = sorted(hospital.rglob("*.*"))
    rows = [f'"{path}",{path.parent.name},p{number % 3}' for number, path in enumerate(paths)]
    (tmp_path / "list.csv").write_text("\n".join(["path,label,group", *rows]))
    listed = evaluate_on(run, tmp_path / "list.csv", out=tmp_path / "b")
    assert listed["confusion_matrix"] == whole["confusion_matrix"]
    for kind in ("exact", "near", "repeated"):
        assert listed["external"]["seen"][kind] == whole["external"]["seen"][kind]
    assert (listed["groups"], whole["groups"]) == (3, 12)
    # Paths may also start at the folder of the list.
    rows = [f"{path.relative_to(hospital).as_posix()};{path.parent.name}" for path in paths]
    (hospital.parent / "relative.csv").write_text("\n".join(["path;label", *rows]))
    with pytest.raises(
        InputError, match=r"there is no file .* give paths that are absolute or relative to"
    ):
        evaluate_on(run, hospital.parent / "relative.csv", out=tmp_path / "c")
    (hospital.parent / "relative.csv").rename(tmp_path / "moved.csv")
    shutil.copytree(hospital, tmp_path, dirs_exist_ok=True)
    again = evaluate_on(run, tmp_path / "moved.csv", out=tmp_path / "c")
    assert again["confusion_matrix"] == whole["confusion_matrix"]


def test_predictions_join_a_list_of_labels(run, hospital, tmp_path):
    paths = sorted(hospital.rglob("*.*"))
    probabilities = run.predict([np.asarray(Image.open(path).convert("RGB")) for path in paths])
    head = ["path", "class", *(f"p_{name}" for name in run.class_names), "confidence"]
    with (tmp_path / "predicted.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(head)
        for path, p in zip(paths, probabilities, strict=True):
            rows.writerow([path, run.class_names[p.argmax()], *p, p.max()])
    labels = [f"{path.name},{path.parent.name}" for path in paths[:-1]]
    (tmp_path / "labels.csv").write_text("\n".join(["filename,label", *labels, "other.png,NILM"]))
    with pytest.raises(InputError, match="NILM is unknown to the run"):
        evaluate_on(run, tmp_path / "predicted.csv", labels=tmp_path / "labels.csv")
    (tmp_path / "labels.csv").write_text(
        "\n".join(["filename,label", *labels, "other.png,Parabasal"])
    )
    report = evaluate_on(run, tmp_path / "predicted.csv", labels=tmp_path / "labels.csv")
    assert report["n"] == 11
    assert report["external"]["seen"]["images"] > 0  # the images are there, so they are compared
    notes = " ".join(report["external"]["notes"])
    assert "1 predicted images have no label and are left out" in notes
    assert "1 labelled images have no prediction, e.g. other.png" in notes
    assert "joined to predictions by file name" in notes
    with pytest.raises(InputError, match=r"no column label; add --labels with a CSV"):
        evaluate_on(run, tmp_path / "predicted.csv", name="without")
    with pytest.raises(InputError, match="there is no such folder, list"):
        evaluate_on(run, tmp_path / "nowhere.csv", labels=tmp_path / "labels.csv")


def test_classes_are_matched_by_name(run, hospital, tmp_path):
    shutil.copytree(hospital, tmp_path / "renamed")
    (tmp_path / "renamed" / "Parabasal").rename(tmp_path / "renamed" / "Alike")
    with pytest.raises(InputError, match=r"those of the data set .*Alike.*unknown to the run"):
        evaluate_on(run, tmp_path / "renamed")
    assert not (run.workdir / "external" / "renamed").exists()
    report = evaluate_on(run, tmp_path / "renamed", class_map={"Parabasal": "Alike"})
    whole = evaluate_on(run, hospital, out=tmp_path / "whole")
    assert np.array(report["confusion_matrix"]).sum(1).tolist() == (
        np.array(whole["confusion_matrix"]).sum(1).tolist()
    )
    assert "renamed classes (data is run): Alike is Parabasal" in summary(report)


def test_one_class_alone_is_evaluated_and_said(run, hospital, tmp_path):
    shutil.copytree(hospital / "Parabasal", tmp_path / "only" / "Parabasal")
    report = evaluate_on(run, tmp_path / "only", out=tmp_path / "out")
    assert len(report["external"]["absent_classes"]) == len(run.class_names) - 1
    assert "no image has the class Dyskeratotic" in summary(report)


def test_damaged_images_are_left_out_and_listed(run, hospital, tmp_path):
    shutil.copytree(hospital, tmp_path / "some")
    (tmp_path / "some" / "Parabasal" / "zz.png").write_bytes(b"no image")
    report = evaluate_on(run, tmp_path / "some", out=tmp_path / "out")
    assert (report["n"], report["external"]["skipped"]) == (12, 1)
    rows = list(
        csv.DictReader((tmp_path / "out" / "external_skipped.csv").read_text().splitlines())
    )
    assert [row["path"] for row in rows] == ["Parabasal/zz.png"]


def test_a_name_is_not_taken_twice(run, hospital, tmp_path):
    shutil.copytree(hospital, tmp_path / "hospital b")
    evaluate_on(run, hospital, name="same")
    evaluate_on(run, hospital, name="same")  # the same images again
    with pytest.raises(InputError, match=r"holds the evaluation on .*; give another --name than"):
        evaluate_on(run, tmp_path / "hospital b", name="same")
    with pytest.raises(InputError, match="without slashes"):
        evaluate_on(run, hospital, name="../same")


def test_a_run_that_did_not_record_its_images(run, hospital, tmp_path):
    old = load_run(run.workdir)
    old.identity = None
    report = evaluate_on(old, hospital, out=tmp_path)
    assert report["leakage"] is None
    assert "leakage unknown: the run was written by an earlier version" in summary(report)


def test_without_fingerprints_exact_copies_are_found(run, hospital, tmp_path):
    shutil.copytree(run.workdir, tmp_path / "run")
    (tmp_path / "run" / "fingerprints.npz").unlink()
    report = evaluate_on(tmp_path / "run", hospital)
    assert report["external"]["seen"]["exact"]["train"] == 3
    assert report["external"]["seen"]["near"] is None
    assert "near duplicates not checked" in summary(report)


def test_the_data_set_of_the_run_itself(run):
    """Its groups are the run's groups, so that leakage counts them, too."""
    report = evaluate_on(run, "cervix_phantom/single_cell")
    identity = run.identity
    made = set(np.asarray(identity.groups)[identity.splits != "test"].tolist())
    expected = np.mean([group in made for group in identity.groups])
    assert report["leakage"] == pytest.approx(expected)
    assert report["external"]["seen"]["exact"] == identity.counts()


@pytest.mark.parametrize(
    ("on", "message"),
    [
        ("nowhere", "there is no such folder, list or data set"),
        ("herlev/defalt", "did you mean 'default'"),
    ],
)
def test_what_is_no_source(run, on, message):
    with pytest.raises(InputError, match=message):
        evaluate_on(run, on)
