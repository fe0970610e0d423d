"""Damaged text files are read or refused in one line that names the file."""

import numpy as np
import pytest
from bad_files import encoded, noise, write
from bad_tables import CELL, HEAD, LIST, TABLE, annotation
from hypothesis import given, settings
from hypothesis import strategies as st
from mutations import attempt, mutated

from cervix_jax.data.cric_nuclei import read_nuclei
from cervix_jax.evaluate.predictions_file import read_table
from tfds_builders.image_folder.layout import find_items
from tfds_builders.sipakmed.contours import cell_masks

pytestmark = pytest.mark.slow
PIECES = (
    "0", "1", "-1", "1e308", "nan", "inf", "1_0", "٣", "0x1f", "a", "HSIL", "x.png", "..", "/",
    "\\", ",", ";", " ", "\t", "\n", "\r", "\0", '"', "'", "\ufeff", "\u2028", "[", "{", "}", "]",
    ":", "null",
)  # fmt: skip
SQUARE = b"2,2\n2,12\n12,12\n12,2\n"


def damaged(*originals: str | bytes) -> st.SearchStrategy[bytes]:
    whole = [text.encode() if isinstance(text, str) else text for text in originals]
    pieces = st.lists(st.sampled_from(PIECES), max_size=30).map("".join)
    return st.one_of(
        mutated(whole),
        st.tuples(st.sampled_from(whole), pieces.map(str.encode)).map(b"".join),
        st.binary(max_size=60),
    )


def dialects(text: str) -> list[str | bytes]:
    """A table in some of the forms that are read."""
    semicolons = text.replace(",", ";")
    return [text, semicolons, "sep=;\r" + semicolons, text.replace(",", "\t").encode("utf-16")]


def read(path, content: bytes, reader):
    """What `reader` makes of a file; None where it refuses it by name."""
    path.write_bytes(content)
    found, why = attempt(lambda: reader(path))
    if found is None:
        assert str(path) in why or str(path.parent) in why
        assert "\n" not in why
    return found


def test_contours(tmp_path):
    @settings(max_examples=200)
    @given(content=damaged(SQUARE, SQUARE.replace(b",", b" "), SQUARE.replace(b"\n", b"\r\n")))
    def check(content):
        masks = read(
            tmp_path / "x.dat",
            content,
            lambda path: cell_masks([{"cyt": path, "nuc": path}], (16, 20)),
        )
        if masks:
            nucleus, cytoplasm, outside = masks
            assert nucleus.shape == cytoplasm.shape == (16, 20)
            assert not cytoplasm.any()
            assert outside == 0

    check()


@pytest.mark.parametrize(
    ("name", "originals"),
    [
        ("classifications.csv", dialects(HEAD + CELL)),
        ("classifications.json", [annotation(), annotation(cell_id="a", nucleus_x=1.5)]),
    ],
)
def test_annotations_of_cric(tmp_path, name, originals):
    @settings(max_examples=200)
    @given(content=damaged(*originals))
    def check(content):
        for nucleus in read(tmp_path / name, content, read_nuclei) or ():
            assert min(nucleus.x, nucleus.y) >= 0
            assert np.isfinite([nucleus.x, nucleus.y]).all()
            assert nucleus.label in range(6)

    check()


def test_lists_of_images(tmp_path):
    for number, name in enumerate(("A/1.png", "A/2.png", "B/1.png")):
        write(tmp_path / "raw" / name, encoded(noise(number), "PNG"))

    @settings(max_examples=200)
    @given(content=damaged(*dialects(LIST)))
    def check(content):
        listing = read(
            tmp_path / "raw" / "images.csv", content, lambda path: find_items(path.parent)
        )
        for item in listing.items if listing else ():
            assert item.path.resolve().is_relative_to(tmp_path / "raw")
            assert item.path.is_file()
            assert item.label in range(len(listing.class_names))

    check()


def test_predictions(tmp_path):
    @settings(max_examples=200)
    @given(content=damaged(*dialects(TABLE)), labelled=st.booleans())
    def check(content, labelled):
        table = read(tmp_path / "p.csv", content, lambda path: read_table(path, labelled=labelled))
        if table:
            assert len(set(table.filenames)) == len(table.filenames) == len(table.groups)
            np.testing.assert_allclose(table.probabilities.sum(1), 1)
            assert (table.probabilities >= 0).all()
            assert (table.labels >= (0 if labelled else -1)).all()
            assert (table.labels < len(table.class_names)).all()

    check()
