"""Rows of images: equal to evaluate's, whatever the list, and honest about what was skipped."""

import io
import json
import os
import re
import shutil
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from commands import TESTS, error_line
from PIL import Image
from predicted_rows import probabilities_of, read_rows

from cervix_jax.errors import InputError
from cervix_jax.evaluate.predictions_file import read_table
from cervix_jax.statistics.aggregation import RULES
from cervix_jax.statistics.conformal import prediction_sets
from cervix_jax.statistics.temperature import fit_temperature, scaled


def names_of(rows):
    return [name for name in rows[0] if name.startswith("p_")]


def size_of(path):
    with Image.open(path) as image:
        return image.size


@pytest.mark.parametrize("batch_size", [0, 3])
def test_probabilities_are_those_of_evaluate(predict, workdir, cells, tmp_path, batch_size):
    out = tmp_path / "p.csv"
    expected = read_rows(workdir / "evaluate" / "test_predictions.csv")
    images = [cells / row["filename"] for row in expected]
    assert any(min(size_of(image)) > 32 for image in images)  # resizing counts
    assert predict(*images, workdir=workdir, out=out, batch_size=batch_size) is None
    found = read_rows(out)
    assert [row["path"] for row in found] == list(map(str, images))
    for one, other in zip(found, expected, strict=True):
        values = {name: one[name] for name in names_of(expected)}
        if batch_size:  # a batch of another size may round otherwise
            assert {name: float(value) for name, value in values.items()} == pytest.approx(
                {name: float(other[name]) for name in values}, rel=1e-5, abs=1e-8
            )
        else:  # to the last digit
            assert values == {name: other[name] for name in names_of(expected)}
        winner = max(values, key=lambda name: float(values[name]))
        assert one["class"] == winner.removeprefix("p_")
        assert one["confidence"] == values[winner]
    assert os.listdir(tmp_path) == ["p.csv"]


def test_sets_temperature_and_energy_are_those_of_the_statistics(predict, workdir, cells, tmp_path):
    folder = workdir / "evaluate"
    known, test = (read_table(folder / f"{name}_predictions.csv") for name in ("val", "test"))
    images = [cells / name for name in test.filenames]
    plain, calibrated = tmp_path / "a.csv", tmp_path / "b.csv"
    predict(*images, workdir=workdir, out=plain, coverage=0.9)
    predict(*images, workdir=workdir, out=calibrated, coverage=0.9, calibrated=True)
    validation = known.labels, known.probabilities
    sets, threshold = prediction_sets("lac", validation, test.probabilities, 0.9)
    assert np.isfinite(threshold)
    wanted = ["|".join(np.asarray(test.class_names)[inside]) for inside in sets]
    rows = read_rows(plain)
    assert [row["conformal_set"] for row in rows] == wanted
    assert [row["conformal_set"] for row in read_rows(calibrated)] == wanted
    energy = -np.log(np.exp(test.logits).sum(1))
    np.testing.assert_allclose([float(row["energy"]) for row in rows], energy, rtol=1e-4)
    temperature = fit_temperature(known).value
    assert abs(temperature - 1) > 0.01
    found = probabilities_of(read_rows(calibrated))
    np.testing.assert_allclose(found, scaled(test, temperature).probabilities, rtol=1e-4)
    assert not np.allclose(found, probabilities_of(rows), rtol=1e-3)
    with pytest.raises(InputError, match=r"has sets for 0\.9, 0\.95; choose one"):
        predict(*images, workdir=workdir, out=plain, coverage=0.5, overwrite=True)


def test_too_few_validation_images_make_sets_of_every_class(predict, workdir, cells, tmp_path):
    known = read_table(workdir / "evaluate" / "val_predictions.csv")
    assert len(known.labels) < 19  # 0.95 (n + 1) > n
    predict(cells, workdir=workdir, out=tmp_path / "p.csv", coverage=0.95)
    every = "|".join(known.class_names)
    assert {row["conformal_set"] for row in read_rows(tmp_path / "p.csv")} == {every}


def test_without_decisions_there_are_no_sets_and_the_command_says_so(
    predict, without_decisions, cells, tmp_path, capsys
):
    out = tmp_path / "p.csv"
    predict(cells, workdir=without_decisions, out=out)
    assert "conformal_set" not in read_rows(out)[0]
    (line,) = [t for t in capsys.readouterr().err.splitlines() if "no conformal_set" in t]
    assert "test_decisions.json does not exist" in line
    with pytest.raises(InputError, match="--calibrated: there is no temperature"):
        predict(cells, workdir=without_decisions, out=out, calibrated=True, overwrite=True)


def test_decisions_of_other_weights_are_not_used(predict, without_decisions, workdir, cells,
                                                 tmp_path, capsys):  # fmt: skip
    folder = without_decisions / "evaluate"
    shutil.copy(workdir / "evaluate" / "test_decisions.json", folder)
    report = json.loads((folder / "test.json").read_text())
    (folder / "test.json").write_text(json.dumps(report | {"step": report["step"] + 1}))
    predict(cells, workdir=without_decisions, out=tmp_path / "p.csv")
    assert "conformal_set" not in read_rows(tmp_path / "p.csv")[0]
    assert "--step=12` makes it again" in capsys.readouterr().err
    (folder / "test_decisions.json").write_text("{")
    with pytest.raises(InputError, match=r"test_decisions\.json: cannot be used"):
        predict(cells, workdir=without_decisions, out=tmp_path / "q.csv")


def test_json_lines_hold_what_the_csv_holds(predict, workdir, cells, tmp_path):
    predict(cells, workdir=workdir, out=tmp_path / "p.csv", coverage=0.9)
    predict(cells, workdir=workdir, out=tmp_path / "p.jsonl", coverage=0.9)
    lines = [json.loads(line) for line in (tmp_path / "p.jsonl").read_text().splitlines()]
    assert len(lines) == 40
    for line, row in zip(lines, read_rows(tmp_path / "p.csv"), strict=True):
        assert list(line) == list(row)
        assert "|".join(line.pop("conformal_set")) == row["conformal_set"]
        for name, value in line.items():
            assert value == (float(row[name]) if isinstance(value, float) else row[name])


def test_unreadable_images_are_reported_and_passed_over(predict, workdir, cells, tmp_path, capsys):
    folder = tmp_path / "images"
    folder.mkdir()
    good = sorted(cells.rglob("*.png"))[0]
    encoded = good.read_bytes()
    (folder / "a good.PNG").write_bytes(encoded)
    (folder / "cut.png").write_bytes(encoded[: len(encoded) // 2])
    (folder / "empty.png").write_bytes(b"")
    (folder / "text.jpg").write_text("no image")
    Image.fromarray(np.full((9, 9), 40_000, np.uint16)).save(folder / "deep.png")
    Image.new("1", (3000, 3000)).save(folder / "huge.png")
    (folder / "nowhere.png").symlink_to(folder / "gone.png")
    os.mkfifo(folder / "pipe.png")
    (folder / "folder.png").mkdir()
    (folder / "._a.png").write_bytes(b"of macOS")
    out = tmp_path / "p.csv"
    assert predict(folder, workdir=workdir, out=out, max_pixels=1_000_000) is None
    assert [row["path"] for row in read_rows(out)] == [str(folder / "a good.PNG")]
    skipped = {
        os.path.basename(row["path"]).split(".")[0]: row["reason"]
        for row in read_rows(tmp_path / "p_skipped.csv")
    }
    reasons = {
        "cut": "truncated", "deep": "8 bits", "empty": "readable BMP", "text": "readable BMP",
        "huge": "more than 1,000,000 pixels", "nowhere": "broken link", "pipe": "a pipe",
    }  # fmt: skip
    assert set(skipped) == set(reasons)
    assert all(reasons[name] in reason for name, reason in skipped.items())
    said = capsys.readouterr().err
    assert re.search(r"\b7 left out; \S+ gives the reason for each\n", said)
    assert all(f"{name}." in said for name in reasons)

    with pytest.raises(InputError, match=r"cut\.png: .*strict"):
        predict(folder, workdir=workdir, out=tmp_path / "s.csv", strict=True)
    assert not (tmp_path / "s.csv").exists()
    with pytest.raises(InputError, match="none of 1 images could be predicted"):
        predict(folder / "text.jpg", workdir=workdir, out=tmp_path / "none.csv")
    assert len(read_rows(tmp_path / "none_skipped.csv")) == 1
    assert not (tmp_path / "none.csv").exists()
    # The list of an earlier table goes with it.
    predict(good, workdir=workdir, out=out, overwrite=True)
    assert not (tmp_path / "p_skipped.csv").exists()


@pytest.mark.parametrize("ending", ["csv", "jsonl"])
def test_groups_are_joined_by_the_rule(predict, workdir, cells, tmp_path, capsys, ending):
    out = tmp_path / f"p.{ending}"
    predict(cells, workdir=workdir, out=out, group="parent", aggregate="mean")
    rows, groups = read_rows(out), read_rows(tmp_path / "p_groups.csv")
    names = [row["group"] for row in groups]
    assert names == sorted({os.path.dirname(row["path"]) for row in rows})
    assert len(names) > 1
    for group in groups:
        own = [row for row in rows if row["group"] == group["group"]]
        assert {os.path.dirname(row["path"]) for row in own} == {group["group"]}
        assert (int(group["images"]), group["rule"]) == (len(own), "mean")
        (joined,) = probabilities_of([group])
        np.testing.assert_allclose(joined, RULES["mean"](probabilities_of(own)), rtol=1e-5)
        best = names_of([group])[joined.argmax()]
        assert group["class"] == best.removeprefix("p_")

    predict(cells, workdir=workdir, out=out, group=r"(1)\.png$", overwrite=True)
    rows = read_rows(out)
    assert [row["group"] for row in rows] == [
        row["path"][-5] if row["path"][-5] in "1" else "" for row in rows
    ]
    alone = sum(not row["group"] for row in rows)
    assert 0 < alone < 40
    groups = read_rows(tmp_path / "p_groups.csv")
    assert sum(int(group["images"]) for group in groups) == 40 - alone
    assert f"{alone} images match no group" in capsys.readouterr().out


def test_no_group_is_a_formula(predict, workdir, cells, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "=1+1").mkdir()
    shutil.copy(sorted(cells.rglob("*.png"))[0], "=1+1/a.png")
    monkeypatch.setattr(sys, "stdin", None)  # as with <&-
    predict("=1+1", workdir=workdir, out="p.csv", group="parent")
    assert read_rows(tmp_path / "p.csv")[0]["group"] == "./=1+1"
    assert [row["group"] for row in read_rows(tmp_path / "p_groups.csv")] == ["./=1+1"]


@pytest.mark.parametrize("null", [False, True])
def test_names_on_standard_input(predict, workdir, cells, tmp_path, monkeypatch, null):
    monkeypatch.chdir(tmp_path)
    odd = ["line\nend.png", "caf\udce9.png"] if null else ['=a,"b"\'.png', "-x.png", "[1].png"]
    some = sorted(cells.rglob("*.png"))[:3]
    for name in odd:
        with open(name, "wb") as file:
            file.write(some[0].read_bytes())
    text = ("\0" if null else "\r\n").join([*odd, *map(str, some), ""])
    stdin = io.BytesIO(text.encode("utf-8", "surrogateescape"))
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=stdin))
    predict("-", workdir=workdir, out=tmp_path / "p.csv", null=null)
    rows = read_rows(tmp_path / "p.csv")
    shown = [
        "line\nend.png", "caf\\xe9.png"
    ] if null else ['./=a,"b"\'.png', "./-x.png", "[1].png"]  # fmt: skip
    assert [row["path"] for row in rows] == [*shown, *map(str, some)]
    assert len({tuple(p) for p in probabilities_of(rows[: len(odd) + 1])}) == 1


def test_patterns_and_images_that_are_named_twice(predict, workdir, cells, tmp_path):
    every = sorted(map(str, cells.rglob("*.png")))
    predict(every[7], f"{cells}/**/*.pn?", f"{cells}/**/*.pn[g]", workdir=workdir,
            out=tmp_path / "p.csv")  # fmt: skip
    paths = [row["path"] for row in read_rows(tmp_path / "p.csv")]
    assert paths == [every[7], *(path for path in every if path != every[7])]


@pytest.mark.parametrize(
    ("images", "given", "message"),
    [
        (["cells"], {"workdir": "/nowhere"}, "not the folder of a run"),
        (["cells"], {"workdir": ""}, "--workdir is missing"),
        (["cells"], {"step": "7000"}, "7000"),
        (["cells"], {"out": ""}, "--out is missing"),
        (["cells"], {"out": "p.txt"}, r"ends in \.csv or \.jsonl"),
        (["cells"], {"out": "/proc/p.csv"}, "cannot be written"),
        (["cells"], {"resume": True, "overwrite": True}, "exclude each other"),
        (["cells"], {"coverage": 1.5}, "--coverage"),
        (["cells"], {"max_pixels": 0}, "--max_pixels"),
        (["cells"], {"group": "x"}, "parentheses"),
        (["cells"], {"group": "("}, "regular expression"),
        (["cells"], {"window": 9}, "--window needs --field=window; add it"),
        (["cells"], {"positions": "x.csv"}, "--positions needs --field=nuclei; add it"),
        (["cells"], {"batch_size": -8}, "--batch_size"),
        (["cells"], {"overlay": "/proc/overlays"}, "--overlay"),
        ([], {}, "no images are given"),
        (["-", "-"], {}, "given twice"),
        (["/nowhere/*.png"], {}, "no file matches"),
        (["/nowhere.png"], {}, "no such file"),
        (["empty"], {}, "no image found"),
    ],
)
def test_bad_input_is_one_line(predict, workdir, cells, tmp_path, images, given, message):
    (tmp_path / "empty").mkdir()
    places = {"cells": cells, "empty": tmp_path / "empty"}
    given = {"workdir": workdir, "out": tmp_path / "p.csv"} | given
    with pytest.raises(InputError, match=message) as caught:
        predict(*(places.get(name, name) for name in images), **given)
    assert "\n" not in str(caught.value)
    assert os.listdir(tmp_path) == ["empty"]


@pytest.mark.slow
def test_exit_code_of_bad_input(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "cervix_jax.predict", str(tmp_path), f"--out={tmp_path}/p.csv",
         f"--workdir={tmp_path}"],
        cwd=TESTS.parent, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "no image found" in error_line(done.stderr)
