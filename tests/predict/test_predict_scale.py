"""Predictions of a run of one resolution: images, windows and nuclei of any other."""

from types import SimpleNamespace

import ml_collections
import numpy as np
import pytest
from PIL import Image
from predicted_rows import read_rows
from small import get_config

from cervix_jax import load_run
from cervix_jax.data.resolution import field_of_view
from cervix_jax.errors import InputError
from cervix_jax.files.images import squares_about
from cervix_jax.predict.overlays import overlay
from cervix_jax.predict.square_side import square_side
from cervix_jax.training.run import train_and_evaluate

SIDE, MICRONS = 32, 0.7


@pytest.fixture(scope="module")
def folder(prepared, tmp_path_factory):
    config = get_config(str(prepared))
    config.update({"num_epochs": 1, "image_size": SIDE})
    config.data.update({"resize": "scale", "microns_per_pixel": MICRONS})
    path = tmp_path_factory.mktemp("scale") / "run"
    train_and_evaluate(config, path)
    return path


@pytest.fixture
def pixels():
    coarse = np.random.default_rng(0).integers(0, 256, (12, 16, 3), np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((160, 120), Image.Resampling.BICUBIC))


def probabilities(path, run):
    return np.array([[float(row[f"p_{n}"]) for n in run.class_names] for row in read_rows(path)])


def test_images_are_taken_at_their_resolution(predict, folder, pixels, tmp_path):
    run, image = load_run(folder), tmp_path / "cell.png"
    Image.fromarray(pixels).save(image)
    found = {}
    for mpp in (0.0, 0.2, 0.9):
        out = tmp_path / f"{mpp}.csv"
        predict(image, workdir=folder, out=out, mpp=mpp, overlay=tmp_path / f"o{mpp}")
        found[mpp] = probabilities(out, run)
        expected = run.predict([pixels], mpp=mpp or 0.35)
        np.testing.assert_allclose(found[mpp], expected, atol=1e-5)
        assert (tmp_path / f"o{mpp}" / read_rows(out)[0]["overlay"]).is_file()
    assert np.abs(found[0.2] - found[0.9]).max() > 1e-3


def test_the_resolution_is_a_deciding_fact(predict, folder, pixels, tmp_path):
    image, out = tmp_path / "cell.png", tmp_path / "p.csv"
    Image.fromarray(pixels).save(image)
    (tmp_path / "broken.png").write_text("no image")
    with pytest.raises(InputError, match="broken"):
        predict(image, tmp_path / "broken.png", workdir=folder, out=out, mpp=0.2, batch_size=1,
                strict=True)  # fmt: skip
    assert (tmp_path / "p.csv.part").is_file()
    with pytest.raises(InputError, match=r"scale|mpp"):
        predict(image, tmp_path / "broken.png", workdir=folder, out=out, mpp=0.3, batch_size=1,
                resume=True)  # fmt: skip
    predict(image, tmp_path / "broken.png", workdir=folder, out=out, mpp=0.2, batch_size=1,
            resume=True)  # fmt: skip
    assert len(read_rows(out)) == 1


def test_squares_about_nuclei_show_the_field_of_view(predict, folder, pixels, tmp_path):
    run, field, out = load_run(folder), tmp_path / "field.png", tmp_path / "f.csv"
    Image.fromarray(pixels).save(field)
    positions = np.array([(40.0, 50.0), (100.5, 60.25)])
    table = tmp_path / "positions.csv"
    table.write_text("image,x,y\n" + "".join(f"field.png,{x},{y}\n" for x, y in positions))
    predict(field, workdir=folder, out=out, field="nuclei", positions=table, mpp=0.4)
    side = round(SIDE * MICRONS / 0.4)
    assert side == 56
    squares = list(squares_about(pixels, positions, side))
    best = run.predict(squares, mpp=0.4).argmax(-1)
    (row,) = read_rows(out)
    for number, name in enumerate(run.class_names):
        assert int(row[f"nuclei_{name}"]) == (best == number).sum()
    # Without --mpp, what the data set has.
    assert square_side(run, 0.0, 160) == round(SIDE * MICRONS / 0.35)


def test_a_window_is_no_larger_than_what_the_network_sees(predict, folder, pixels, tmp_path):
    field = tmp_path / "field.png"
    Image.fromarray(pixels).save(field)
    out = tmp_path / "w.csv"
    predict(field, workdir=folder, out=out, field="window", window=56, mpp=0.4)
    with pytest.raises(InputError, match=r"--window=80: larger .* 22\.4 micrometres or 56 pixels"):
        predict(field, workdir=folder, out=tmp_path / "x.csv", field="window", window=80, mpp=0.4)


def test_a_map_lies_where_the_square_was_cut(pixels):
    """A square of twice the resolution covers the middle quarter; around it the image is grey."""
    values = np.ones((40, 40))
    drawn = np.asarray(overlay(Image.fromarray(pixels), values, 1.0, "scale", 1.0)).astype(int)
    coloured = np.ptp(drawn, axis=-1) > 8
    zoom = drawn.shape[1] / 160
    rows, columns = np.flatnonzero(coloured.any(1)), np.flatnonzero(coloured.any(0))
    ends = np.array([rows[0], rows[-1] + 1, columns[0], columns[-1] + 1]) / zoom
    np.testing.assert_allclose(ends, [40, 80, 60, 100], atol=1)


@pytest.mark.parametrize(
    ("dataset", "settings", "recorded", "mpp", "width", "side"),
    [
        ("cric/cell", {}, {}, 0.0, 1376, 100),  # of earlier versions too
        ("cric/cell", {}, {}, 0.0, 1280, 93),
        ("cric/cell", {"side": 200}, {}, 0.0, 688, 100),
        ("cric/cell", {}, {}, 0.114, 999, 200),
        ("image_folder/default", {}, {"image_size": [80, 80], "microns_per_pixel": 0.5}, 0, 9, 80),
        ("image_folder/default", {}, {"image_size": [80, 80], "microns_per_pixel": 0.5}, 1, 9, 40),
        ("image_folder/default", {}, {"image_size": [80, 80]}, 0.5, 9, "--crop is missing"),
        ("sipakmed/single_cell", {}, {"microns_per_pixel": 0.14}, 0.5, 9, "data.resize=scale"),
    ],
)
def test_side_of_the_square(dataset, settings, recorded, mpp, width, side):

    data = {"dataset": dataset, "settings": settings, "resize": "stretch"}
    config = ml_collections.ConfigDict({"image_size": 64, "data": data})
    run = SimpleNamespace(
        config=config, dataset=recorded, field_of_view=field_of_view(config, recorded)
    )
    if isinstance(side, int):
        assert square_side(run, mpp, width) == side
    else:
        with pytest.raises(InputError, match=side):
            square_side(run, mpp, width)
