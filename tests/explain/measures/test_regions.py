import csv
import io

import numpy as np
import pytest
from PIL import Image

from cervix_jax.data import catalog
from cervix_jax.data.classes import HERLEV, SIPAKMED
from cervix_jax.data.decode import (
    RESIZE_MODES,
    Frame,
    decode_square,
    picture_shape,
    resize_labels,
)
from cervix_jax.errors import InputError
from cervix_jax.explain.measures import area_share, cell_regions, nucleus_discs, relevance_mass
from tfds_builders.cervix_phantom.anatomy import CROP_MARGIN
from tfds_builders.cervix_phantom.field import render_field
from tfds_builders.cervix_phantom.settings import phantom_config
from tfds_builders.herlev.segmentation import PALETTE

# --- the phantom: exact masks --------------------------------------------------------------------

SETTINGS = {"clusters_per_class": 1, "cells_per_cluster": 3}
KOILOCYTE = SIPAKMED.names.index("Koilocytotic")


@pytest.fixture(scope="module")
def phantom(tmp_path_factory):
    folder = tmp_path_factory.mktemp("phantom")
    return {
        view: catalog.load(f"cervix_phantom/{view}", data_dir=folder, settings=SETTINGS)
        for view in ("single_cell", "multi_cell")
    }


def rendered(view: str, label: int):
    return render_field(label, 1, phantom_config(view, **SETTINGS).settings)


def test_regions_of_a_phantom_crop_are_what_was_drawn(phantom):
    dataset = phantom["single_cell"]
    size, overlapping, neighbours = 80, 0, 0
    regions = cell_regions(dataset, range(len(dataset)), size=size, resize="pad")
    assert regions.names == ("background", "cytoplasm", "nucleus", "halo", "other_cells")
    assert regions.marked.all()
    masks = dict(zip(regions.names, np.moveaxis(regions.masks, 1, 0), strict=True))
    for position, label in enumerate(dataset.labels.tolist()):
        number = int(dataset.filenames[position].rpartition("_")[2].partition(".")[0])
        field = rendered("single_cell", label)
        cell = field.cells[number - 1]
        window = cell.crop_window(CROP_MARGIN)
        drawn = {
            name: cell.in_field(f"{name}_mask")[window] for name in ("cell", "nucleus", "halo")
        }
        others = [each.in_field("cell_mask")[window] for each in field.cells if each is not cell]
        overlapping += (np.logical_or.reduce(others) & drawn["cell"]).sum()
        expected = {
            "nucleus": drawn["nucleus"],
            "halo": drawn["halo"],
            "cytoplasm": drawn["cell"] & ~drawn["nucleus"] & ~drawn["halo"],
            "other_cells": np.logical_or.reduce(others) & ~drawn["cell"],
        }
        for name, mask in expected.items():
            laid = resize_labels(mask.astype(np.uint8), size, "pad") > 0
            np.testing.assert_array_equal(masks[name][position], laid, err_msg=name)
        assert masks["halo"][position].any() == (label == KOILOCYTE)
        neighbours += masks["other_cells"][position].sum()
    assert overlapping > 0  # else the crops would not test what is shared
    assert neighbours > 0


def test_regions_of_a_phantom_field_are_unions_over_its_cells(phantom):
    dataset = phantom["multi_cell"]
    position = dataset.labels.tolist().index(KOILOCYTE)
    regions = cell_regions(dataset, [position], size=96)
    field = rendered("multi_cell", KOILOCYTE)
    masks = dict(zip(regions.names, regions.masks[0], strict=True))
    union = {
        name: np.logical_or.reduce([cell.in_field(f"{name}_mask") for cell in field.cells])
        for name in ("cell", "nucleus")
    }
    nucleus, cells = (resize_labels(union[n].astype(np.uint8), 96) > 0 for n in ("nucleus", "cell"))
    np.testing.assert_array_equal(masks["nucleus"], nucleus)
    np.testing.assert_array_equal(masks["background"], ~cells)
    assert masks["halo"].any()
    assert not masks["other_cells"].any()


def test_masks_are_a_partition_and_shares_sum_to_one(phantom):
    regions = cell_regions(phantom["single_cell"], [2, 0], size=40)
    assert (regions.masks.sum(axis=1) == 1).all()
    np.testing.assert_allclose(np.nansum(area_share(regions.masks), axis=1), 1)
    maps = np.random.default_rng(0).normal(size=(2, 40, 40, 3))
    for part in ("positive", "absolute", "negative"):
        mass = relevance_mass(maps, regions.masks, part=part)
        np.testing.assert_allclose(np.nansum(mass, axis=1), 1)


def test_a_map_of_the_nucleus_lies_in_the_nucleus(phantom):
    """Dark pixels of the image as the network sees it, against the mask laid over it."""
    dataset = phantom["single_cell"]
    indices = np.arange(len(dataset))
    regions = cell_regions(dataset, indices, size=64, resize="crop")
    images = np.stack([decode_square(dataset.encoded_image(i), 64, "crop") for i in indices])
    darkness = 255.0 - images.astype(float)
    nucleus = regions.names.index("nucleus")
    mass = relevance_mass(darkness, regions.masks)[:, nucleus]
    share = area_share(regions.masks)[:, nucleus]
    assert (mass > share).mean() > 0.9


# --- masks in files ------------------------------------------------------------------------------


def save(path, pixels, mode=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(pixels)
    if mode == "P":
        image.putpalette([channel for colour in PALETTE for channel in colour])
    image.save(path)


@pytest.fixture(scope="module")
def herlev(tmp_path_factory):
    """A cell of 20 x 30 pixels in each class, of which only the first has a segmentation."""
    root = tmp_path_factory.mktemp("herlev")
    grey = np.full((20, 30, 3), 90, np.uint8)
    grey[0, 0] = 91  # images of one colour are refused
    index = np.full((20, 30), 4, np.uint8)
    index[5:15, 10:25], index[8:12, 12:18] = 3, 2
    index[0, 0], index[1, 1] = 0, 1  # neither labelled nor known
    for number, name in enumerate(HERLEV.names):
        save(root / name / f"149-{number}-001.BMP", grey + np.uint8(number))
    save(root / HERLEV.names[0] / "149-0-001-d.bmp", index, "P")
    return catalog.load(
        "herlev/default", manual_dir=root, data_dir=root / "data", check_counts=False
    )


def test_herlev_without_a_segmentation_is_undefined(herlev):
    regions = cell_regions(herlev, np.argsort(herlev.labels), size=20)
    assert regions.names == ("background", "cytoplasm", "nucleus")
    assert regions.marked.tolist() == [True] + [False] * 6
    shares = area_share(regions.masks)
    assert np.isnan(shares[1:]).all()
    # By thirds the width shrinks: columns 10 to 25 of 30 become 7 to 17 of 20, 12 to 18 8 to 12.
    np.testing.assert_allclose(shares[0], [1 - 10 * 10 / 400, (100 - 16) / 400, 16 / 400])
    mass = relevance_mass(np.ones((7, 20, 20)), regions.masks)
    np.testing.assert_allclose(mass, shares)


def test_sipakmed_contours(tmp_path):
    for number, name in enumerate(SIPAKMED.names):
        folder = tmp_path / "raw" / f"im_{name}"
        pixels = np.full((24, 24, 3), 90 + number, np.uint8)
        pixels[0, 0] = 0  # images of one colour are refused
        save(folder / "CROPPED" / "001_01.bmp", pixels)
    (folder / "CROPPED" / "001_01_cyt.dat").write_text("2,2\n2,20\n20,20\n20,2\n")
    (folder / "CROPPED" / "001_01_nuc.dat").write_text("5,5\n15,5\n15,15\n5,15\n")
    dataset = catalog.load(
        "sipakmed/single_cell",
        manual_dir=tmp_path / "raw",
        data_dir=tmp_path / "data",
        check_counts=False,
    )
    regions = cell_regions(dataset, np.argsort(dataset.labels), size=48)
    assert regions.marked.tolist() == [False, False, False, False, True]
    shares = area_share(regions.masks)[-1]
    cell, nucleus = 18 * 18 / 576, 10 * 10 / 576
    # A contour runs through the middles of pixels, so a side may be a pixel longer or shorter.
    np.testing.assert_allclose(shares, [1 - cell, cell - nucleus, nucleus], atol=0.07)
    assert shares.sum() == pytest.approx(1)


# --- CRIC: positions -----------------------------------------------------------------------------

POSITIONS = {"LSIL": [(40, 30), (140, 90)], "HSIL": [(100, 60)]}
WIDTH, HEIGHT, RADIUS = 172, 128, 9


@pytest.fixture(scope="module")
def cric(tmp_path_factory):
    """A field with a white disc about every nucleus."""
    root = tmp_path_factory.mktemp("cric")
    y, x = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    with (root / "classifications.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["image_filename", "cell_id", "bethesda_system", "nucleus_x", "nucleus_y"])
        for name, points in POSITIONS.items():
            for left, top in points:
                image[np.hypot(x - left, y - top) <= RADIUS] = 255
                writer.writerow(["a.png", 10 * left, name, left, top])
    save(root / "a.png", image)
    return catalog.load("cric/field", manual_dir=root, data_dir=root / "data", check_counts=False)


@pytest.mark.parametrize("resize", RESIZE_MODES)
def test_discs_lie_where_they_were_drawn(cric, resize):
    seen = decode_square(cric.encoded_image(0), 64, resize, scale=0.6)[..., 0] > 127
    masks = nucleus_discs(cric, [0], size=64, resize=resize, scale=0.6, radius=RADIUS)
    assert masks.shape == (1, len(cric.class_names), *picture_shape(64, resize))
    found = masks.any(axis=1)[0]
    assert (found & seen).sum() / (found | seen).sum() > 0.85


def test_discs_are_sorted_by_class_and_have_their_area(cric):
    masks = nucleus_discs(cric, [0], size=128, radius=RADIUS)[0]
    areas = dict(zip(cric.class_names, masks.sum(axis=(1, 2)).tolist(), strict=True))
    disc = np.pi * RADIUS**2 * 128 / WIDTH
    assert areas.pop("LSIL") == pytest.approx(2 * disc, rel=0.05)
    assert areas.pop("HSIL") == pytest.approx(disc, rel=0.05)
    assert set(areas.values()) == {0}


def test_radius_zero_marks_the_pixel_of_the_position(cric):
    masks = nucleus_discs(cric, [0], size=32, radius=0)[0]
    frame = Frame.of((WIDTH, HEIGHT), 32)
    for name, points in POSITIONS.items():
        marked = np.argwhere(masks[cric.class_names.index(name)])[:, ::-1]
        expected = np.floor(np.array(points) * frame.scale + frame.offset)
        assert sorted(marked.tolist()) == sorted(expected.tolist())


def test_what_a_crop_cuts_off_has_no_disc(cric):
    """Of 172 x 128 the middle 128 columns are left, 22 to 150."""
    masks = nucleus_discs(cric, [0], size=128, resize="crop", radius=3)[0]
    rows, columns = np.nonzero(masks[cric.class_names.index("LSIL")])
    assert set(np.unique(columns)) == {*range(15, 21), *range(115, 121)}
    assert set(np.unique(rows)) == {*range(27, 33), *range(87, 93)}


def test_what_a_data_set_lacks_is_bad_input(cric, herlev):
    with pytest.raises(InputError, match="cric/field has no masks"):
        cell_regions(cric, [0], size=32)
    with pytest.raises(InputError, match="herlev/default has no nucleus positions"):
        nucleus_discs(herlev, [0], size=32, radius=3)
    for radius in (-1, np.nan):
        with pytest.raises(InputError, match="radius"):
            nucleus_discs(cric, [0], size=32, radius=radius)
    with pytest.raises(InputError, match="zoom"):
        cell_regions(herlev, [0], size=32, resize="zoom")
    with pytest.raises(InputError, match="zoom"):
        nucleus_discs(cric, [0], size=32, resize="zoom", radius=3)


# --- real data -----------------------------------------------------------------------------------


def test_area_shares_of_real_herlev_cells(shared, tmp_path):
    """40 px pairs, upscaled as a network would see them."""
    dataset = catalog.load(
        "herlev/default",
        manual_dir=shared / "data" / "herlev_40px",
        data_dir=tmp_path,
        check_counts=False,
    )
    indices = np.arange(0, len(dataset), 3)
    regions = cell_regions(dataset, indices, size=64, resize="pad")
    assert regions.marked.all()
    shares = area_share(regions.masks)
    np.testing.assert_allclose(np.nansum(shares, axis=1), 1)
    nucleus = shares[:, regions.names.index("nucleus")]
    medians = {
        name: np.nanmedian(nucleus[dataset.labels[indices] == label])
        for label, name in enumerate(dataset.class_names)
    }
    assert np.isnan(nucleus).mean() < 0.01
    # Superficial nuclei are small points; those of a carcinoma fill a good part of the image.
    assert 0.005 < medians["normal_superficiel"] < 0.06
    assert 0.15 < medians["carcinoma_in_situ"] < 0.6
    # Nuclei are dark, so the darkness of the image lies in them more than their area says.
    images = [decode_square(dataset.encoded_image(i), 64, "pad") for i in indices]
    darkness = 255.0 - np.stack(images)
    mass = relevance_mass(darkness, regions.masks)[:, regions.names.index("nucleus")]
    assert np.nanmean(mass > nucleus) > 0.95


@pytest.mark.slow
def test_real_cric_nuclei_are_darker_than_their_fields(shared, tmp_path):
    dataset = catalog.load(
        "cric/field", manual_dir=shared / "data" / "cric", data_dir=tmp_path, check_counts=False
    )
    indices = np.arange(0, len(dataset), 6)
    masks = nucleus_discs(dataset, indices, size=256, resize="pad", radius=12)
    nuclei = masks.any(axis=1)
    shown = [np.unique(dataset.source[int(i)]["nucleus_classes"]).tolist() for i in indices]
    assert [np.flatnonzero(m.any(axis=(1, 2))).tolist() for m in masks] == shown
    darker = []
    for position, inside in zip(indices, nuclei, strict=True):
        grey = decode_square(dataset.encoded_image(position), 256, "pad").mean(axis=-1)
        with Image.open(io.BytesIO(dataset.encoded_image(position))) as image:
            frame = Frame.of(image.size, 256, "pad")
        top = int(frame.offset[1])
        grey, inside = grey[top : 256 - top], inside[top : 256 - top]
        darker.append(grey[inside].mean() < grey[~inside].mean())
    assert np.mean(darker) > 0.9
