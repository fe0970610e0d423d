"""Reading the table of cells that predict wrote: by field, by number, and what is refused."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cervix_jax.errors import InputError
from cervix_jax.predict.cells_table import read_cells
from cervix_jax.slides import as_slide

CLASSES = ("normal", "abnormal")
HEAD = "path,cell,x,y,nucleus,class,p_normal,p_abnormal,confidence,energy\n"
ROWS = (
    "a/one.png,1,10.5,20,0.9,normal,0.8,0.2,0.8,-3\n"
    "a/two.png,1,3,4,0.7,abnormal,0.1,0.9,0.9,-2\n"
    "a/one.png,2,30,5.25,0.6,abnormal,0.3,0.7,0.7,-1\n"
)


@pytest.fixture
def table(tmp_path):
    def write(text):
        (tmp_path / "cells.csv").write_text(text, encoding="utf-8")
        return tmp_path / "cells.csv"

    return write


def test_cells_by_field(table):
    one, two = read_cells(table(HEAD + ROWS), CLASSES)
    assert (one.path, two.path) == ("a/one.png", "a/two.png")
    assert one.numbers.tolist() == [1, 2]
    assert one.stored.tolist() == [[10.5, 20], [30, 5.25]]
    assert one.probabilities.tolist() == [[0.8, 0.2], [0.3, 0.7]]
    assert one.rows([2, 1]).tolist() == [1, 0]
    assert [each.path for each in read_cells(table(HEAD + ROWS), CLASSES, "two.png")] == [two.path]
    swapped = read_cells(table(HEAD + ROWS), CLASSES[::-1])[0]  # by name, whatever their order
    assert swapped.probabilities.tolist() == [[0.2, 0.8], [0.7, 0.3]]


def test_positions_are_turned_upright_as_the_image_is(table):
    (cells,) = read_cells(table(HEAD + ROWS), CLASSES, "one.png")
    plain = as_slide(Image.new("RGB", (40, 30)), Path("one.png"), None)
    np.testing.assert_array_equal(cells.positions(plain), cells.stored)
    # Orientation 6: stored 40 x 30, shown 30 x 40, what was on top is at the right.
    turned = as_slide(Image.new("RGB", (30, 40)), Path("one.png"), None, turned=6)
    assert cells.positions(turned).tolist() == [[10, 10.5], [24.75, 30]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (HEAD, "holds no cells"),
        (HEAD.replace("p_abnormal", "p_LSIL") + ROWS, "no column p_abnormal.*with this run"),
        (HEAD.replace(",x,", ",left,") + ROWS, "no column x"),
        (HEAD + ROWS + "a/one.png,2,1,1,1,normal,1,0,1,0\n", "cell 2 of a/one.png occurs twice"),
        (HEAD + ROWS.replace("one.png,2", "one.png,2.5"), "line 4: cell='2.5' must be a whole"),
        (HEAD + ROWS.replace("one.png,2", "one.png,0"), "line 4: cell='0' must be a number of at"),
        (HEAD + ROWS.replace("5.25", "x"), "line 4: y='x' must be a number"),
    ],
)
def test_tables_that_cannot_be_used(table, text, message):
    with pytest.raises(InputError, match=message):
        read_cells(table(text), CLASSES)


def test_cells_and_fields_that_are_not_there(table):
    path = table(HEAD + ROWS + ROWS.replace("a/", "b/"))
    with pytest.raises(InputError, match=r"=three.png: .* no cells of it, only of a/one.png"):
        read_cells(path, CLASSES, "three.png")
    with pytest.raises(InputError, match=r"may be a/one.png or b/one.png; give the whole path"):
        read_cells(path, CLASSES, "one.png")
    (cells,) = read_cells(path, CLASSES, "a/one.png")
    with pytest.raises(InputError, match=r"--cell=3: .*no such cell of a/one.png; it has 2"):
        cells.rows([1, 3])
    small = as_slide(Image.new("RGB", (20, 30)), Path("one.png"), None)
    with pytest.raises(InputError, match=r"cell 2 at \(30, 5.25\) lies outside of a/one.png, 20 x"):
        cells.positions(small)
