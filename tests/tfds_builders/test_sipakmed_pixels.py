"""Contours and background of SIPaKMeD, without the builder."""

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st
from selection import tries

from cervix_jax.errors import InputError
from cervix_jax.files import background
from tfds_builders.sipakmed import contours

numbers = st.one_of(
    st.floats(-40, 60).map(repr), st.text("0123456789.eE+-_naif", max_size=6), st.text(max_size=3)
)
lines = st.builds("{}{}{}".format, numbers, st.sampled_from([",", " ", ";", ", ", ""]), numbers)


@settings(max_examples=tries(150))
@given(
    content=st.one_of(st.binary(max_size=80), st.lists(lines, max_size=8).map("\n".join)),
    shape=st.tuples(st.integers(1, 40), st.integers(1, 40)),
)
@example(content="1e308,1\n1,1e308\n-1e308,3", shape=(20, 20))
@example(content="1,1\n1,1\n1,1", shape=(1, 1))
def test_any_contour_file_is_read_or_refused(tmp_path_factory, content, shape):
    path = tmp_path_factory.getbasetemp() / "fuzz.dat"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    try:
        points = contours.read_contour(path, shape)
    except InputError as error:
        message = str(error)
    else:
        message = f"{path}"
        nucleus, cytoplasm, _ = contours.cell_masks([{"cyt": path, "nuc": path}], shape)
        assert len(points) >= 3
        assert np.isfinite(points).all()
        assert nucleus.shape == shape
        assert not cytoplasm.any()
    assert str(path) in message
    assert "\n" not in message


def test_background_becomes_white_and_cells_stay():
    rng = np.random.default_rng(0)
    image = np.full((300, 400, 3), (225, 228, 235), np.uint8)
    rows, columns = np.mgrid[:300, :400]
    cell = (rows - 140) ** 2 + (columns - 180) ** 2 < 60**2
    image[cell] = (150, 190, 200)
    image[(rows - 140) ** 2 + (columns - 180) ** 2 < 15**2] = (70, 60, 110)
    image[20:23, 20:23] = 0  # debris
    image = np.clip(image + rng.normal(0, 4, image.shape), 0, 255).astype(np.uint8)
    found = background.foreground(image)
    assert (found & cell).sum() / (found | cell).sum() > 0.85
    cleaned = background.remove_background(image)
    np.testing.assert_array_equal(cleaned[cell & found], image[cell & found])
    assert found[cell].all()
    assert (cleaned[~found] == 255).all()
    assert (cleaned[20:23, 20:23] == 255).all()


def test_background_of_one_colour_is_kept():
    image = np.full((30, 40, 3), 200, np.uint8)
    np.testing.assert_array_equal(background.remove_background(image), image)
