"""Windows and nuclei in the frame in which QuPath shows a file: that of its stored pixels."""

import json
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

from cervix_jax.files.images import orientation
from cervix_jax.predict.field_rows import FieldOptions, FieldRows
from cervix_jax.predict.geojson import as_stored, as_upright, squares_as_stored, stored_size
from cervix_jax.predict.positions import Positions


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

    image_size, resize, batch_size = 4, "stretch", 8
    run = SimpleNamespace(class_names=("dark", "bright"))

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
    ((row,),) = list(rows.batches(iter([str(field)])))
    found = json.loads((tmp_path / "m" / row["geojson"]).read_text(encoding="utf-8"))["features"]
    assert [tuple(each["geometry"]["coordinates"]) for each in found] == given
    names = [each["properties"]["classification"]["name"] for each in found]
    assert names == ["bright", "dark", "dark"]
