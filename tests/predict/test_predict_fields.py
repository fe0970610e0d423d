"""Whole fields: what windows and nuclei give is what their crops give, drawn and in GeoJSON."""

import json
import os
import shutil

import numpy as np
import pytest
from PIL import Image
from predicted_rows import glass, probabilities_of, read_rows

from cervix_jax.errors import InputError
from cervix_jax.files.images import squares_about
from cervix_jax.predict.output import Output
from cervix_jax.predict.windows import starts

pytestmark = pytest.mark.slow  # a network sees many windows

WINDOW, OVERLAP = 40, 0.4


def features_of(path, width, height):
    """The features of a GeoJSON file, after a look at what RFC 7946 and QuPath want of them."""
    collection = json.loads(path.read_text(encoding="utf-8"))
    assert collection["type"] == "FeatureCollection"
    for feature in collection["features"]:
        assert feature["type"] == "Feature"
        geometry = feature["geometry"]
        if geometry["type"] == "Polygon":
            (ring,) = geometry["coordinates"]
            assert len(ring) >= 4
            assert ring[0] == ring[-1]
            points = ring
        else:
            assert geometry["type"] == "Point"
            points = [geometry["coordinates"]]
        for x, y in points:
            assert 0 <= x <= width
            assert 0 <= y <= height
        properties = feature["properties"]
        assert properties["objectType"] in ("detection", "annotation")
        assert properties["classification"]["name"]
        colour = properties["classification"]["color"]
        assert len(colour) == 3
        assert all(isinstance(value, int) and 0 <= value <= 255 for value in colour)
        assert sum(properties["measurements"].values()) == pytest.approx(1, abs=1e-4)
    return collection["features"]


def predicted_alone(predict, workdir, squares, folder):
    """Rows of squares that were saved as images of their own."""
    folder.mkdir()
    for number, square in enumerate(squares):
        Image.fromarray(square).save(folder / f"{number:04}.png")
    predict(folder, workdir=workdir, out=folder / "p.csv")
    return read_rows(folder / "p.csv")


def same(features, rows):
    found = np.asarray([list(f["properties"]["measurements"].values()) for f in features])
    np.testing.assert_array_equal(found, probabilities_of(rows))
    names = [feature["properties"]["classification"]["name"] for feature in features]
    assert names == [row["class"] for row in rows]


def test_windows_are_what_their_crops_are(predict, workdir, field, field_pixels, tmp_path):
    out = tmp_path / "fields.csv"
    predict(field, workdir=workdir, out=out, field="window", window=WINDOW, overlap=OVERLAP,
            min_probability=0.2)  # fmt: skip
    (row,) = read_rows(out)
    corners = [(x, y) for y in starts(110, WINDOW, OVERLAP) for x in starts(150, WINDOW, OVERLAP)]
    rows = predicted_alone(
        predict, workdir,
        [field_pixels[y : y + WINDOW, x : x + WINDOW] for x, y in corners], tmp_path / "crops",
    )  # fmt: skip
    features = features_of(tmp_path / "fields" / row["geojson"], 150, 110)
    same(features, rows)
    rings = [feature["geometry"]["coordinates"][0] for feature in features]
    assert [tuple(ring[0]) for ring in rings] == corners
    assert all(
        tuple(r[2]) == (x + WINDOW, y + WINDOW) for r, (x, y) in zip(rings, corners, strict=True)
    )
    assert (row["path"], row["width"], row["height"]) == (str(field), "150", "110")
    assert (int(row["windows"]), row["empty"]) == (len(corners), "0")
    classes = [name.removeprefix("p_") for name in rows[0] if name.startswith("p_")]
    for name in classes:
        assert int(row[f"windows_{name}"]) == sum(each["class"] == name for each in rows)
    greatest = probabilities_of(rows).max(0)
    worst = classes.index(row["worst"])
    assert float(row["worst_probability"]) == greatest[worst] >= 0.2
    assert row["min_probability"] == "0.2"
    (decided,) = [f for f in features if f["properties"]["name"] == row["worst_object"]]
    assert decided["properties"]["measurements"][f"p_{row['worst']}"] == greatest[worst]
    assert sorted(os.listdir(tmp_path / "fields")) == sorted([row["geojson"], row["heatmap"]])
    with Image.open(tmp_path / "fields" / row["heatmap"]) as picture:
        picture.load()
        assert picture.format == "PNG"
        assert min(picture.size) > 300


def test_the_worst_follows_the_order_that_is_given(predict, workdir, field, tmp_path):
    given = {"workdir": workdir, "field": "window", "window": 50, "overlap": 0.0,
             "min_probability": 0.0, "maps": tmp_path / "maps"}  # fmt: skip
    predict(field, out=tmp_path / "a.csv", **given)
    start = "windows_"
    columns = read_rows(tmp_path / "a.csv")[0]
    classes = [name.removeprefix(start) for name in columns if name.startswith(start)]
    for number, worst in enumerate(classes[:2]):
        order = [name for name in classes if name != worst] + [worst]
        out = tmp_path / f"{number}.csv"
        predict(field, out=out, severity=order, heatmap="classes", **given)
        assert read_rows(out)[0]["worst"] == worst
    out = tmp_path / "none.csv"
    predict(field, out=out, **given | {"min_probability": 1.0})
    (row,) = read_rows(out)
    assert (row["worst"], row["worst_probability"], row["worst_object"]) == ("", "", "")


def test_empty_windows_are_left_out_only_if_asked(predict, workdir, field, field_pixels, tmp_path):
    given = {"workdir": workdir, "field": "window", "window": 36, "overlap": 0.0}
    predict(field, out=tmp_path / "all.csv", **given)
    predict(field, out=tmp_path / "some.csv", min_contrast=1.0, **given)
    (every,), (some,) = read_rows(tmp_path / "all.csv"), read_rows(tmp_path / "some.csv")
    assert every["empty"] == "0"
    assert 0 < int(some["empty"]) < int(every["windows"])
    assert int(some["windows"]) + int(some["empty"]) == int(every["windows"])
    for feature in features_of(tmp_path / "some" / some["geojson"], 150, 110):
        x, y = feature["geometry"]["coordinates"][0][0]
        assert np.ptp(field_pixels[y : y + 36, x : x + 36]) > 9
    # A field with nothing on it has a row too.
    blank = tmp_path / "blank.png"
    glass(60, 60).save(blank)
    predict(blank, out=tmp_path / "blank.csv", min_contrast=1.0, **given)
    (row,) = read_rows(tmp_path / "blank.csv")
    assert (row["windows"], row["empty"], row["worst"]) == ("0", "4", "")
    assert features_of(tmp_path / "blank" / row["geojson"], 60, 60) == []


def test_nuclei_are_what_the_squares_about_them_are(
    predict, workdir, field, field_pixels, tmp_path, capsys
):
    positions = [(18.0, 18.0), (55.5, 92.25), (149.9, 0.0), (0.0, 109.9)]
    table = tmp_path / "positions.csv"
    table.write_text(
        "image,x,y\n" + "".join(f"field.jpg,{x},{y}\n" for x, y in positions) + "other,1,1\n"
    )
    out = tmp_path / "fields.csv"
    predict(field, workdir=workdir, out=out, field="nuclei", positions=table, crop=36)
    (row,) = read_rows(out)
    squares = squares_about(field_pixels, np.asarray(positions), 36)
    rows = predicted_alone(predict, workdir, squares, tmp_path / "crops")
    features = features_of(tmp_path / "fields" / row["geojson"], 150, 110)
    same(features, rows)
    assert [tuple(feature["geometry"]["coordinates"]) for feature in features] == positions
    assert row["nuclei"] == "4"
    assert (tmp_path / "fields" / row["heatmap"]).read_bytes().startswith(b"\x89PNG")
    assert (
        "1 images with positions are not among those given, e.g. other" in capsys.readouterr().err
    )


def test_fields_go_on_where_they_were_stopped(predict, workdir, field, tmp_path, monkeypatch):
    folder = tmp_path / "fields"
    for name in ("a", "b", "c"):
        (folder / name).mkdir(parents=True)
        shutil.copy(field, folder / name / "same.png")
    given = {"workdir": workdir, "field": "window", "window": 60, "overlap": 0.0}
    predict(folder, out=tmp_path / "whole.csv", **given)
    add = Output.add

    def interrupted(self, *what):
        add(self, *what)
        raise KeyboardInterrupt

    out = tmp_path / "out.csv"
    for resume in (False, True):
        with monkeypatch.context() as patch:
            patch.setattr(Output, "add", interrupted)
            with pytest.raises(KeyboardInterrupt):
                predict(folder, out=out, resume=resume, **given)
    with pytest.raises(InputError, match="started with --window=60; give the same"):
        predict(folder, out=out, resume=True, **given | {"window": 50})
    predict(folder, out=out, resume=True, **given)
    assert out.read_bytes() == (tmp_path / "whole.csv").read_bytes()
    files, expected = (
        {path.name: path.read_bytes() for path in (tmp_path / name).iterdir()}
        for name in ("out", "whole")
    )
    assert len(files) == 6
    assert files == expected


def test_fields_that_cannot_be_used_are_passed_over(predict, workdir, field, tmp_path):
    glass(39, 90).save(tmp_path / "narrow.png")
    (tmp_path / "text.png").write_text("no image")
    out = tmp_path / "p.csv"
    predict(tmp_path, field, workdir=workdir, out=out, field="window", window=40)
    assert [row["path"] for row in read_rows(out)] == [str(field)]
    reasons = [row["reason"] for row in read_rows(tmp_path / "p_skipped.csv")]
    assert reasons == [
        "is 39 x 90 pixels, and --window=40 is larger",
        "is not a readable BMP, JPEG, PNG or TIFF image",
    ]
    with pytest.raises(InputError, match="none of 1 images"):
        predict(tmp_path / "narrow.png", workdir=workdir, out=tmp_path / "q.csv", field="window",
                window=40)  # fmt: skip
    with pytest.raises(InputError, match=r"narrow\.png: is 39 x 90"):
        predict(tmp_path, workdir=workdir, out=tmp_path / "r.csv", field="window", window=40,
                strict=True)  # fmt: skip


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"field": "window"}, "--window=0"),
        ({"field": "window", "window": 9, "overlap": 0.95}, "--overlap"),
        ({"field": "window", "window": 9, "min_contrast": -1.0}, "--min_contrast"),
        ({"field": "window", "window": 9, "min_probability": 1.5}, "--min_probability"),
        ({"field": "window", "window": 9, "group": "parent"}, "--group is for images"),
        ({"field": "window", "window": 9, "overlay": "x"}, "--overlay is for images"),
        ({"field": "window", "window": 9, "crop": 9}, "--crop needs --field=nuclei"),
        ({"field": "window", "window": 9, "severity": ["a"]}, "every class once"),
        ({"field": "window", "window": 9, "abnormal": ["a"]}, "--abnormal=a"),
        ({"field": "nuclei"}, "needs --positions"),
        ({"field": "nuclei", "positions": "none.csv", "crop": 9}, "none.csv"),
        ({"field": "nuclei", "positions": "inside.csv"}, "--crop is missing"),
        ({"field": "nuclei", "positions": "inside.csv", "crop": -1}, "--crop=-1"),
        ({"field": "nuclei", "positions": "outside.csv", "crop": 9}, r"\(150, 1\) lies outside"),
        ({"field": "nuclei", "positions": "other.csv", "crop": 9}, "positions for none"),
        ({"field": "nuclei", "positions": "inside.csv", "mpp": 99.0}, r"--mpp=99\.0: give micro"),
        ({"field": "nuclei", "positions": "inside.csv", "mpp": 0.2}, "--crop is missing"),
        ({"field": "window", "window": 9, "mpp": 0.2}, r"--mpp=0\.2: has no effect"),
        ({"mpp": 0.2}, r"--mpp=0\.2: has no effect"),
    ],
)
def test_bad_input_of_fields_is_one_line(
    predict, workdir, field, tmp_path, monkeypatch, given, message
):
    monkeypatch.chdir(tmp_path)
    for name, row in (("inside", "field,1,1"), ("outside", "field,150,1"), ("other", "x,1,1")):
        (tmp_path / f"{name}.csv").write_text(f"image,x,y\n{row}\n")
    before = sorted(os.listdir(tmp_path))
    with pytest.raises(InputError, match=message) as caught:
        predict(field, workdir=workdir, out=tmp_path / "p.csv", **given)
    assert "\n" not in str(caught.value)
    assert sorted(os.listdir(tmp_path)) == before
