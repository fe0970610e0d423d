import dataclasses
import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds
from hypothesis import given, settings
from hypothesis import strategies as st
from selection import tries

from cervix_jax.data.classes import SIPAKMED
from cervix_jax.errors import InputError
from tfds_builders.cervix_phantom.anatomy import (
    ANATOMY,
    FIELD_SHAPE,
    PIXEL_SCALE,
    optical_density,
)
from tfds_builders.cervix_phantom.cervix_phantom_dataset_builder import Builder, phantom_config
from tfds_builders.cervix_phantom.field import Field, render_field
from tfds_builders.cervix_phantom.outline import Outline, ellipse, fill, polygon
from tfds_builders.cervix_phantom.settings import PhantomConfig, PhantomSettings
from tfds_builders.cervix_phantom.stains import DYES, palette, slide_for, transmit

SMALL = {"clusters_per_class": 2, "cells_per_cluster": 3, "clusters_per_slide": 1}
CLASSES = ["Dyskeratotic", "Koilocytotic", "Metaplastic", "Parabasal", "Superficial-Intermediate"]


def prepare(config: PhantomConfig, folder: Path) -> Builder:
    builder = Builder(config=config, data_dir=folder, file_format="array_record")
    builder.download_and_prepare()
    return builder


@pytest.fixture(scope="module")
def crops(tmp_path_factory) -> Builder:
    return prepare(phantom_config("single_cell", **SMALL), tmp_path_factory.mktemp("crops"))


@pytest.fixture(scope="module")
def fields(tmp_path_factory) -> Builder:
    return prepare(phantom_config("multi_cell", **SMALL), tmp_path_factory.mktemp("fields"))


def examples(builder: Builder) -> dict[str, dict]:
    return {row["filename"].decode(): row for row in builder.as_data_source("train")}


def digest(builder: Builder) -> dict[str, str]:
    features = ("image", "nucleus_mask", "cytoplasm_mask", "instance_mask", "halo_mask")
    return {
        name: hashlib.sha256(b"".join(row[key].tobytes() for key in features)).hexdigest()
        for name, row in examples(builder).items()
    }


def test_examples_are_counted_named_and_labelled_like_sipakmed(crops, fields):
    assert crops.info.features["label"].names == CLASSES
    small, large = examples(crops), examples(fields)
    assert len(small) == 5 * 2 * 3  # the dictionary keeps one of equal names: all are unique
    assert len(large) == 5 * 2
    assert "im_Superficial-Intermediate/002_03.png" in small
    assert "im_Dyskeratotic/001.png" in large
    for name, row in [*small.items(), *large.items()]:
        assert row["image"].dtype == np.uint8
        assert row["image"].shape[-1] == 3
        assert row["cluster_id"].decode() == name.removesuffix(".png").split("_0")[0]
        assert name.startswith(f"im_{CLASSES[row['label']]}/")
        assert 0 <= row["overlap"] <= 1
    assert np.bincount([row["label"] for row in small.values()]).tolist() == [6] * 5


def test_masks_are_consistent(crops, fields):
    for name, row in [*examples(crops).items(), *examples(fields).items()]:
        nucleus, cytoplasm = row["nucleus_mask"][..., 0] > 0, row["cytoplasm_mask"][..., 0] > 0
        instances, halo = row["instance_mask"][..., 0], row["halo_mask"][..., 0] > 0
        assert row["image"].shape[:2] == nucleus.shape == instances.shape
        assert nucleus.any()
        assert not (nucleus & cytoplasm).any()
        assert (instances[nucleus | cytoplasm] > 0).all()
        assert not (halo & ~cytoplasm).any()
        assert halo.any() == (row["label"] == 1)
        if row["image"].shape[:2] == FIELD_SHAPE:
            assert np.unique(instances).tolist() == [0, 1, 2, 3]
            assert ((instances > 0) == (nucleus | cytoplasm)).all()
        else:  # the crop's own cell is the one its file name numbers, and fills the crop
            number = int(name.removesuffix(".png")[-2:])
            assert not ((instances == number) & ~(nucleus | cytoplasm)).any()
            assert (nucleus | cytoplasm).mean() > 0.3


def test_a_crop_is_a_piece_of_its_field(crops, fields):
    large = examples(fields)["im_Metaplastic/001.png"]["image"]
    piece = examples(crops)["im_Metaplastic/001_02.png"]["image"]
    windows = np.lib.stride_tricks.sliding_window_view(large, piece.shape)[:, :, 0]
    corner = (windows[:, :, :2, :2] == piece[:2, :2]).all(axis=(2, 3, 4))
    assert any((windows[row, column] == piece).all() for row, column in np.argwhere(corner))


def test_preparing_twice_gives_the_same_bits(crops, tmp_path):
    again = prepare(phantom_config("single_cell", **SMALL), tmp_path)
    assert digest(again) == digest(crops)


def test_a_field_depends_on_nothing_but_its_own_number():
    few, many = PhantomSettings(clusters_per_class=3), PhantomSettings(clusters_per_class=50)
    alone = render_field(2, 3, few)
    render_field(4, 1, many)
    assert np.array_equal(alone.image, render_field(2, 3, many).image)
    assert not np.array_equal(alone.image, render_field(2, 3, PhantomSettings(seed=1)).image)


def test_prepared_data_load_without_the_config(crops):
    loaded = tfds.builder_from_directory(crops.data_dir)
    assert loaded.info.splits["train"].num_examples == 30
    row = loaded.as_data_source("train")[7]
    assert np.array_equal(row["image"], crops.as_data_source("train")[7]["image"])


def test_metadata_and_no_tensorflow(crops):
    assert "never evidence about real cells" in " ".join(crops.info.description.split())
    assert "SIPaKMeD" in crops.info.citation
    assert Builder.GROUP_FEATURE in crops.info.features
    assert [config.name for config in Builder.BUILDER_CONFIGS] == ["single_cell", "multi_cell"]
    assert "tensorflow" not in sys.modules


def cells_of(class_index: int, clusters: int, **knobs) -> list:
    chosen = PhantomSettings(cells_per_cluster=8, **knobs)
    found = [render_field(class_index, number, chosen) for number in range(1, clusters + 1)]
    return [cell for field in found for cell in field.cells]


@pytest.mark.parametrize("class_index", range(5))
def test_drawn_areas_follow_the_table(class_index):
    anatomy = ANATOMY[SIPAKMED.names[class_index]]
    cells = cells_of(class_index, 12)
    nucleus = np.median([cell.nucleus_mask.sum() for cell in cells]) / PIXEL_SCALE**2
    whole = np.median([cell.cell_mask.sum() for cell in cells]) / PIXEL_SCALE**2
    # 96 cells: the standard error of a median is about 0.13 of a log standard deviation of .3-.6.
    assert nucleus == pytest.approx(anatomy.nucleus_area[1], rel=0.2)
    assert whole == pytest.approx(anatomy.cell_area[1], rel=0.25)
    for cell in cells:
        assert not (cell.nucleus_mask & ~cell.cell_mask).any()
        assert not (cell.halo_mask & cell.nucleus_mask).any()


def test_crowding_follows_the_overlap_setting():
    spread, heaped = (
        np.mean([cell.overlap for cell in cells_of(3, 4, overlap=value)]) for value in (0.0, 1.0)
    )
    assert spread < 0.1
    assert heaped > 0.3


def test_appearance_settings_leave_the_geometry_alone():
    base = render_field(1, 2, PhantomSettings(confounding=0))
    other = PhantomSettings(confounding=1, stain_variation=0.2, blur=2, debris=3)
    changed = render_field(1, 2, other)
    assert np.array_equal(base.instance_mask, changed.instance_mask)
    assert np.array_equal(base.cells[0].halo_mask, changed.cells[0].halo_mask)
    assert not np.array_equal(base.image, changed.image)


def test_blur_takes_detail_away():
    def detail(field: Field) -> float:
        return float(np.abs(np.diff(field.image.astype(float), axis=1)).mean())

    sharp, soft = (
        render_field(4, 1, PhantomSettings(blur=value, debris=0)) for value in (0.0, 4.0)
    )
    assert detail(sharp) > 1.1 * detail(soft)


def test_halo_is_paler_and_nucleus_darker_than_the_cytoplasm():
    field = render_field(1, 1, PhantomSettings(blur=0, debris=0, overlap=0))
    grey = field.image.mean(axis=2)
    for cell in field.cells:
        nucleus, halo = cell.in_field("nucleus_mask"), cell.in_field("halo_mask")
        body = cell.in_field("cell_mask") & ~nucleus & ~halo
        assert grey[halo].mean() > grey[body].mean() > grey[nucleus].mean()


def test_slides_are_shared_or_apart_as_confounding_says():
    def slides(confounding: float) -> np.ndarray:
        chosen = PhantomSettings(confounding=confounding, clusters_per_slide=2)
        return np.array(
            [[slide_for(c, k, chosen).slide_id for k in range(1, 21)] for c in range(5)]
        )

    shared, half, apart = slides(0), slides(0.5), slides(1)
    assert (shared == shared[0]).all()
    assert len(np.unique(shared)) == 10
    assert len(np.unique(apart)) == 50
    assert (half == half[0]).all(axis=0).mean() == 0.5
    assert (apart[:, 0::2] == apart[:, 1::2]).all()  # neighbours share a slide


def test_palettes_reproduce_the_measured_colours():
    for name in SIPAKMED.names:
        anatomy = ANATOMY[name]
        measured = optical_density(anatomy.cytoplasm_rgb, anatomy.background_rgb) / anatomy.layers
        np.testing.assert_allclose(palette(name).cytoplasm @ DYES, measured, atol=0.02)


def test_overlapping_layers_multiply_in_light():
    one = np.full((4, 2, 2), 0.3, np.float32)
    light = np.ones((2, 2, 3), np.float32)
    np.testing.assert_allclose(
        transmit(2 * one, DYES, light), transmit(one, DYES, light) ** 2, rtol=1e-5
    )


@settings(max_examples=tries(40))
@given(
    seed=st.integers(0, 10_000),
    area=st.floats(60, 8000),
    aspect=st.floats(1, 2),
    sides=st.integers(4, 9),
)
def test_outlines_cover_the_area_asked_for(seed, area, aspect, sides):
    rng = np.random.default_rng(seed)
    for outline in (ellipse(rng, area, aspect, wobble=0.06), polygon(rng, area, sides, aspect)):
        half = int(outline.reach) + 3
        side = 2 * half + 1
        covered = fill(outline, (side, side), (half, half)).sum()
        assert covered == pytest.approx(area, rel=0.06)


def test_fill_of_a_circle_partly_outside_the_patch():
    circle = Outline(np.full(256, 5.0))
    whole = fill(circle, (30, 30), (15, 15))
    assert np.array_equal(fill(circle, (30, 12), (15, 15)), whole[:, :12])
    assert fill(circle, (30, 30), (-50, 15)).sum() == 0


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("seed", -1),
        ("seed", 1.5),
        ("clusters_per_class", 0),
        ("clusters_per_class", 1000),
        ("cells_per_cluster", 13),
        ("overlap", -0.1),
        ("stain_variation", "much"),
        ("blur", float("nan")),
        ("confounding", 1.01),
        ("confounding", None),
        ("debris", True),
        ("colour", 1),
    ],
)
def test_bad_settings_are_named(name, value):
    with pytest.raises(InputError) as caught:
        phantom_config("single_cell", **{name: value})
    message = str(caught.value)
    assert name in message
    assert repr(value) in message
    assert "\n" not in message


def test_unknown_base_is_named():
    with pytest.raises(InputError, match=r"'cells'.*single_cell, multi_cell"):
        phantom_config("cells")


@settings(max_examples=tries(30))
@given(
    seed=st.integers(0, 2**32 - 1), confounding=st.floats(0, 1), blur=st.floats(0, 5), n=st.data()
)
def test_names_tell_settings_apart(seed, confounding, blur, n):
    first = phantom_config("multi_cell", seed=seed, confounding=confounding, blur=blur)
    second = phantom_config("multi_cell", seed=n.draw(st.sampled_from([seed, 3])), blur=blur)
    assert (first.name == second.name) == (first.settings == second.settings)
    assert set(first.name) <= set("abcdefghijklmnopqrstuvwxyz0123456789_.-+")


def test_defaults_keep_the_base_name():
    config = phantom_config("single_cell", confounding=0.5, seed=0.0)
    assert config is phantom_config("single_cell")
    assert config.name == "single_cell"
    named = phantom_config("single_cell", seed=3, confounding=0)
    assert named.name == "single_cell-confounding_0.0-seed_3"
    with pytest.raises(dataclasses.FrozenInstanceError):
        named.settings.seed = 4


def test_any_process_gives_the_same_field():
    code = (
        "from tfds_builders.cervix_phantom.field import render_field;"
        "from tfds_builders.cervix_phantom.settings import PhantomSettings;"
        "import hashlib;"
        "print(hashlib.sha256(render_field(0, 1, PhantomSettings()).image.tobytes()).hexdigest())"
    )
    other = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    here = hashlib.sha256(render_field(0, 1, PhantomSettings()).image.tobytes()).hexdigest()
    assert other.stdout.strip() == here
