import csv
import io
import logging
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image
from trees import examples, picture, prepare, refused, save

from cervix_jax.data import catalog, divide, splits
from cervix_jax.data.classes import HERLEV
from cervix_jax.errors import InputError
from tfds_builders.herlev.herlev_dataset_builder import Builder
from tfds_builders.herlev.layout import class_of, find_items
from tfds_builders.herlev.segmentation import PALETTE, read_segmentation


def segmentation(seed: int, size: tuple[int, int] = (24, 22)) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 5, (size[1], size[0]), np.uint8)


def palette_image(indices: np.ndarray, palette=PALETTE) -> Image.Image:
    image = Image.fromarray(indices)
    image.putpalette([channel for colour in palette for channel in colour])
    return image


def add_cell(folder: Path, stem: str, seed: int, suffix: str = ".BMP", mask: bool = True) -> None:
    save(folder / f"{stem}{suffix}", seed)
    if mask:
        palette_image(segmentation(seed)).save(folder / f"{stem}-d.bmp")


def official(root: Path, cells: int = 2) -> Path:
    top = root / "smear2005" / "New database pictures"
    for number, name in enumerate(HERLEV.names):
        for cell in range(cells):
            add_cell(top / name, f"14{number}-{number}{cell}-001", 10 * number + cell)
    return root


def kaggle(root: Path) -> Path:
    for number, name in enumerate(HERLEV.names):
        for cell, part in enumerate(("train", "test")):
            add_cell(root / part / name, f"14{number}-{number}{cell}-001", 10 * number + cell)
    return root


def plain(root: Path) -> Path:
    for number, name in enumerate(HERLEV.names):
        for cell in range(2):
            stem = f"14{number}-{number}{cell}-001"
            add_cell(root / name, stem, 10 * number + cell, ".png", mask=False)
    return root


def build(root: Path, data_dir: Path, check_counts: bool = False):
    return prepare(Builder(data_dir=data_dir, check_counts=check_counts), root)


def refuse(root: Path, data_dir: Path, check_counts: bool = False) -> str:
    return refused(Builder(data_dir=data_dir, check_counts=check_counts), root)


def test_damaged_and_unread_files_are_named_at_once(tmp_path, caplog):
    root = official(tmp_path / "raw")
    first, second = sorted(path for path in root.rglob("*.BMP") if "-d" not in path.stem)[:2]
    first.write_bytes(b"no")
    second.write_bytes(second.read_bytes()[:-200])
    (first.parent / "slide.svs").write_bytes(b"x")
    message = refuse(root, tmp_path / "data")
    assert message.startswith("2 files cannot be used: ")
    assert str(first) in message
    assert str(second) in message
    with caplog.at_level(logging.WARNING, "absl"):
        builder = Builder(data_dir=tmp_path / "data", check_counts=False, skip_damaged=True)
        assert len(prepare(builder, root)) == 12
    assert "1 file is not read: 1 .svs" in caplog.text


@pytest.mark.parametrize("layout", [official, kaggle, plain])
def test_layouts_give_the_same_examples(tmp_path, layout):
    made = build(layout(tmp_path / "raw"), tmp_path / "data")
    suffix = ".png" if layout is plain else ".BMP"
    assert len(made) == 14
    for number, name in enumerate(HERLEV.names):
        for cell in range(2):
            example = made[f"{name}/14{number}-{number}{cell}-001{suffix}"]
            assert example["label"] == number
            assert example["slide_id"] == f"14{number}".encode()
            seed = 10 * number + cell
            np.testing.assert_array_equal(example["image"], np.asarray(picture(seed)))
            assert example["has_masks"] == (layout is not plain)
            indices = segmentation(seed) if layout is not plain else np.zeros((22, 24))
            np.testing.assert_array_equal(example["nucleus_mask"][..., 0], indices == 2)
            np.testing.assert_array_equal(example["cytoplasm_mask"][..., 0], indices == 3)


@pytest.mark.parametrize(
    ("folder", "name"),
    [(name, name) for name in HERLEV.names]
    + [
        ("Normal_Superficial", "normal_superficiel"),
        ("superficial", "normal_superficiel"),
        ("Mild dysplasia", "light_dysplastic"),
        ("3. Light-Dysplastic", "light_dysplastic"),
        ("carcinoma", "carcinoma_in_situ"),
        ("CIS", "carcinoma_in_situ"),
        ("Carcinoma In Situ", "carcinoma_in_situ"),
        ("severe_dysplasia", "severe_dysplastic"),
        ("Columnar", "normal_columnar"),
        ("normal", None),
        ("train", None),
        ("not_severe_dysplastic", None),
        ("dysplastic", None),
    ],
)
def test_spellings_of_folders(folder, name):
    assert class_of(folder) == name


def test_the_old_database_beside_is_left_alone(tmp_path):
    root = official(tmp_path)
    for name in HERLEV.names:
        save(tmp_path / "smear2005" / "Old database" / name / "1-1-001.BMP")
        save(tmp_path / "aaa" / name / "2-2-002.BMP")
    assert len(find_items(root)) == 14


def test_names_that_do_not_fit_and_masks_alone_are_warned_about_once(tmp_path, caplog):
    root = official(tmp_path / "raw")
    folder = root / "smear2005" / "New database pictures" / "carcinoma_in_situ"
    save(folder / "copy of 1.BMP")
    save(folder / "thumb.jpg")
    (folder / "146-60-001.BMP").unlink()
    (folder / "notes.txt").write_text("x")
    palette_image(segmentation(3)).save(folder / "146-61-001-D.BMP.tmp", "BMP")
    with caplog.at_level(logging.WARNING, "absl"):
        items = find_items(root)
    assert len(items) == 13
    assert "2 images are not named" in caplog.text
    assert "1 segmentations have no image" in caplog.text


def test_images_without_mask_beside_some_with_it(tmp_path, caplog):
    root = official(tmp_path / "raw")
    (root / "smear2005/New database pictures/carcinoma_in_situ/146-60-001-d.bmp").unlink()
    with caplog.at_level(logging.WARNING, "absl"):
        made = build(root, tmp_path / "data")
    assert "1 of 14 images have no segmentation" in caplog.text
    assert sorted(name for name, ex in made.items() if not ex["has_masks"]) == [
        "carcinoma_in_situ/146-60-001.BMP"
    ]


# --- segmentations ------------------------------------------------------------------------------


def test_palette_in_another_order_and_copies_without_palette(tmp_path):
    indices = segmentation(1)
    order = np.asarray([3, 4, 0, 2, 1])
    shuffled = palette_image(order[indices].astype(np.uint8), [PALETTE[i] for i in (2, 4, 3, 0, 1)])
    rgb = Image.fromarray(np.asarray(PALETTE, np.uint8)[indices])
    grey = Image.fromarray(indices)
    for number, image in enumerate((palette_image(indices), shuffled, rgb, grey)):
        path = tmp_path / f"{number}-d.png"
        image.save(path)
        nucleus, cytoplasm = read_segmentation(path, (24, 22))
        np.testing.assert_array_equal(nucleus, indices == 2)
        np.testing.assert_array_equal(cytoplasm, indices == 3)


def test_what_is_no_segmentation_of_the_image_is_named(tmp_path):
    root = official(tmp_path / "raw")
    folder = root / "smear2005/New database pictures/carcinoma_in_situ"
    path = folder / "146-60-001-d.bmp"
    for image, problem in (
        (palette_image(segmentation(0, (20, 22))), "20 x 22 px, but its image has 24 x 22 px"),
        (picture(5), "not a segmentation with the five colours"),
        (palette_image(segmentation(0) + 9, [(i, i, i) for i in range(20)]), "five colours"),
    ):
        image.save(path)
        message = refuse(root, tmp_path / "data")
        assert str(path) in message
        assert problem in message


# --- what goes wrong ----------------------------------------------------------------------------


def test_missing_and_empty_folders(tmp_path):
    root = plain(tmp_path / "raw")
    (root / "normal_columnar").rename(root / "cylindrical")
    message = refuse(root, tmp_path / "data")
    assert "no folder normal_columnar (found: normal_superficiel, normal_inter" in message
    (root / "cylindrical").rename(root / "normal_columnar")
    for path in (root / "normal_columnar").iterdir():
        path.unlink()
    message = refuse(root, tmp_path / "data")
    assert "normal_columnar has 0" in message
    assert "every class needs at least one" in message
    assert "missing or empty" in refuse(tmp_path / "nowhere", tmp_path / "data")


def test_counts_are_official_unless_told_otherwise(tmp_path):
    message = refuse(official(tmp_path / "raw"), tmp_path / "data", check_counts=True)
    assert "carcinoma_in_situ has 2, expected 150" in message
    assert "normal_superficiel has 2, expected 74" in message
    assert "--nocheck_counts" in message


@pytest.mark.parametrize(
    "second", ["carcinoma_in_situ/146-60-001.jpg", "Mild dysplasia/146-60-001.png"]
)
def test_the_same_cell_twice_names_both(tmp_path, second):
    root = plain(tmp_path)
    if "Mild" in second:
        (root / "light_dysplastic").rename(root / "Mild dysplasia")
    save(root / second, 99)
    with pytest.raises(InputError) as error:
        find_items(root)
    assert str(root / "carcinoma_in_situ/146-60-001.png") in str(error.value)
    assert str(root / second) in str(error.value)


@pytest.mark.parametrize("content", [b"", b"BM", b"<html>404</html>"])
def test_damaged_images_are_named(tmp_path, content):
    root = official(tmp_path / "raw")
    path = root / "smear2005/New database pictures/normal_columnar/142-20-001.BMP"
    path.write_bytes(content or path.read_bytes()[:-300])
    assert str(path) in refuse(root, tmp_path / "data")


# --- description and real images ----------------------------------------------------------------


def test_description_is_complete_and_prepared_data_need_no_code(tmp_path):
    builder = Builder(data_dir=tmp_path / "data", check_counts=False)
    made = prepare(builder, official(tmp_path / "raw"))
    assert "jantzen2005" in builder.info.citation
    assert "slide_id" in builder.info.description
    again = tfds.builder_from_directory(builder.data_dir)
    assert tuple(again.info.features["label"].names) == HERLEV.names
    np.testing.assert_equal(examples(again), made)


@pytest.fixture(scope="module")
def real(shared, tmp_path_factory):
    return catalog.load(
        "herlev/default",
        manual_dir=shared / "data" / "herlev_200px",
        data_dir=tmp_path_factory.mktemp("tfds"),
    )


def test_real_set_and_the_papers_split(real, shared):
    assert len(real) == 917
    assert real.class_counts == Builder.OFFICIAL_COUNTS["default"]
    assert len(set(real.groups)) == 323
    with (shared / "reference" / "paper_split_herlev.csv").open(newline="") as stream:
        expected = {
            f"{row['class']}/{Path(row['file']).stem}": row["split"]
            for row in csv.DictReader(stream)
        }
    got = divide.split_dataset(real, protocol="paper")
    names = [name.rpartition(".")[0] for name in real.filenames]
    assert dict(zip(names, got.tolist(), strict=True)) == expected
    for fold in range(5):
        grouped = divide.split_dataset(real, protocol="cluster", fold=fold)
        assert splits.leakage(grouped, real.groups).num_seen == 0


def test_real_jpegs_are_kept_byte_for_byte(real, shared):
    name = real.filenames[5]
    assert real.encoded_image(5) == (shared / "data" / "herlev_200px" / name).read_bytes()


def test_real_segmentations(shared, tmp_path):
    dataset = catalog.load(
        "herlev/default",
        manual_dir=shared / "data" / "herlev_40px",
        data_dir=tmp_path,
        check_counts=False,
    )
    assert len(dataset) == 903
    ratios = {name: [] for name in HERLEV.names}
    for index in range(0, len(dataset), 3):
        example = dataset.source[index]
        assert example["has_masks"]
        nucleus, cytoplasm = (
            np.asarray(Image.open(io.BytesIO(example[key]))) > 0
            for key in ("nucleus_mask", "cytoplasm_mask")
        )
        assert not (nucleus & cytoplasm).any()
        share = nucleus.sum() / max((nucleus | cytoplasm).sum(), 1)
        ratios[HERLEV.names[example["label"]]].append(share)
    medians = [float(np.median(ratios[name])) for name in HERLEV.names]
    # The nucleus takes more of the cell from superficial to intermediate and with every grade.
    assert medians[0] < medians[1] < medians[3] < medians[4] < medians[5] < medians[6]
    with pytest.raises(InputError, match="carcinoma_in_situ 148 instead of 150"):
        catalog.load("herlev/default", data_dir=tmp_path)
