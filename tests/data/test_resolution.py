"""Micrometres a pixel of every data set, of copies of it, and what is refused without them."""

import dataclasses
import io
from types import SimpleNamespace

import ml_collections
import numpy as np
import pytest
from PIL import Image

from cervix_jax.config.base import base_config
from cervix_jax.data import catalog
from cervix_jax.data.experiment import with_batches
from cervix_jax.data.resolution import field_of_view, network_scale, same_size, sampled_sizes
from cervix_jax.errors import InputError
from tfds_builders.cervix_phantom import anatomy
from tfds_builders.sipakmed import sipakmed_dataset_builder as sipakmed

CROPS, SQUARES = [(80, 91), (100, 100)], [(224, 224), (200, 200)]


@pytest.mark.parametrize(
    ("name", "settings", "sizes", "microns"),
    [
        ("herlev/default", {}, CROPS, 0.201),
        ("herlev/default", {}, SQUARES, None),  # copies that were padded have lost their scale
        ("sipakmed/single_cell", {}, CROPS, 0.14),
        ("sipakmed/single_cell", {}, SQUARES, None),
        ("sipakmed/multi_cell", {}, [(2048, 1536)] * 2, 0.14),
        ("sipakmed/multi_cell_masked", {}, [(1024, 768)], 0.28),
        ("sipakmed/multi_cell", {}, [(2048, 1536), (1024, 768)], None),
        ("cric/field", {}, [(1376, 1020)] * 2, 0.228),
        ("cric/field", {}, [(1280, 949)] * 2, 0.228 * 1376 / 1280),
        ("cric/field", {}, [(1280, 949), (1376, 1020)], None),
        ("cric/cell", {}, [(100, 100)], 0.228),
        ("cric/cell", {"side": 200}, [(200, 200)], 0.228),
        ("cric/cell", {}, [(93, 93)], 0.228 * 100 / 93),
        ("cric/cell", {"side": 200}, [(186, 186)], 0.228 * 200 / 186),
        ("cric/cell", {}, [(100, 100), (93, 93)], None),
        ("cervix_phantom/single_cell", {}, CROPS, 0.35),
        ("cervix_phantom/multi_cell", {}, [(384, 288)], 0.35),
        ("image_folder/default", {"name": "a"}, CROPS, None),
        ("image_folder/default", {"name": "a", "microns_per_pixel": 0.25}, CROPS, 0.25),
    ],
)
def test_micrometres_a_pixel(tmp_path, name, settings, sizes, microns):
    config = catalog._vary(name, name.partition("/")[2], settings)
    builder = catalog.find_builder(name)(config=config, data_dir=tmp_path)
    assert builder.microns_per_pixel(sizes) == pytest.approx(microns)


def test_the_phantom_is_drawn_at_the_scale_of_sipakmed():
    found = sipakmed.MICRONS_PER_PIXEL / anatomy.PIXEL_SCALE
    assert pytest.approx(found) == anatomy.MICRONS_PER_PIXEL


@pytest.fixture
def folder(tmp_path):
    """Six images of two classes and of one size."""
    random = np.random.default_rng(0)
    for number in range(6):
        path = tmp_path / "own" / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 256, (20, 30, 3), np.uint8)).save(path)
    return tmp_path / "own"


def test_a_folder_is_not_prepared_again_for_its_resolution(folder, tmp_path):
    def load(**settings):
        return catalog.load(
            "image_folder/default", manual_dir=folder, data_dir=tmp_path / "data", settings=settings
        )

    before = load()
    assert (before.microns_per_pixel, before.image_size) == (None, (30, 20))
    written = (before.path / "examples.json").stat().st_mtime_ns
    after = load(microns_per_pixel=0.5)
    assert after.microns_per_pixel == 0.5
    assert after.take(np.array([1])).microns_per_pixel == 0.5
    assert after.path == before.path
    assert (after.path / "examples.json").stat().st_mtime_ns == written
    for absurd in (0.01, 11):
        with pytest.raises(InputError, match=r"image_folder setting microns_per_pixel=.*from 0"):
            load(microns_per_pixel=absurd)


def test_a_damaged_image_is_not_looked_at_and_many_are_sampled():
    def encoded(width):
        stream = io.BytesIO()
        Image.new("RGB", (width, 7)).save(stream, "PNG")
        return {"image": stream.getvalue()}

    source = [encoded(9), {"image": b"no image"}, encoded(9)]
    assert sampled_sizes(source) == ((9, 7), (9, 7))
    assert same_size(sampled_sizes(source)) == (9, 7)
    assert sampled_sizes([]) == ()
    assert same_size(()) is None
    many = sampled_sizes([encoded(1 + n // 10) for n in range(100)])
    assert len(many) == 16
    assert {width for width, _ in many} == set(range(1, 11))


def wanted(**given):
    return ml_collections.ConfigDict(
        {"resize": "scale", "microns_per_pixel": 0.5, "dataset": "a/b", "settings": {}} | given
    )


def test_scale_is_what_the_image_has_over_what_the_network_has():
    assert network_scale(wanted(), 0.25, "x") == 0.5
    assert network_scale(wanted(resize="crop"), None, "x") is None
    with pytest.raises(
        InputError, match=r"^image_folder/x: the pixel size .* is unknown.*settings\.microns_per"
    ):
        network_scale(wanted(), None, "image_folder/x")
    with pytest.raises(
        InputError, match=r"^herlev/default: the pixel size .* is unknown.*published files"
    ):
        network_scale(wanted(), None, "herlev/default")
    for absurd in (0.01, 20.0, float("nan")):
        with pytest.raises(InputError, match=r"micrometres a pixel, from 0\.05 to 10"):
            network_scale(wanted(), absurd, "x")


@pytest.mark.parametrize(
    ("data", "recorded", "microns"),
    [
        ({}, {}, 32.0),
        ({"resize": "stretch"}, {}, None),
        ({"resize": "stretch"}, {"microns_per_pixel": 0.2, "image_size": None}, None),
        ({"resize": "stretch"}, {"microns_per_pixel": 0.2, "image_size": [100, 100]}, 20),
        ({"resize": "stretch"}, {"microns_per_pixel": 0.2, "image_size": [100, 80]}, None),
        ({"resize": "stretch"}, {"microns_per_pixel": None, "image_size": [100, 100]}, None),
        ({"resize": "crop"}, {"microns_per_pixel": 0.2, "image_size": [100, 80]}, 16),
        ({"resize": "pad"}, {"microns_per_pixel": 0.2, "image_size": [100, 80]}, 20),
        # Runs of earlier versions recorded nothing.
        ({"resize": "stretch", "dataset": "cric/cell"}, {}, 22.8),
        ({"resize": "pad", "dataset": "cric/cell", "settings": {"side": 200}}, {}, 45.6),
        ({"resize": "stretch", "dataset": "cric/cell", "settings": {"side": None}}, {}, 22.8),
    ],
)
def test_field_of_view(data, recorded, microns):
    config = SimpleNamespace(image_size=64, data=wanted(**data))
    assert field_of_view(config, recorded) == pytest.approx(microns)


def test_a_data_set_of_unknown_resolution_has_no_batches_at_one(folder, tmp_path):
    config = base_config("image_folder/default")
    config.image_size, config.data.resize, config.data.microns_per_pixel = 32, "scale", 0.5
    dataset = catalog.load("image_folder/default", manual_dir=folder, data_dir=tmp_path / "data")
    splits = np.full(6, "train")
    with pytest.raises(InputError, match=r"data\.settings\.microns_per_pixel"):
        with_batches(config, dataset, splits, progress=False)
    known = dataclasses.replace(dataset, microns_per_pixel=0.5)
    found = with_batches(config, known, splits, progress=False).pipeline.images([0])[0]
    # Of one resolution: the middle rows and columns are the image's own pixels.
    image = np.asarray(dataset.decoded_source[0]["image"])
    np.testing.assert_array_equal(found[6:26, 1:31], image)
