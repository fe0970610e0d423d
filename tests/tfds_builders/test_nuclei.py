"""Tiles with marked nuclei: from CRIC's points, SIPaKMeD's contours and the phantom."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from cervix_jax.data import catalog, nucleus_maps
from cervix_jax.errors import InputError
from tfds_builders.nuclei.sources import phantom_fields
from tfds_builders.nuclei.tiles import cut_tiles

MICRONS = 0.228 * 1376 / 640  # of a copy of a CRIC field that is 640 pixels wide


def speckled(width: int, height: int) -> Image.Image:
    pixels = np.random.default_rng(0).integers(150, 255, (height, width, 3), np.uint8)
    return Image.fromarray(pixels)


def cric(folder, name="a", positions=((100, 50), (600, 400))):
    folder.mkdir(parents=True, exist_ok=True)
    field = speckled(640, 480)
    draw = ImageDraw.Draw(field)
    for x, y in positions:
        draw.ellipse([x - 8, y - 8, x + 8, y + 8], fill=(60, 30, 90))
    field.save(folder / f"{name}.png")
    rows = [f"{name}.png,{k},NILM,{x},{y}" for k, (x, y) in enumerate(positions)]
    head = "image_filename,cell_id,bethesda_system,nucleus_x,nucleus_y"
    (folder / "classifications.csv").write_text("\n".join([head, *rows]) + "\n")


def sipakmed(folder):
    for name in (
        "Dyskeratotic", "Koilocytotic", "Metaplastic", "Parabasal", "Superficial-Intermediate",
    ):  # fmt: skip
        (folder / f"im_{name}").mkdir(parents=True)
    place = folder / "im_Parabasal"
    speckled(512, 384).save(place / "007.bmp")
    # Twice as many points on the left: the middle is that of the box, not the mean.
    contour = ["100,100", "100,110", "100,120", "100,130", "140,130", "140,100"]
    (place / "007_nuc01.dat").write_text("\n".join(contour))
    (place / "007_cyt01.dat").write_text("\n".join(["50,50", "200,50", "200,200", "50,200"]))
    speckled(512, 384).save(
        place / "008.bmp"
    )  # without contours: nothing says where its nuclei are


def load(tmp_path, name="nuclei/fields", **settings):
    return catalog.load(
        name,
        manual_dir=None if name == "nuclei/phantom" else tmp_path / "raw",
        data_dir=tmp_path / "prepared",
        settings={"phantom_fields": 1, "side": 128} | settings,
    )


def test_both_sources_and_the_phantom_at_one_resolution(tmp_path):
    cric(tmp_path / "raw/cric")
    sipakmed(tmp_path / "raw/sipakmed")
    data = load(tmp_path)
    assert data.class_names == ("background", "nucleus")
    assert data.pixel_labels == "nucleus_map"
    assert data.microns_per_pixel == 0.5
    assert data.image_size == (128, 128)
    assert {group.partition("/")[0] for group in data.groups} == {"cric", "sipakmed", "phantom"}
    assert "sipakmed/im_Parabasal/008" not in data.groups
    found = {}
    for example in data.decoded_source:
        points = example["nuclei"] + example["offset"]
        found.setdefault(example["field_id"].decode(), []).extend(points.tolist())
        labels = nucleus_maps.as_labels(example["nucleus_map"][..., 0])
        for x, y in example["nuclei"]:
            assert labels[int(y), int(x)] == 1
        assert example["label"] == (labels == 1).any()
    scale = MICRONS / 0.5
    np.testing.assert_allclose(
        sorted(found["cric/a"]), [[100 * scale, 50 * scale], [600 * scale, 400 * scale]], atol=1
    )
    wide = 0.14 * 2048 / 512 / 0.5  # a copy of a field a fourth as wide
    np.testing.assert_allclose(
        found["sipakmed/im_Parabasal/007"], [[120 * wide, 115 * wide]], atol=1
    )


def test_the_phantom_needs_no_files_and_knows_every_nucleus(tmp_path):
    data = load(tmp_path, "nuclei/phantom")
    marked = sum(len(example["nuclei"]) for example in data.decoded_source)
    drawn = sum(len(field.read()[1]) for field in phantom_fields(1))
    assert marked == drawn >= 5


@given(
    st.integers(20, 300), st.integers(20, 300), st.sampled_from([0.25, 0.5, 0.8]),
    st.lists(st.tuples(st.floats(0, 0.999), st.floats(0, 0.999)), max_size=6),
)  # fmt: skip
def test_cores_cover_a_field_once(width, height, microns, places):
    image = speckled(width, height)
    centres = np.asarray(places, float).reshape(-1, 2) * (width, height)
    tiles = list(cut_tiles(image, centres, microns, wanted=0.5, side=64, radius=2.5))
    size = [max(1, round(length * microns / 0.5)) for length in (width, height)]
    covered = np.zeros(size[::-1], int)
    for tile in tiles:
        assert tile.image.shape == (64, 64, 3)
        left, top, right, bottom = tile.core + np.tile(tile.offset, 2)
        covered[top:bottom, left:right] += 1
    assert (covered == 1).all()
    assert sum(len(tile.nuclei) for tile in tiles) == len(centres)
    beyond = tiles[-1].nucleus_map[size[1] - tiles[-1].offset[1] :]
    assert (beyond == nucleus_maps.UNJUDGED).all()


def test_bad_input_is_one_line(tmp_path):
    (tmp_path / "raw/cric").mkdir(parents=True)
    speckled(64, 64).save(tmp_path / "raw/cric/a.png")
    with pytest.raises(InputError, match="no fields with marked nuclei"):
        load(tmp_path)
    with pytest.raises(InputError, match="multiple of 16"):
        load(tmp_path, "nuclei/phantom", side=100)
    with pytest.raises(InputError, match="manual_dir"):
        catalog.load("nuclei/fields", data_dir=tmp_path / "prepared")
