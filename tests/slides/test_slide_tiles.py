"""Tiles: they cover a slide once, glass is left out, and no cell is."""

import csv
import itertools

import make_slides
import numpy as np
import pytest
from PIL import Image

from cervix_jax.errors import InputError
from cervix_jax.slides import open_slide, tile_rows
from cervix_jax.slides.glass import is_covered

GLASS = {"white": (244, 244, 246), "grey": (214, 215, 218), "warm": (246, 240, 226)}


def image(path, pixels):
    Image.fromarray(pixels).save(path)
    return path


def test_cores_cover_an_image_once(tmp_path):
    path = image(tmp_path / "a.png", make_slides.drawn(700, 500))
    with open_slide(path, mpp=0.2) as slide:
        rows = tile_rows(slide, mpp=0.5, side=100, margin=10)
        seen = np.zeros((500, 700), int)
        for tile in itertools.chain(*rows):
            left, top, right, bottom = (round(edge) for edge in tile.core)
            seen[top:bottom, left:right] += 1
            assert slide.read(tile.box, tile.size).shape == (120, 120, 3)
            assert tile.box[0] == pytest.approx(tile.core[0] - 25)
            assert tile.box[2] - tile.box[0] == pytest.approx(120 * 0.5 / 0.2)
    assert (seen == 1).all()
    assert [[tile.row, tile.column] for tile in rows[1]] == [[1, 0], [1, 1], [1, 2]]


def test_a_small_field_is_one_tile_of_its_size(tmp_path):
    with open_slide(image(tmp_path / "a.png", make_slides.drawn(640, 480)), mpp=0.25) as slide:
        ((tile,),) = tile_rows(slide)
    assert tile.core == (0, 0, 640, 480)
    assert tile.size == (320 + 128, 256 + 128)
    assert tile.box == (-128, -128, 640 + 128, 512 + 128)


def test_resolution_is_needed(tmp_path):
    path = image(tmp_path / "a.png", make_slides.drawn(64, 64))
    with open_slide(path) as slide, pytest.raises(InputError, match=r"--mpp=0\.25"):
        tile_rows(slide)


@pytest.mark.parametrize("colour", GLASS.values(), ids=GLASS)
def test_an_empty_slide_has_no_tiles(tmp_path, colour):
    noise = np.random.default_rng(0).normal(0, 3, (1200, 1600, 1))
    shade = np.linspace(0, -6, 1600)[None, :, None]  # uneven light
    pixels = np.clip(np.array(colour) + noise + shade, 0, 255).astype(np.uint8)
    pixels[:, :300] = 255  # never scanned
    path = make_slides.aperio(tmp_path / "a.svs", make_slides.pyramid(pixels))
    with open_slide(path) as slide:
        assert tile_rows(slide, side=128) == []


def test_a_slide_never_scanned_has_no_tiles():
    assert not is_covered(np.full((5, 5, 3), 255, np.uint8)).any()


@pytest.mark.parametrize("colour", GLASS.values(), ids=GLASS)
def test_one_pale_cell_is_found(tmp_path, colour):
    """A nucleus of 8 micrometres in cytoplasm of optical density 0.08, by itself on a slide."""
    pixels = np.broadcast_to(np.uint8(colour), (2400, 3200, 3)).copy()
    y, x = np.ogrid[:2400, :3200]
    distance = np.hypot(x - 2005, y - 1130)
    pixels[distance < 80] = np.uint8(np.array(colour) * [0.83, 0.95, 0.95])
    pixels[distance < 16] = (90, 70, 120)
    path = make_slides.aperio(tmp_path / "a.svs", make_slides.pyramid(pixels))
    with open_slide(path) as slide:
        tiles = list(itertools.chain(*tile_rows(slide, side=128, margin=16)))
    assert any(
        tile.core[0] <= 2005 < tile.core[2] and tile.core[1] <= 1130 < tile.core[3]
        for tile in tiles
    )
    assert len(tiles) <= 4


@pytest.mark.parametrize("colour", list(GLASS.values())[:2], ids=list(GLASS)[:2])
def test_no_nucleus_of_real_fields_lies_in_glass(tmp_path, shared, colour):
    folder = shared / "data" / "cric"
    with open(folder / "classifications.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    names = sorted({row["image_filename"] for row in rows})[::43]
    pixels = np.broadcast_to(np.uint8(colour), (3000, 5000, 3)).copy()
    known = []
    for number, name in enumerate(names):
        field = np.asarray(Image.open(folder / "images" / name).convert("RGB"))
        top, left = 100 + number // 2 * 1500, 200 + number % 2 * 2600
        pixels[top : top + field.shape[0], left : left + field.shape[1]] = field
        known += [
            (left + float(row["nucleus_x"]), top + float(row["nucleus_y"]))
            for row in rows
            if row["image_filename"] == name
        ]
    path = make_slides.aperio(tmp_path / "a.svs", make_slides.pyramid(pixels))
    with open_slide(path) as slide:
        tiles = list(itertools.chain(*tile_rows(slide, side=64, margin=16)))
    assert len(known) > 40
    for x, y in known:
        assert any(
            tile.core[0] <= x < tile.core[2] and tile.core[1] <= y < tile.core[3] for tile in tiles
        ), (x, y)
    area = sum((t.core[2] - t.core[0]) * (t.core[3] - t.core[1]) for t in tiles)
    assert area < 0.7 * 3000 * 5000
