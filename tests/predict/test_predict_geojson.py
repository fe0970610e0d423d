"""Windows and nuclei in the frame in which QuPath shows a file: that of its stored pixels."""

import json
import tracemalloc
import uuid
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from json_schema import problems
from PIL import Image, ImageOps

from cervix_jax.data.decode import resize_square
from cervix_jax.files.images import orientation
from cervix_jax.predict import geojson
from cervix_jax.predict.field_rows import FieldOptions, FieldRows
from cervix_jax.predict.geojson import as_stored, as_upright, squares_as_stored, stored_size
from cervix_jax.predict.parts import Unit
from cervix_jax.predict.positions import Positions

SCHEMA = json.loads((Path(__file__).parent / "qupath.schema.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("turned", range(1, 9))
@pytest.mark.parametrize("suffix", ["jpg", "png", "tif"])
def test_squares_and_points_lie_where_the_stored_pixels_are(tmp_path, turned, suffix):
    stored = np.zeros((40, 56, 3), np.uint8)
    stored[8:16, 24:32] = 255  # a square of 8 pixels
    exif = Image.Exif()
    exif[274] = turned
    path = tmp_path / f"field.{suffix}"
    Image.fromarray(stored).save(path, exif=exif)
    assert orientation(path) == turned
    plain = Image.fromarray(stored)
    plain.getexif()[274] = turned
    upright = np.asarray(ImageOps.exif_transpose(plain))
    y, x = np.nonzero(upright[..., 0])
    corner, size = np.asarray([[x.min(), y.min()]]), (upright.shape[1], upright.shape[0])
    assert squares_as_stored(corner, 8, size, turned).tolist() == [[24, 8]]
    centre = as_stored(corner + 4.0, size, turned)
    assert centre.tolist() == [[28.0, 12.0]]


@pytest.mark.parametrize("turned", range(1, 9))
def test_turning_upright_is_the_inverse(turned):
    upright, size = np.asarray([[0.0, 0.0], [40.0, 56.0], [3.25, 17.5]]), (40, 56)
    stored = as_stored(upright, size, turned)
    assert (stored <= stored_size(size, turned)).all()
    np.testing.assert_array_equal(as_upright(stored, size, turned), upright)


class _Brightness:
    """A network whose probability of the class "bright" is the mean of the square."""

    batch_size, scale = 8, None
    config = SimpleNamespace(data=SimpleNamespace(resize="stretch"))
    run = SimpleNamespace(class_names=("dark", "bright"), config=config)

    def square(self, image):
        return resize_square(image, 4)

    def __call__(self, images):
        bright = images.mean((1, 2, 3)) / 255
        return SimpleNamespace(probabilities=np.stack([1 - bright, bright], axis=1))


@pytest.mark.parametrize("turned", range(1, 9))
def test_positions_come_back_as_they_were_given(tmp_path, turned):
    stored = np.random.default_rng(0).integers(0, 60, (40, 56, 3), np.uint8)
    stored[8:16, 24:32] = 255
    exif = Image.Exif()
    exif[274] = turned
    field = tmp_path / "field.png"
    Image.fromarray(stored).save(field, exif=exif)
    given = [(28.0, 12.0), (50.1, 30.7), (7.3, 38.9)]  # the first is the bright one
    table = tmp_path / "positions.csv"
    table.write_text("image,x,y\n" + "".join(f"field,{x},{y}\n" for x, y in given))
    positions = Positions(table)
    positions.check([str(field)], 10_000)  # (50.1, 30.7) lies outside of what a turned field is
    options = FieldOptions(field="nuclei", positions=str(table), crop=6, maps=str(tmp_path / "m"))
    network: Any = _Brightness()
    rows = FieldRows(network, options, positions, 10_000)
    ((row,),) = list(rows.batches(iter([Unit(str(field))])))
    found = json.loads((tmp_path / "m" / row["geojson"]).read_text(encoding="utf-8"))["features"]
    assert [tuple(each["geometry"]["coordinates"]) for each in found] == given
    names = [each["properties"]["classification"]["name"] for each in found]
    assert names == ["bright", "dark", "dark"]
    assert not problems({"type": "FeatureCollection", "features": found}, SCHEMA)


def _write(path, positions, *, names=("a", "b"), source="slide.svs", **measurements):
    shares = np.linspace(0, 1, len(positions))
    p = np.stack([shares, 1 - shares], axis=1)[:, : len(names)]
    circles = geojson.circles(positions, 16.0)
    geojson.write_geojson(path, circles, p, names, "cell", source=source, measurements=measurements)
    return json.loads(path.read_text(encoding="utf-8"))


ODD = ('<b>"&\\', "Tumor: Positive", "細胞", "a,b|c", "e\u0301")


@pytest.mark.parametrize(
    "names", [("a", "b"), ("only",), *zip(ODD, (*ODD[1:], ODD[0]), strict=True)]
)
def test_cells_are_detections_as_qupath_writes_them(tmp_path, names):
    positions = np.array([[100.25, 3.0], [0.0, 0.0], [99_999.126, 40_000.5]])
    found = _write(tmp_path / "a.geojson", positions, names=names, nucleus=[0.9, 0.5, 0.25])
    assert not problems(found, SCHEMA)
    for number, (each, (x, y)) in enumerate(zip(found["features"], positions, strict=True), 1):
        # What QuPath makes an ellipse of: the box about the corners.
        corners = np.asarray(each["geometry"]["coordinates"][0])
        low, high = corners.min(0), corners.max(0)
        assert each["geometry"]["isEllipse"] is True
        assert (low + high) / 2 == pytest.approx([x, y], abs=0.011)
        assert high - low == pytest.approx([32, 32], abs=0.011)
        assert corners[0].tolist() == corners[-1].tolist()
        assert np.hypot(*(corners - (x, y)).T) == pytest.approx(16, abs=0.011)
        assert each["properties"]["name"] == f"cell {number}"
    measured = [each["properties"]["measurements"] for each in found["features"]]
    assert [each["nucleus"] for each in measured] == [0.9, 0.5, 0.25]
    assert [each[f"p_{names[0]}"] for each in measured] == [0.0, 0.5, 1.0]
    if len(names) == 2:
        classes = [each["properties"]["classification"] for each in found["features"]]
        assert [each["name"] for each in classes] == [names[1], names[0], names[0]]
        assert classes[0]["color"] != classes[1]["color"]


def test_identifiers_are_unique_and_the_same_again(tmp_path):
    positions = np.zeros((3, 2))
    ids = [
        [uuid.UUID(each["id"]) for each in _write(tmp_path / "a", positions, source=s)["features"]]
        for s in ("one.svs", "one.svs", "two.svs")
    ]
    assert ids[0] == ids[1]
    assert len({*ids[0], *ids[2]}) == 6


def test_what_is_not_finite_is_no_measurement(tmp_path):
    found = _write(tmp_path / "a", np.zeros((3, 2)), energy=[np.nan, np.inf, -2.0])
    measured = [each["properties"]["measurements"] for each in found["features"]]
    assert [each.get("energy") for each in measured] == [None, None, -2.0]
    assert not problems(found, SCHEMA)


def test_every_class_has_a_colour_of_its_own():
    colours = [geojson.colour_of(number) for number in range(100)]
    assert len(set(colours)) == 100
    assert all(0 <= part <= 255 for colour in colours for part in colour)


def test_no_cells_are_an_empty_collection(tmp_path):
    found = _write(tmp_path / "a", np.zeros((0, 2)))
    assert found == {"type": "FeatureCollection", "features": []}


def test_a_file_that_fails_half_way_is_not_there(tmp_path):
    p = np.full((5, 2), 0.5)
    with pytest.raises(ValueError, match="argument 2 is shorter"):
        geojson.write_geojson(
            tmp_path / "a", geojson.circles(np.zeros((4, 2)), 1.0), p, ("a", "b"), "cell",
            source="s",
        )  # fmt: skip
    assert not list(tmp_path.iterdir())


def test_features_are_written_one_by_one(tmp_path):
    positions = np.random.default_rng(0).uniform(0, 1e5, (2000, 2))
    tracemalloc.start()
    try:
        geojson.write_geojson(
            tmp_path / "a", geojson.circles(positions, 9.0), np.full((2000, 2), 0.5), ("a", "b"),
            "cell", source="s",
        )  # fmt: skip
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < (tmp_path / "a").stat().st_size / 4


def test_the_schema_refuses_what_qupath_would_not_write(tmp_path):
    good = _write(tmp_path / "a", np.zeros((1, 2)))

    def changed(**properties):
        feature = good["features"][0]
        return {**good, "features": [feature | {"properties": feature["properties"] | properties}]}

    assert not problems(changed(isLocked=True), SCHEMA)
    for bad in ({"objectType": "cellDetection"}, {"measurements": {"p": "0.5"}},
                {"measurements": [{"name": "p", "value": 0.5}]}, {"isLocked": False},
                {"classification": {"name": "a", "color": [0, 0, 256]}},
                {"classification": {"name": "a", "colorRGB": -1}}, {"more": 1}):  # fmt: skip
        assert problems(changed(**bad), SCHEMA), bad
