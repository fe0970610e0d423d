"""Fields without their background, by a mask or by what is segmented."""

import numpy as np

from cervix_jax.files.background import remove_background


def test_background_goes_by_the_mask():
    image = np.random.default_rng(0).integers(0, 200, (40, 50, 3), np.uint8)
    cells = np.zeros((40, 50), bool)
    cells[10:20, 5:30] = True
    found = remove_background(image, cells)
    np.testing.assert_array_equal(found[cells], image[cells])
    assert (found[~cells] == 255).all()


def test_background_is_segmented_where_there_is_no_mask():
    y, x = np.mgrid[:200, :200]
    distance = np.hypot(y - 100, x - 100)
    image = np.full((200, 200, 3), 220, np.uint8)
    image[distance < 60] = (120, 150, 190)
    image[distance < 20] = (60, 50, 90)
    found = remove_background(image)
    assert (found[distance > 75] == 255).all()
    np.testing.assert_array_equal(found[distance < 58], image[distance < 58])
