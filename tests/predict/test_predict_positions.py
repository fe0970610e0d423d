"""Positions of nuclei: from tables and CRIC's files, inside their field."""

import json
import unicodedata

import numpy as np
import pytest
from PIL import Image

from cervix_jax.errors import InputError
from cervix_jax.predict.positions import Positions


@pytest.fixture
def write(tmp_path):
    def call(text, name="p.csv"):
        (tmp_path / name).write_text(text)
        return tmp_path / name

    return call


def test_tables_and_files_of_cric_say_the_same(write):
    nuclei = [("a.png", 3.0, 4.0), ("b.png", 7.0, 8.0), ("a.png", 5.0, 6.0)]
    plain = "note,image,y,x\n" + "".join(f"n,{i},{y},{x}\n" for i, x, y in nuclei)
    cric = "image_id,image_filename,image_doi,cell_id,bethesda_system,nucleus_x,nucleus_y\n"
    cric += "".join(f"1,{i},d,{k},HSIL,{x:g},{y:g}\n" for k, (i, x, y) in enumerate(nuclei))
    entries = [
        {"image_name": name, "classifications": [
            {"cell_id": k, "bethesda_system": "HSIL", "nucleus_x": x, "nucleus_y": y}
            for k, (i, x, y) in enumerate(nuclei) if i == name
        ]} for name in ("a.png", "b.png")
    ]  # fmt: skip
    for path in (write(plain), write(cric, "c.csv"), write(json.dumps(entries), "c.json")):
        positions = Positions(path)
        np.testing.assert_array_equal(positions.of("x/a.jpg", (9, 9)), [[3, 4], [5, 6]])
        np.testing.assert_array_equal(positions.of("b.png", (9, 9)), [[7, 8]])
        assert positions.of("c.png", (9, 9)).shape == (0, 2)


def test_positions_lie_in_their_field(write):
    positions = Positions(write("image,x,y\na,9.5,4\n"))
    assert positions.of("a", (10, 5)).tolist() == [[9.5, 4]]
    for size in ((9, 5), (10, 4)):
        with pytest.raises(InputError, match=r"line 2: \(9.5, 4\) lies outside of a, .*width"):
            positions.of("a", size)
    # A field of half the width, and of twice.
    half = Positions(write("image,x,y\na,9.5,4\n"), width=20)
    assert half.of("a", (10, 5)).tolist() == [[4.75, 2]]
    assert half.of("a", (40, 20)).tolist() == [[19, 8]]
    with pytest.raises(InputError, match="outside"):
        half.of("a", (9, 1))


def test_images_and_positions_belong_together(write, tmp_path):
    positions = Positions(write("image,x,y\na.tif,9,4\nb.tif,1,1\n"))
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        Image.new("RGB", (10, 5)).save(tmp_path / folder / "a.png")
    Image.new("RGB", (5, 10)).save(tmp_path / "b.png")
    one, two = (str(tmp_path / name / "a.png") for name in ("one", "two"))
    assert positions.check([one], 100) == ["b"]
    assert positions.check([str(tmp_path / "b.png"), one, "c.png"], 100) == []
    with pytest.raises(InputError, match="may belong to"):
        positions.check([one, two], 100)
    with pytest.raises(InputError, match="positions for none"):
        positions.check(["c.png"], 100)
    Image.new("RGB", (9, 5)).save(one)
    with pytest.raises(InputError, match="outside"):
        positions.check([one], 100)


def test_names_are_compared_in_one_form_of_unicode(write):
    composed, apart = (unicodedata.normalize(form, "ü.png") for form in ("NFC", "NFD"))
    for listed, given in ((composed, apart), (apart, composed)):
        positions = Positions(write(f"image,x,y\n{listed},3,4\n"))
        assert positions.of(given, (9, 9)).tolist() == [[3, 4]]


def test_dots_in_names_are_no_suffixes(write):
    positions = Positions(write("image,x,y\nslide.1,1,1\nslide.2.TIF,2,2\nslide,3,3\n"))
    for name, wanted in (("slide.1.png", 1), ("x.d/slide.2.png", 2), ("slide.png", 3)):
        assert positions.of(name, (9, 9)).tolist() == [[wanted, wanted]]


@pytest.mark.parametrize(
    "text",
    [
        "Image\tObject type\tCentroid X px\tCentroid Y px\nf.png\tDetection\t24.5\t7\n",
        "Image\tCentroid X px\tCentroid Y px\nf.png\t24,5\t7\n",
        "Image,Centroid X µm,Centroid X px,Centroid Y px\nf.png,12,24.5,7\n",
        "Image,Centroid X µm,x,y\nf.png,12,24.5,7\n",
        "image;x;y\nf.png;24,5;7\n",
        "image, x, y\nf.png, 24.5, 7\n",
    ],
)
def test_tables_of_qupath_and_spreadsheets(write, text):
    assert Positions(write(text)).of("f.png", (99, 99)).tolist() == [[24.5, 7]]


@pytest.mark.parametrize("unit", ["µm", "\N{GREEK SMALL LETTER MU}m", "um", "mm"])
def test_positions_in_micrometres_are_no_pixels(write, unit):
    text = f"Image\tCentroid X {unit}\tCentroid Y {unit}\nf.png\t1\t2\n"
    with pytest.raises(InputError, match=f"positions in {unit}, not in pixels; divide them by"):
        Positions(write(text))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "p.csv"),
        ("image,x\na,1\n", "line 1: no column y"),
        ("image,x,y\n", "holds no positions"),
        ("image,x,y\na,1\n", "line 2"),
        ("image,x,y\na,1,2\n,1,2\n", "line 3: image is empty"),
        ("image,x,y\na,one,2\n", "x='one' must be a number"),
        ("image,x,y\na,1,nan\n", "y='nan' must be a number"),
        ("image,x,y\na,-1,2\n", "x='-1' must be a number of at least 0"),
        ("image,x,y\na,1,inf\n", "y='inf'"),
    ],
)
def test_unusable_tables(write, text, message):
    with pytest.raises(InputError, match=message):
        Positions(write(text))


def test_unusable_arguments(write, tmp_path):
    with pytest.raises(InputError, match=r"none\.csv"):
        Positions(tmp_path / "none.csv")
    with pytest.raises(InputError, match="--positions_width"):
        Positions(write("image,x,y\na,1,1\n"), -1)
