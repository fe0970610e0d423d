"""Predictions from a script: typed arguments, a typed answer, nothing said unless asked for."""

import csv
import os

import numpy as np
import pytest
from PIL import Image
from predicted_rows import probabilities_of, read_rows

from cervix_jax.errors import InputError
from cervix_jax.files.lock import held
from cervix_jax.predict.finish import Predicted, merge_shards
from cervix_jax.predict.workflow import predict_images
from cervix_jax.runs.run import load_run


def test_a_script_predicts_in_a_line(workdir, cells, tmp_path, capfd):
    run = load_run(workdir)
    out = tmp_path / "p.csv"
    found = predict_images(run, cells, out=out, progress=False)
    assert found == Predicted(out, images=40, rows=40)
    assert capfd.readouterr() == ("", "")
    rows = read_rows(out)
    images = [np.asarray(Image.open(row["path"]).convert("RGB")) for row in rows]
    expected = run.predict(images, batch_size=run.config.eval_batch_size)
    np.testing.assert_allclose(probabilities_of(rows), expected, rtol=1e-5)
    # A run by its folder, and paths that come one by one, are the same.
    again = tmp_path / "again.csv"
    paths = (row["path"] for row in rows)
    predict_images(workdir, paths, out=again, progress=False)
    assert again.read_bytes() == out.read_bytes()


def test_what_was_written_is_said(workdir, cells, field, tmp_path):
    run = load_run(workdir)
    some = sorted(cells.rglob("*.png"))[:3]
    (tmp_path / "bad.png").write_text("no image")
    found = predict_images(
        run, [*some, tmp_path / "bad.png"], out=tmp_path / "p.csv", group=r"(1)\.png$",
        aggregate="mean", progress=False,
    )  # fmt: skip
    assert (found.images, found.rows, found.skipped) == (4, 3, 1)
    assert found.skipped_path == tmp_path / "p_skipped.csv"
    assert found.groups_path == tmp_path / "p_groups.csv"
    alone = sum(not path.name.endswith("1.png") for path in some)
    assert (found.groups, found.ungrouped) == (int(alone < 3), alone)
    found = predict_images(
        run, field, out=tmp_path / "f.csv", field="window", window=55, overlap=0.0, progress=False
    )
    assert found.maps == tmp_path / "f"
    with found.path.open(newline="", encoding="utf-8") as file:
        (row,) = csv.DictReader(file)
    assert sorted(os.listdir(found.maps)) == sorted([row["heatmap"], row["geojson"]])


def test_shards_make_the_table_of_one_call(workdir, cells, tmp_path, capfd):
    run = load_run(workdir)
    (tmp_path / "bad.png").write_text("no image")
    images = [*sorted(cells.rglob("*.png"))[:9], tmp_path / "bad.png"]
    given = {"images": images, "group": "parent", "aggregate": "mean", "progress": False}
    given |= {"batch_size": 4}  # another size is another program, with another last bit
    alone = predict_images(run, out=tmp_path / "alone.csv", **given)
    out = tmp_path / "p.csv"
    for number in (3, 1, 2):
        found = predict_images(run, out=out, shard=f"{number}/3", **given)
        assert bool(found.waiting) == (number != 2)
    names = ("path", "skipped_path", "groups_path")
    for name in names:
        assert getattr(found, name).read_bytes() == getattr(alone, name).read_bytes()
    assert {**vars(found), "shard": 0} == {**vars(alone), "shard": 0} | {
        name: getattr(found, name) for name in names
    }
    # Whole fields too, each by one shard; all that is known of them by --merge is in the parts.
    fields = {"images": images[:3], "field": "window", "window": 12, "progress": False}
    predict_images(run, out=tmp_path / "w.csv", maps=tmp_path / "maps", **fields)
    pictures = {path.name: path.read_bytes() for path in (tmp_path / "maps").iterdir()}
    out = tmp_path / "f.csv"
    predict_images(run, out=out, shard="1/2", maps=tmp_path / "f", **fields)
    with held(out, "--out"):
        predict_images(run, out=out, shard="2/2", maps=tmp_path / "f", **fields)
    capfd.readouterr()
    found = merge_shards(out)
    assert (found.images, found.rows, found.maps) == (3, 3, tmp_path / "f")
    assert out.read_bytes() == (tmp_path / "w.csv").read_bytes()
    assert {path.name: path.read_bytes() for path in found.maps.iterdir()} == pictures
    assert capfd.readouterr() == ("", "")


def test_a_shard_is_done_once_at_a_time(workdir, cells, tmp_path):
    out = tmp_path / "p.csv"
    for shard, part, name in (
        ("1/2", "p.csv.shard-1-of-2.part", "--shard=1/2"),
        ("1/1", "p.csv", r"p\.csv"),
    ):
        with held(tmp_path / part, "x"), pytest.raises(InputError, match=f"{name} is in use by"):
            predict_images(workdir, cells, out=out, shard=shard, progress=False)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"shard": "5/4"}, "--shard=5/4: give number/total"),
        ({"field": "windows", "window": 9}, "--field=windows: choose one of window, nuclei"),
        ({"heatmap": "all"}, "--heatmap=all: choose one of"),
        ({"method": "luck"}, "--method=luck: choose one of"),
        ({"aggregate": "luck"}, "--aggregate=luck: choose one of"),
        ({"images": iter([])}, "none of 0 images"),
        ({"images": []}, "no images are given"),
    ],
)
def test_values_that_a_flag_would_refuse(workdir, cells, tmp_path, given, message):
    given = {"images": [cells], "out": tmp_path / "p.csv", "progress": False} | given
    with pytest.raises(InputError, match=message):
        predict_images(workdir, given.pop("images"), **given)
    assert os.listdir(tmp_path) == []
