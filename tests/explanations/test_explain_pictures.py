"""What the sheets and the paper's figure show."""

import numpy as np
from PIL import Image

from cervix_jax.explanations import paper_figure
from cervix_jax.explanations.paper_figure import Side
from cervix_jax.explanations.sheets import GAP, contact_sheet, strip

RANDOM = np.random.default_rng(0)


def test_a_strip_shows_the_image_the_map_and_both():
    image = np.full((2, 3, 3), 100, np.uint8)
    signed = np.array([[1.0, 0.0, -1.0], [0.0, 0.0, 0.0]])
    drawn = strip(image, signed, np.abs(signed), (1.0, 1.0)).astype(int)
    step = 3 + GAP
    columns = [drawn[:, k * step : k * step + 3] for k in range(4)]
    assert drawn.shape == (2, 4 * 3 + 3 * GAP, 3)
    np.testing.assert_array_equal(columns[0], image)
    for shown in (columns[1], columns[3]):
        assert shown[0, 0, 0] > shown[0, 0, 2]  # red
        assert shown[0, 2, 2] > shown[0, 2, 0]  # blue
    assert (columns[1][1] == 255).all()
    assert (columns[3][1] == 100).all()
    assert columns[2][0, 0].sum() > columns[2][0, 1].sum()


def test_a_sheet_is_drawn_for_one_image_and_for_a_map_of_zeros(tmp_path):
    for count, path in ((1, tmp_path / "one.png"), (5, tmp_path / "five.png")):
        pixels = RANDOM.integers(0, 256, (count, 16, 16, 3), np.uint8)
        maps = np.zeros((count, 16, 16, 3), np.float32)
        contact_sheet(pixels, maps, ["x"] * count, "zeros", path)
        with Image.open(path) as picture:
            assert min(picture.size) > 100


def test_two_models_stand_side_by_side(tmp_path):
    pixels = RANDOM.integers(0, 256, (2, 16, 16, 3), np.uint8)
    maps = RANDOM.normal(size=(2, 16, 16, 3))
    side = Side("a model", pixels, maps, maps, ["x; p(x) = 1", "y; p(x) = 0.5"])
    sizes = []
    for number in (1, 2):
        paper_figure.draw([side] * number, tmp_path / "figure.png")
        with Image.open(tmp_path / "figure.png") as picture:
            sizes.append(picture.size)
    assert sizes[1] == (2 * sizes[0][0], sizes[0][1])
