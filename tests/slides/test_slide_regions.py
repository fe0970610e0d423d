"""Rectangles against Pillow and NumPy."""

import numpy as np
import pytest
from make_slides import drawn
from PIL import Image

from cervix_jax.slides import regions
from cervix_jax.slides.regions import Level, in_blocks, read_box

PIXELS = np.random.default_rng(0).integers(0, 256, (97, 131, 3), np.uint8)
IMAGE = Image.fromarray(PIXELS)


def level(image=IMAGE, downsample=1.0) -> Level:
    def fetch(left, top, right, bottom):
        assert left >= 0 <= top
        assert right <= image.width
        assert bottom <= image.height
        return image.crop((left, top, right, bottom))

    return Level(*image.size, downsample, fetch)


def read(box, size, levels=None):
    return np.asarray(read_box(levels or [level()], box, size))


def test_whole_pixels_are_copied():
    np.testing.assert_array_equal(read((10, 20, 60, 50), (50, 30)), PIXELS[20:50, 10:60])


@pytest.mark.parametrize("size", [(131, 97), (40, 30), (200, 150), (1, 1)])
def test_the_whole_image_is_pillows(size):
    asked = np.asarray(IMAGE.resize(size, Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(read((0, 0, 131, 97), size), asked)


def test_a_part_is_that_of_the_whole():
    """The filter sees the pixels beside the box, so that tiles have no seams."""
    asked = np.asarray(IMAGE.resize((20, 20), Image.Resampling.BILINEAR, (30.5, 20.25, 90, 75.5)))
    np.testing.assert_array_equal(read((30.5, 20.25, 90, 75.5), (20, 20)), asked)


@pytest.mark.parametrize(
    "box", [(-30, -20, 20, 30), (100, 60, 150, 110), (-200, -150, 300, 250), (140, 100, 160, 130)]
)
def test_beyond_the_border_the_image_is_mirrored(box):
    padded = np.pad(PIXELS, ((200, 200), (200, 200), (0, 0)), mode="reflect")
    left, top, right, bottom = (edge + 200 for edge in box)
    size = (right - left, bottom - top)
    np.testing.assert_array_equal(read(box, size), padded[top:bottom, left:right])


def test_one_pixel_is_mirrored_too():
    one = level(Image.new("RGB", (1, 1), (9, 8, 7)))
    np.testing.assert_array_equal(
        read((-5, -5, 5, 5), (10, 10), [one]), np.full((10, 10, 3), (9, 8, 7))
    )


def test_a_large_region_is_read_in_blocks(monkeypatch):
    smooth = Image.fromarray(drawn(640, 480))
    fetched = []
    inner = level(smooth)

    def fetch(*box):
        fetched.append((box[2] - box[0]) * (box[3] - box[1]))
        return inner.fetch(*box)

    counted = Level(640, 480, 1.0, fetch)
    monkeypatch.setattr(regions, "_MOST_PIXELS", 10_000)
    monkeypatch.setattr(regions, "_BLOCK", 64)
    found = read((0, 0, 640, 480), (64, 48), [counted])
    assert max(fetched) <= 64 * 64
    assert sum(fetched) == 640 * 480
    asked = np.asarray(smooth.resize((64, 48), Image.Resampling.BILINEAR))
    assert np.abs(found.astype(int) - asked)[1:-1, 1:-1].max() <= 4
    same = read((3, 5, 403, 305), (400, 300), [counted])
    np.testing.assert_array_equal(same, np.asarray(smooth)[5:305, 3:403])


def test_blocks_cover_a_level_once():
    coarse = in_blocks(level(), 4)
    assert (coarse.width, coarse.height, coarse.downsample) == (33, 25, 4.0)
    np.testing.assert_array_equal(coarse.fetch(0, 0, 33, 25), IMAGE.reduce(4))


@pytest.mark.parametrize(("box", "size"), [((5, 5, 5, 9), (3, 3)), ((0, 0, 9, 9), (0, 3))])
def test_nothing_cannot_be_read(box, size):
    with pytest.raises(ValueError, match="empty"):
        read(box, size)
