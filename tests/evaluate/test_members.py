"""Runs are compared on images that are the same, and new to each of them."""

import dataclasses
import json

import numpy as np
import pytest
from random_tables import random_table

from cervix_jax.data.identity import DataIdentity
from cervix_jax.errors import InputError
from cervix_jax.evaluate import members
from cervix_jax.evaluate.predictions_file import write_table
from cervix_jax.evaluate.workflow import compare_runs, evaluate_ensemble
from cervix_jax.runs import workdir


@pytest.fixture
def table():
    return random_table(0, n=20)


def identity_of(table, test=None):
    """Twenty test images, and twenty others that a run was made with."""
    names = [*table.filenames, *(f"train{i}.png" for i in range(20))]
    return DataIdentity(
        name="image_folder/default",
        version="1.0.0",
        class_names=table.class_names,
        group_feature="group_id",
        settings={},
        manual_dir="",
        data_dir="",
        filenames=tuple(names),
        digests=tuple(f"pixels of {name}" for name in names),
        labels=np.zeros(40, np.int64),
        groups=tuple(names),
        splits=np.array([test or "test"] * 20 + ["train"] * 15 + ["val"] * 5),
    )


def write_run(folder, table, identity=None, split="test"):
    write_table(folder / "evaluate" / f"{split}_predictions.csv", table)
    facts = {"dataset": "cells", "split": split, "protocol": "cluster", "leakage": 0.0}
    report = {"n": 20, "accuracy": 0.5, "accuracy_interval": [0, 1], "groups": 20, "class_names":
              table.class_names, "confusion_matrix": [[1]]}  # fmt: skip
    (folder / "evaluate" / f"{split}.json").write_text(json.dumps(facts | report))
    item = {"class_names": table.class_names, "examples": {"train": 15, "val": 5, "test": 20}}
    path = folder / "checkpoints/3/dataset/metadata"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(workdir.dataset_item(item, identity) if identity else item))
    return folder


def other_pixels(identity, **changes):
    """The identity with other pixels under some names."""
    names = zip(identity.filenames, identity.digests, strict=True)
    return dataclasses.replace(
        identity, digests=tuple(changes.get(name, digest) for name, digest in names)
    )


def assert_refused(a, b, message, tmp_path, split="test"):
    with pytest.raises(InputError, match=message):
        compare_runs(a, b, split=split)
    with pytest.raises(InputError, match=message):
        evaluate_ensemble([a, b], out=tmp_path / "joined", split=split)
    assert not (tmp_path / "joined").exists()


def test_the_same_division(table, tmp_path):
    a, b = (write_run(tmp_path / name, table, identity_of(table)) for name in "ab")
    compare_runs(a, b)
    evaluate_ensemble([a, b], out=tmp_path / "joined")


def test_an_image_replaced_under_its_name(table, tmp_path):
    own = identity_of(table)
    a = write_run(tmp_path / "a", table, own)
    b = write_run(tmp_path / "b", table, other_pixels(own, **{table.filenames[3]: "new"}))
    name = table.filenames[3]
    assert_refused(a, b, rf"/a and .*/b .* 1 have other pixels \({name} first\)", tmp_path)


@pytest.mark.parametrize("name", ["train4.png", "train18.png"])
def test_a_test_image_that_the_other_run_was_made_with(table, tmp_path, name):
    """The test image of both lay among the training images of B under another name."""
    own = identity_of(table)
    a = write_run(tmp_path / "a", table, own)
    copied = other_pixels(own, **{name: f"pixels of {table.filenames[5]}"})
    b = write_run(tmp_path / "b", table, copied)
    assert_refused(a, b, rf"/b was trained on 1 of the images .*\({table.filenames[5]}", tmp_path)
    assert_refused(b, a, r"/b was trained on 1 of the images", tmp_path)


def test_a_test_image_that_the_weights_had_seen_before(table, tmp_path):
    own = identity_of(table)
    a = write_run(tmp_path / "a", table, own)
    inherited = (f"pixels of {table.filenames[5]}",)
    b = write_run(tmp_path / "b", table, dataclasses.replace(own, inherited=inherited))
    assert_refused(a, b, r"/b was trained on 1 of the images", tmp_path)


def test_validation_images_are_new_to_training_only(table, tmp_path):
    own = identity_of(table, test="val")
    a = write_run(tmp_path / "a", table, own, split="val")
    b = write_run(tmp_path / "b", table, own, split="val")
    compare_runs(a, b, split="val")
    copied = other_pixels(own, **{"train4.png": f"pixels of {table.filenames[5]}"})
    c = write_run(tmp_path / "c", table, copied, split="val")
    assert_refused(a, c, r"/c was trained on 1", tmp_path, split="val")


def test_copies_that_every_run_has_are_said(table, tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr(members, "say_once", said.append)
    copied = other_pixels(identity_of(table), **{"train4.png": f"pixels of {table.filenames[5]}"})
    compare_runs(*(write_run(tmp_path / name, table, copied) for name in "ab"))
    [line] = said
    assert line.startswith("1 of the images have copies among the training images of every run")


@pytest.mark.parametrize("identity", [True, False])
def test_what_is_not_recorded_is_not_compared(table, tmp_path, identity):
    own = identity_of(table) if identity else None
    a = write_run(tmp_path / "a", table, own)
    b = write_run(tmp_path / "b", table)
    compare_runs(a, b)
    compare_runs(a, a / "evaluate/test_predictions.csv")


def test_members_of_each_fold_are_compared(table, tmp_path):
    other = random_table(1, n=20)
    for side in "ab":
        write_run(tmp_path / side / "seed0/fold0", table, identity_of(table))
        own = identity_of(other)
        changed = other_pixels(own, **{other.filenames[2]: "new"}) if side == "b" else own
        write_run(tmp_path / side / "seed0/fold1", other, changed)
    with pytest.raises(
        InputError,
        match=r"a/seed0/fold1 and .*b/seed0/fold1 were tested on different images",
    ):
        compare_runs(tmp_path / "a", tmp_path / "b")
