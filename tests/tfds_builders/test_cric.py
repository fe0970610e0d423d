import csv
import io
import json
import logging
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image
from selection import tries
from trees import examples, picture, prepare, refused, save

from cervix_jax.data import catalog
from cervix_jax.data.classes import CRIC
from cervix_jax.data.cric_nuclei import read_nuclei
from cervix_jax.errors import InputError
from tfds_builders.cric.cric_dataset_builder import Builder, cric_config
from tfds_builders.cric.layout import find_fields

NEGATIVE = "Negative for intraepithelial lesion"
SIZE = (172, 128)  # an eighth of the published width
# image, cell, class, x, y; positions in pixels of the small images
CELLS = [
    ("aa", 1, NEGATIVE, 30, 40),
    ("aa", 2, "LSIL", 36, 45),
    ("aa", 3, "ASC-US", 0, 127),
    ("bb", 4, NEGATIVE, 171, 0),
    ("cc", 5, "SCC", 90.5, 60.25),
    ("cc", 6, "HSIL", 150, 100),
    ("dd", 7, "ASC-H", 5, 5),
    ("dd", 8, "LSIL", 60, 70),
]
COLUMNS = ["image_id", "image_filename", "image_doi", "cell_id"]
COLUMNS += ["bethesda_system", "nucleus_x", "nucleus_y"]
WORST = {"aa": "LSIL", "bb": "NILM", "cc": "SCC", "dd": "ASC-H"}


def write_csv(path: Path, cells=CELLS, suffix: str = ".png", scale: float = 1.0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(COLUMNS)
        for image, cell, name, x, y in cells:
            row = [1, image + suffix, "10.6084/m9", cell, name, x * scale, y * scale]
            writer.writerow(row)
    return path


def write_json(path: Path, cells=CELLS, suffix: str = ".png") -> Path:
    fields = {}
    for image, cell, name, x, y in cells:
        entry = {"cell_id": cell, "bethesda_system": name, "nucleus_x": x, "nucleus_y": y}
        fields.setdefault(image, []).append(entry)
    path.write_text(
        json.dumps(
            [
                {"image_id": number, "image_name": image + suffix, "classifications": entries}
                for number, (image, entries) in enumerate(fields.items())
            ]
        )
    )
    return path


def fields(root: Path, suffix: str = ".png", folder: str = "images", size=SIZE) -> Path:
    for seed, image in enumerate(["aa", "bb", "cc", "dd"]):
        save(root / folder / f"{image}{suffix}", seed, size)
    return root


def build(root: Path, data_dir: Path, config="cell", check_counts: bool = False):
    return prepare(Builder(config=config, data_dir=data_dir, check_counts=check_counts), root)


def refuse(root: Path, data_dir: Path, config="cell", check_counts: bool = False) -> str:
    return refused(Builder(config=config, data_dir=data_dir, check_counts=check_counts), root)


def test_damaged_and_unread_files_are_named_at_once(tmp_path, caplog):
    root = fields(tmp_path / "raw")
    write_csv(root / "classifications.csv")
    annotated = {nucleus.image for nucleus in read_nuclei(root / "classifications.csv")}
    first, second = sorted(path for path in root.rglob("*.png") if path.name in annotated)[:2]
    first.write_bytes(b"no")  # the head
    second.write_bytes(second.read_bytes()[:-200])  # the pixels
    (root / "slide.svs").write_bytes(b"x")
    for check_counts in (False, True):
        message = refuse(root, tmp_path / "data", "field", check_counts)
        assert message.startswith("2 files cannot be used: ")
        assert str(first) in message
        assert str(second) in message
    with caplog.at_level(logging.WARNING, "absl"):
        builder = Builder(
            config="field", data_dir=tmp_path / "data", check_counts=False, skip_damaged=True
        )
        assert len(prepare(builder, root)) == len(annotated) - 2
    assert "1 file is not read: 1 .svs" in caplog.text


@pytest.mark.parametrize("kind", ["csv", "json", "both"])
@pytest.mark.parametrize(("suffix", "folder"), [(".png", "."), (".jpg", "a/b")])
def test_layouts_give_the_worst_lesion_and_its_nuclei(tmp_path, kind, suffix, folder):
    root = fields(tmp_path / "raw", suffix, folder)
    if kind != "json":
        write_csv(root / "Classifications.csv")
    if kind != "csv":
        write_json(root / "classifications.json", CELLS if kind == "json" else CELLS[:1])
    made = build(root, tmp_path / "data", "field")
    assert sorted(made) == [f"{image}{suffix}" for image in WORST]
    for image, worst in WORST.items():
        got = made[f"{image}{suffix}"]
        cells = [cell for cell in CELLS if cell[0] == image]
        assert CRIC.names[got["label"]] == worst
        assert got["image_id"] == image.encode()
        assert got["image"].shape == (128, 172, 3)
        assert got["nucleus_positions"].dtype == np.float32
        np.testing.assert_allclose(got["nucleus_positions"], [cell[3:] for cell in cells])
        names = ["NILM" if cell[2] == NEGATIVE else cell[2] for cell in cells]
        assert [CRIC.names[number] for number in got["nucleus_classes"]] == names


def test_cells_are_squares_about_nuclei_mirrored_at_the_border(tmp_path):
    root = fields(tmp_path / "raw")
    write_csv(root / "classifications.csv")
    made = build(root, tmp_path / "data", cric_config("cell", side=160))
    assert sorted(made) == sorted(f"{cell[0]}/{cell[1]}.png" for cell in CELLS)
    pixels = np.asarray(picture(0, SIZE))
    whole = made["aa/1.png"]
    assert whole["image"].shape == (20, 20, 3)  # 160 px at an eighth of the width
    np.testing.assert_array_equal(whole["image"], pixels[30:50, 20:40])
    assert CRIC.names[whole["label"]] == "NILM"
    assert whole["cell_id"] == b"1"
    assert whole["image_id"] == b"aa"
    # Its own nucleus comes first, then the neighbour that lies within the square.
    np.testing.assert_allclose(whole["nucleus_positions"], [(10, 10), (16, 15)])
    assert [CRIC.names[number] for number in whole["nucleus_classes"]] == ["NILM", "LSIL"]
    corner = made["aa/3.png"]["image"]  # the nucleus is the pixel at the lower left
    np.testing.assert_array_equal(corner[:11, 10:], pixels[117:128, :10])
    np.testing.assert_array_equal(corner[10], corner[10, ::1])
    np.testing.assert_array_equal(corner[:11, 9], pixels[117:128, 1])
    np.testing.assert_array_equal(corner[11, 10:], pixels[126, :10])
    half = made["cc/5.png"]
    np.testing.assert_allclose(half["nucleus_positions"][0], (10.5, 10.25))


def test_a_square_larger_than_the_field_is_still_mirrored(tmp_path):
    root = fields(tmp_path / "raw")
    write_csv(root / "classifications.csv")
    made = build(root, tmp_path / "data", cric_config("cell", side=1376))
    assert {ex["image"].shape for ex in made.values()} == {(172, 172, 3)}
    # The square about aa/1 ends at row 125 and that about aa/3 begins at row 41.
    assert [len(made[f"aa/{n}.png"]["nucleus_positions"]) for n in (1, 2, 3)] == [2, 3, 2]


def test_settings_have_folders_of_their_own(tmp_path):
    assert cric_config("cell", side=100) is cric_config("cell")
    assert cric_config("cell", side=64).name == "cell-side_64"
    assert cric_config("field", positions_width=1376).name == "field-positions_width_1376"
    for base, given_settings, message in (
        ("cell", {"side": 7}, "from 8 to 1376"),
        ("cell", {"side": True}, "whole number"),
        ("cell", {"side": 64.5}, "whole number"),
        ("cell", {"size": 64}, "unknown; give one of side, positions_width"),
        ("field", {"side": 64}, "unknown; give one of positions_width"),
    ):
        with pytest.raises(InputError, match=message):
            cric_config(base, **given_settings)
    root = fields(tmp_path / "raw")
    write_csv(root / "classifications.csv")
    shared_arguments = {"manual_dir": root, "data_dir": tmp_path / "data", "check_counts": False}
    small = catalog.load("cric/cell", settings={"side": 80}, **shared_arguments)
    large = catalog.load("cric/cell", **shared_arguments)
    assert small.path != large.path
    assert small.decoded_source[0]["image"].shape == (10, 10, 3)
    assert set(large.groups) == set(WORST)
    assert large.group_feature == "image_id"


# --- the frame of the positions -----------------------------------------------------------------


def test_published_positions_on_smaller_copies_are_scaled(tmp_path):
    root = fields(tmp_path / "raw")
    write_csv(root / "classifications.csv", scale=8)
    positions = np.concatenate([field.positions for field in find_fields(root)])
    np.testing.assert_allclose(positions, [cell[3:] for cell in CELLS], rtol=1e-6)


def test_fields_of_the_published_width_are_taken_as_they_are(tmp_path):
    root = tmp_path / "raw"
    save(root / "aa.png", 0, (1376, 40))
    write_csv(root / "classifications.csv", [("aa", 1, "LSIL", 1375, 39)])
    np.testing.assert_array_equal(find_fields(root)[0].positions, [(1375, 39)])
    write_csv(root / "classifications.csv", [("aa", 1, "LSIL", 1376, 39)])
    with pytest.raises(InputError, match=r"line 2: the nucleus at \(1376, 39\) is outside"):
        find_fields(root)


def test_one_wrong_row_does_not_change_the_frame(tmp_path):
    root = fields(tmp_path)
    many = [("aa", number, "LSIL", number % 170, number % 120) for number in range(400)]
    path = write_csv(root / "classifications.csv", [*many, ("bb", 401, "LSIL", 172, 10)])
    with pytest.raises(InputError) as error:
        find_fields(root)
    assert f"{path}, line 402: the nucleus at (172, 10) is outside" in str(error.value)
    assert "positions_width" in str(error.value)


def test_the_frame_can_be_given(tmp_path):
    root = fields(tmp_path)
    write_csv(root / "classifications.csv", [("aa", 1, "LSIL", 100, 80)])
    assert find_fields(root)[0].positions[0].tolist() == [100, 80]
    assert find_fields(root, positions_width=344)[0].positions[0].tolist() == [50, 40]
    with pytest.raises(InputError, match="is outside"):
        find_fields(root, positions_width=86)


# --- what goes wrong ----------------------------------------------------------------------------


def test_missing_fields_are_named_or_left_out(tmp_path, caplog):
    root = fields(tmp_path / "raw")
    path = write_csv(root / "classifications.csv")
    (root / "images" / "cc.png").unlink()
    save(root / "images" / "extra.png")
    message = refuse(root, tmp_path / "data", check_counts=True)
    assert f"{path}, line 6: there is no image cc.png" in message
    assert "--nocheck_counts" in message
    with caplog.at_level(logging.WARNING, "absl"):
        assert len(build(root, tmp_path / "data", "field")) == 3
    assert "2 cells of 1 missing images are left out" in caplog.text
    assert "1 images have no annotated cell" in caplog.text


def test_counts_are_official_unless_told_otherwise(tmp_path, monkeypatch):
    root = fields(tmp_path / "raw")
    write_csv(root / "classifications.csv")
    message = refuse(root, tmp_path / "data", check_counts=True)
    assert "4 annotated fields, expected 400" in message
    monkeypatch.setattr("tfds_builders.cric.cric_dataset_builder.NUM_FIELDS", 4)
    message = refuse(root, tmp_path / "data", "field", check_counts=True)
    assert "NILM has 2, expected 6779" in message


def test_missing_files(tmp_path):
    assert "missing or empty" in refuse(tmp_path / "nowhere", tmp_path / "data")
    root = fields(tmp_path / "raw")
    assert "contains no classifications.csv or" in refuse(root, tmp_path / "data")
    write_csv(root / "classifications.csv", suffix="_other.png")
    assert "none of its images is below" in refuse(root, tmp_path / "data")
    write_csv(root / "images" / "classifications.csv")
    assert "are duplicates of the same item" in refuse(root, tmp_path / "data")


@pytest.mark.parametrize("config", ["cell", "field"])
def test_damaged_and_doubled_images_are_named(tmp_path, config):
    root = fields(tmp_path / "raw")
    write_csv(root / "classifications.csv")
    path = root / "images" / "bb.png"
    whole = path.read_bytes()
    for content in (whole[:-400], b"", b"<html>"):
        path.write_bytes(content)
        assert str(path) in refuse(root, tmp_path / "data", config)
    path.write_bytes(whole)
    save(root / "copy" / "bb.jpg")
    assert "copy/bb.jpg" in refuse(root, tmp_path / "data", config)


HEAD = "image_filename,cell_id,bethesda_system,nucleus_x,nucleus_y\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (HEAD + "aa.png,1,LSYL,3,4\n", "line 2: bethesda_system='LSYL' is unknown"),
        (HEAD + "aa.png,1,LSIL,3,4\naa.png,2,LSIL,x,4\n", "line 3: nucleus_x='x'"),
        (HEAD + "aa.png,1,LSIL,3,nan\n", "line 2: nucleus_y='nan'"),
        (HEAD + "aa.png,1,LSIL,-3,4\n", "line 2: nucleus_x='-3'"),
        (HEAD + "aa.png,1,LSIL,3\n", "line 2: has 4 cells"),
        (HEAD + "aa.png,1,LSIL,3,4,5\n", "line 2: has 6 cells"),
        (
            HEAD + "aa.png,1,LSIL,3,4\naa.png,1,SCC,3,4\n",
            "line 3: cell 1 of aa.png is listed twice",
        ),
        (HEAD + "aa.png,../1,LSIL,3,4\n", "line 2: cell_id='../1'"),
        (HEAD + "../aa.png,1,LSIL,3,4\n", "line 2: image_filename='../aa.png'"),
        (HEAD + ",1,LSIL,3,4\n", "line 2: image_filename=''"),
        (HEAD + 'aa.png,1,"LSIL,3,4\n', "line 2: not a CSV row"),
        (HEAD, "contains no cells"),
        ("", "line 1: no column image_filename, cell_id"),
        (
            HEAD.replace("cell_id", "cell"),
            "line 1: no column cell_id (found: image_filename, cell, ",
        ),
    ],
)
def test_broken_rows_name_the_line(tmp_path, text, message):
    path = tmp_path / "classifications.csv"
    path.write_text(text)
    with pytest.raises(InputError) as error:
        read_nuclei(path)
    assert str(path) in str(error.value)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is not valid JSON"),
        ("[" * 100_000, "is not valid JSON"),
        ("{}", "must be a list of images"),
        ('[{"image_name": "aa.png"}]', "image 1: must have image_name and a list"),
        ('[{"image_name": "aa.png", "classifications": [3]}]', "cell 1: must be an object"),
        ('[{"image_name": "aa.png", "classifications": [{"cell_id": 1}]}]', "has no bethesda"),
        ("[]", "contains no cells"),
    ],
)
def test_broken_json_names_the_entry(tmp_path, content, message):
    path = tmp_path / "classifications.json"
    path.write_text(content)
    with pytest.raises(InputError) as error:
        read_nuclei(path)
    assert str(path) in str(error.value)
    assert message in str(error.value)


def test_text_that_is_not_utf8_is_named(tmp_path):
    path = tmp_path / "classifications.csv"
    path.write_bytes(HEAD.encode() + b"\xff\xfe")
    with pytest.raises(InputError, match="is not UTF-8 text"):
        read_nuclei(path)


def test_spreadsheet_exports_are_read(tmp_path):
    path = tmp_path / "classifications.csv"
    text = HEAD + "aa.png, 7 ,nilm,3,4\nbb.png,8,asc_us,1e1,0.5\n"
    path.write_bytes(b"\xef\xbb\xbf" + text.replace(",", ";").replace("\n", "\r\n").encode())
    first, second = read_nuclei(path)
    assert (first.cell_id, CRIC.names[first.label]) == ("7", "NILM")
    assert (CRIC.names[second.label], second.x, second.y) == ("ASC-US", 10.0, 0.5)


cell_texts = st.one_of(
    st.sampled_from(["aa.png", "7", "LSIL", NEGATIVE, "3", "1e400", "-0", "nan", "", '"', "\r"]),
    st.floats().map(repr),
    st.text(max_size=8),
)
rows = st.lists(st.lists(cell_texts, min_size=4, max_size=6).map(",".join), max_size=5)


@settings(max_examples=tries(150))
@given(content=st.one_of(st.binary(max_size=100), rows.map(lambda r: HEAD + "\n".join(r))))
@example(content=HEAD + "aa.png,1,LSIL,3,4\n")
@example(content=HEAD + "aa.png,1,LSIL,1e308,4\n\n\n")
@example(content=HEAD + "a\0a,1,LSIL,3,4")
def test_any_csv_is_read_or_refused(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "fuzz.csv"
    path.write_bytes(
        content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass")
    )
    try:
        nuclei = read_nuclei(path)
    except InputError as error:
        message = str(error)
    else:
        assert nuclei
        for nucleus in nuclei:
            assert 0 <= nucleus.label < 6
            assert min(nucleus.x, nucleus.y) >= 0
            assert np.isfinite([nucleus.x, nucleus.y]).all()
            assert "/" not in nucleus.image + nucleus.cell_id
        return
    assert str(path) in message
    assert "\n" not in message


# --- description and real images ----------------------------------------------------------------


def test_description_is_complete_and_prepared_data_need_no_code(tmp_path):
    root = fields(tmp_path / "raw")
    write_csv(root / "classifications.csv")
    builder = Builder(config="cell", data_dir=tmp_path / "data", check_counts=False)
    made = prepare(builder, root)
    assert "rezende2021" in builder.info.citation
    assert "positions_width" in builder.info.description
    again = tfds.builder_from_directory(builder.data_dir)
    assert tuple(again.info.features["label"].names) == CRIC.names
    np.testing.assert_equal(examples(again), made)


@pytest.fixture(scope="module")
def real_dir(shared, tmp_path_factory):
    return shared / "data" / "cric", tmp_path_factory.mktemp("tfds")


def test_real_fields(real_dir):
    root, data_dir = real_dir
    dataset = catalog.load("cric/field", manual_dir=root, data_dir=data_dir, check_counts=False)
    assert len(dataset) == len(set(dataset.groups)) == 171
    assert list(dataset.class_counts.values()) == [29, 63, 59, 4, 5, 11]
    name = dataset.filenames[3]
    assert dataset.encoded_image(3) == (root / "images" / name).read_bytes()
    cells = [ex["nucleus_classes"] for ex in (dataset.source[i] for i in range(171))]
    assert np.bincount(np.concatenate(cells)).tolist() == [3366, 268, 324, 62, 260, 61]
    with pytest.raises(InputError, match="171 annotated fields, expected 400"):
        catalog.load("cric/cell", manual_dir=root, data_dir=data_dir)


@pytest.mark.slow
def test_real_cells_show_dark_nuclei_in_the_middle(real_dir):
    root, data_dir = real_dir
    dataset = catalog.load("cric/cell", manual_dir=root, data_dir=data_dir, check_counts=False)
    assert len(dataset) == 4341
    assert list(dataset.class_counts.values()) == [3366, 268, 324, 62, 260, 61]
    assert len(set(dataset.groups)) == 171
    darker = 0
    for index in range(0, 4341, 14):
        with Image.open(io.BytesIO(dataset.encoded_image(index))) as image:
            grey = np.asarray(image.convert("L"), np.float32)
        assert grey.shape == (93, 93)
        darker += grey[40:53, 40:53].mean() < grey.mean() - 10
    assert darker > 0.85 * len(range(0, 4341, 14))


def test_published_positions_are_recognised_on_the_real_copies(shared, tmp_path):
    """Positions in pixels of the published fields lead to the same places."""
    root = shared / "data" / "cric"
    (tmp_path / "images").symlink_to(root / "images")
    with (root / "classifications.csv").open(newline="") as stream:
        table = list(csv.DictReader(stream))
    for row in table:
        for key in ("nucleus_x", "nucleus_y"):
            row[key] = float(row[key]) * 1376 / 1280
    with (tmp_path / "classifications.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, table[0].keys())
        writer.writeheader()
        writer.writerows(table)
    for ours, theirs in zip(find_fields(root), find_fields(tmp_path), strict=True):
        assert ours.path.name == theirs.path.name
        np.testing.assert_allclose(ours.positions, theirs.positions, rtol=1e-5)
