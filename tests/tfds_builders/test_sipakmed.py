import io
import logging
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from cervix_jax.data import catalog
from cervix_jax.data.classes import SIPAKMED
from cervix_jax.errors import InputError
from cervix_jax.files import background
from tfds_builders.sipakmed.layout import CLASS_FOLDERS, find_items
from tfds_builders.sipakmed.sipakmed_dataset_builder import Builder

SQUARE = "5.0,5.0\n15.0,5.0\n15.0,15.0\n5.0,15.0\n"
CELL = "2,2\n2,20\n20,20\n20,2\n"


def picture(seed: int, size: tuple[int, int] = (24, 22)) -> Image.Image:
    rng = np.random.default_rng(seed)
    return Image.fromarray(rng.integers(0, 256, (size[1], size[0], 3), np.uint8))


def save(path: Path, seed: int = 0, **kwargs) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture(seed).save(path, **kwargs)
    return path


def make_tree(root: Path, nested=(), suffix: str = ".bmp", cells: int = 2) -> Path:
    """One field with `cells` cells in every class, official layout or nested as on Kaggle."""
    for number, name in enumerate(CLASS_FOLDERS):
        folder = root / name / name if name in nested else root / name
        save(folder / f"001{suffix}", number)
        for cell in range(1, cells + 1):
            save(folder / "CROPPED" / f"001_{cell:02d}{suffix}", 10 * number + cell)
    return root


def build(root: Path, data_dir: Path, config: str = "single_cell", check_counts: bool = False):
    builder = Builder(config=config, data_dir=data_dir, check_counts=check_counts)
    builder.download_and_prepare(
        download_config=tfds.download.DownloadConfig(manual_dir=root), file_format="array_record"
    )
    source = builder.as_data_source("train")
    return {ex["filename"].decode(): ex for ex in (source[i] for i in range(len(source)))}


NESTED_MIX = CLASS_FOLDERS[1:3]


@pytest.mark.parametrize("nested", [(), CLASS_FOLDERS, NESTED_MIX], ids=["flat", "nested", "mixed"])
@pytest.mark.parametrize("above", ["", "versions/1"], ids=["here", "below"])
def test_layouts_give_the_same_examples(tmp_path, nested, above):
    make_tree(tmp_path / "raw" / above, nested)
    crops = build(tmp_path / "raw", tmp_path / "data")
    fields = build(tmp_path / "raw", tmp_path / "data", "multi_cell")
    assert sorted(crops) == [f"{c}/001_0{n}.bmp" for c in CLASS_FOLDERS for n in (1, 2)]
    assert sorted(fields) == [f"{c}/001.bmp" for c in CLASS_FOLDERS]
    for number, name in enumerate(CLASS_FOLDERS):
        crop, field = crops[f"{name}/001_02.bmp"], fields[f"{name}/001.bmp"]
        assert crop["label"] == field["label"] == number
        assert crop["cluster_id"] == field["cluster_id"] == f"{name}/001".encode()
        np.testing.assert_array_equal(crop["image"], np.asarray(picture(10 * number + 2)))
        np.testing.assert_array_equal(field["image"], np.asarray(picture(number)))
        assert not crop["has_masks"]
        assert crop["nucleus_mask"].shape == (22, 24, 1)
        assert not crop["nucleus_mask"].any()
        assert not crop["cytoplasm_mask"].any()


def test_names_in_any_case_and_droppings_of_systems(tmp_path):
    root = make_tree(tmp_path / "raw")
    parabasal = root / "im_Parabasal"
    (parabasal / "CROPPED").rename(parabasal / "cropped")
    (parabasal / "cropped" / "001_01.bmp").rename(parabasal / "cropped" / "001_01.BMP")
    (parabasal / "001.bmp").rename(parabasal / "001.BMP")
    parabasal.rename(root / "IM_parabasal")
    for name in ("._001.bmp", "Thumbs.db", ".DS_Store", "list.txt", "CROPPED/._001_01.bmp"):
        (root / "im_Metaplastic" / name).write_bytes(b"junk")
    (root / "__MACOSX" / "im_Metaplastic").mkdir(parents=True)
    (root / "__MACOSX" / "im_Metaplastic" / "002.bmp").write_bytes(b"junk")
    assert [i.filename for i in find_items(root, crops=True)][6:8] == [
        "im_Parabasal/001_01.BMP",
        "im_Parabasal/001_02.bmp",
    ]
    assert len(find_items(root, crops=False)) == 5


def test_formats_are_kept_or_reencoded_without_loss(tmp_path):
    root = make_tree(tmp_path / "raw")
    folder = root / "im_Parabasal" / "CROPPED"
    save(folder / "002_01.jpg", 1, quality=95)
    save(folder / "002_02.JPEG", 2)
    save(folder / "002_03.png", 3)
    picture(4).convert("L").save(folder / "002_04.png")
    picture(5).convert("P").save(folder / "002_05.bmp")
    build(root, tmp_path / "data")
    builder = Builder(config="single_cell", data_dir=tmp_path / "data")
    source = builder.as_data_source("train", decoders={"image": tfds.decode.SkipDecoding()})
    raw = {ex["filename"].decode(): ex["image"] for ex in (source[i] for i in range(len(source)))}
    for name in ("002_01.jpg", "002_02.JPEG", "002_03.png"):
        assert raw[f"im_Parabasal/{name}"] == (folder / name).read_bytes()
    for name in ("001_01.bmp", "002_04.png", "002_05.bmp"):
        stored = Image.open(io.BytesIO(raw[f"im_Parabasal/{name}"]))
        assert (stored.format, stored.mode) == ("PNG", "RGB")
        np.testing.assert_array_equal(
            np.asarray(stored), np.asarray(Image.open(folder / name).convert("RGB"))
        )


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("im_Parabasal/CROPPED/001_01.bmp", "im_Parabasal/CROPPED/001_01.png"),
        ("im_Parabasal/CROPPED/001_01.bmp", "im_Parabasal/im_Parabasal/CROPPED/001_01.bmp"),
    ],
)
def test_the_same_cell_twice_names_both(tmp_path, first, second):
    root = make_tree(tmp_path)
    save(root / second)
    with pytest.raises(InputError) as error:
        find_items(root, crops=True)
    assert str(root / first) in str(error.value)
    assert str(root / second) in str(error.value)
    assert len(find_items(root, crops=False)) == 5


def test_unknown_image_names_are_left_out_with_one_warning(tmp_path, caplog):
    root = make_tree(tmp_path)
    save(root / "im_Parabasal" / "001 (1).bmp")
    save(root / "im_Parabasal" / "CROPPED" / "002.bmp")
    with caplog.at_level(logging.WARNING, "absl"):
        assert len(find_items(root, crops=False)) == 5
    assert "2 images are not named" in caplog.text


# --- what goes wrong: named, and nothing left behind --------------------------------------------


def refused(root: Path, data_dir: Path, config: str = "single_cell", check_counts=False) -> str:
    with pytest.raises(InputError) as error:
        build(root, data_dir, config, check_counts)
    assert not (data_dir / "sipakmed" / config / "1.0.0").exists()
    assert not list(data_dir.glob(f"sipakmed/{config}/incomplete*"))
    return str(error.value)


def test_damaged_and_unread_files_are_named_at_once(tmp_path, caplog):
    root = make_tree(tmp_path / "raw")
    cropped = root / CLASS_FOLDERS[0] / "CROPPED"
    (cropped / "001_01.bmp").write_bytes(b"no")
    Image.new("RGB", (9, 9)).save(cropped / "001_02.bmp")
    (cropped / "note.txt").write_bytes(b"x")
    message = refused(root, tmp_path / "data")
    assert message.startswith("2 files cannot be used: ")
    assert "001_01.bmp: is not a readable" in message
    assert "001_02.bmp: has one colour only" in message
    with caplog.at_level(logging.WARNING, "absl"):
        dataset = catalog.load(
            "sipakmed/single_cell", manual_dir=root, data_dir=tmp_path / "data",
            check_counts=False, skip_damaged=True,
        )  # fmt: skip
    assert len(dataset) == 8
    assert "1 file is not read: 1 .txt" in caplog.text


def test_missing_folders(tmp_path):
    root = make_tree(tmp_path / "raw")
    (root / "im_Metaplastic").rename(root / "metaplastic")
    (root / "im_Metaplastic.7z").write_bytes(b"7z")
    message = refused(root, tmp_path / "data")
    assert "no folder im_Metaplastic (found: im_Dyskeratotic, im_Koilocytotic, im_P" in message
    assert "im_Metaplastic.7z" in message
    assert "missing or empty" in refused(tmp_path / "nowhere", tmp_path / "data")
    (tmp_path / "empty").mkdir()
    assert "missing or empty" in refused(tmp_path / "empty", tmp_path / "data")


def test_counts_are_official_unless_told_otherwise(tmp_path):
    root = make_tree(tmp_path / "raw")
    message = refused(root, tmp_path / "data", check_counts=True)
    assert "im_Dyskeratotic has 2, expected 813" in message
    assert "im_Superficial-Intermediate has 2, expected 831" in message
    assert "check_counts=False" in message
    message = refused(root, tmp_path / "data", "multi_cell", check_counts=True)
    assert "im_Metaplastic has 1, expected 271" in message
    (root / "im_Metaplastic" / "001.bmp").unlink()
    message = refused(root, tmp_path / "data", "multi_cell")
    assert "im_Metaplastic has 0" in message
    assert "im_Parabasal" not in message.replace(str(root), "")


@pytest.mark.parametrize("suffix", [".bmp", ".png", ".jpg"])
@pytest.mark.parametrize("config", ["single_cell", "multi_cell_masked"])
def test_truncated_image_is_named(tmp_path, suffix, config):
    root = make_tree(tmp_path / "raw", suffix=suffix)
    name = "CROPPED/001_02" if config == "single_cell" else "001"
    path = root / "im_Parabasal" / f"{name}{suffix}"
    path.write_bytes(path.read_bytes()[:-400])
    assert str(path) in refused(root, tmp_path / "data", config)


@pytest.mark.parametrize("content", [b"", b"BM", b"<html>404</html>", b"GIF89a" + bytes(50)])
def test_what_is_no_image_is_named(tmp_path, content):
    root = make_tree(tmp_path / "raw")
    path = root / "im_Parabasal" / "CROPPED" / "001_02.bmp"
    path.write_bytes(content)
    assert str(path) in refused(root, tmp_path / "data")


def test_decompression_bomb_is_named(tmp_path):
    root = make_tree(tmp_path / "raw")
    path = root / "im_Parabasal" / "CROPPED" / "003_01.png"
    Image.new("1", (9000, 9000)).save(path)
    assert "pixels" in refused(root, tmp_path / "data")
    Image.new("1", (14000, 14000)).save(path)
    assert str(path) in refused(root, tmp_path / "data")


# --- contours -----------------------------------------------------------------------------------


def test_contours_of_cells_become_masks(tmp_path, caplog):
    root = make_tree(tmp_path / "raw", nested=NESTED_MIX)
    folder = root / "im_Parabasal" / "CROPPED"
    (folder / "001_01_cyt.dat").write_text(CELL)
    (folder / "001_01_nuc.dat").write_text(SQUARE.replace(",", " "))
    nested = root / "im_Metaplastic" / "im_Metaplastic" / "CROPPED"
    (nested / "001_01_CYT.dat").write_bytes(b"\xef\xbb\xbf2, 2\r\n2, 12\r\n12, 12\r\n12, 2\r\n\r\n")
    (nested / "001_01_nuc.dat").write_text(SQUARE)
    (nested / "001_02_nuc.dat").write_text(SQUARE)
    with caplog.at_level(logging.WARNING, "absl"):
        examples = build(root, tmp_path / "data")
    parabasal = examples["im_Parabasal/001_01.bmp"]
    nucleus, cytoplasm = parabasal["nucleus_mask"] > 0, parabasal["cytoplasm_mask"] > 0
    assert parabasal["has_masks"]
    assert nucleus.shape == (22, 24, 1)
    assert 100 <= nucleus.sum() <= 121  # a square of side 10, borders in or out
    assert 324 <= (nucleus | cytoplasm).sum() <= 361
    assert not (nucleus & cytoplasm).any()
    assert nucleus[10, 10, 0]
    assert cytoplasm[4, 3, 0]
    assert set(np.unique(parabasal["cytoplasm_mask"])) == {0, 1}
    leaking = examples["im_Metaplastic/001_01.bmp"]
    assert not leaking["nucleus_mask"][13:].any()
    assert leaking["nucleus_mask"][6:12, 6:12].all()
    assert caplog.text.count("were clipped") == 1
    assert "contours of 1 images" in caplog.text
    assert not examples["im_Metaplastic/001_02.bmp"]["has_masks"]
    assert caplog.text.count("lack one of the two contours") == 1
    assert not examples["im_Parabasal/001_02.bmp"]["has_masks"]


def test_contours_of_fields_are_joined(tmp_path):
    root = make_tree(tmp_path / "raw")
    folder = root / "im_Parabasal"
    (folder / "001_cyt01.dat").write_text("1,1\n1,9\n9,9\n9,1\n")
    (folder / "001_nuc01.dat").write_text("3,3\n3,6\n6,6\n6,3\n")
    (folder / "001_cyt02.dat").write_text("5,5\n5,19\n19,19\n19,5\n")
    (folder / "001_nuc02.dat").write_text("10,10\n10,14\n14,14\n14,10\n")
    (folder / "CROPPED" / "001_01_cyt.dat").write_text("no contour")  # not of a field
    example = build(root, tmp_path / "data", "multi_cell")["im_Parabasal/001.bmp"]
    nucleus, cytoplasm = example["nucleus_mask"][..., 0] > 0, example["cytoplasm_mask"][..., 0] > 0
    assert example["has_masks"]
    assert nucleus[4, 4]
    assert nucleus[12, 12]
    assert not nucleus[8, 8]
    assert cytoplasm[2, 2]
    assert cytoplasm[8, 8]
    assert cytoplasm[18, 18]
    assert not (nucleus & cytoplasm).any()


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("1,1\n2,2\n3,x\n", 3),
        ("1,1\nnan,2\n3,3\n", 2),
        ("1,1\n2,inf\n3,3\n", 2),
        ("1,1\n2\n3,3\n", 2),
        ("1,1,1\n2,2\n3,3\n", 1),
        ("1,1\n2,2\n", 2),
        ("", 0),
        ("1,1\n2,2\n3,4000\n", 3),
        ("1,1\n2,2\n-900,4\n", 3),
    ],
)
def test_broken_contour_names_file_and_line(tmp_path, text, line):
    root = make_tree(tmp_path / "raw")
    path = root / "im_Parabasal" / "CROPPED" / "001_01_cyt.dat"
    path.write_text(text)
    path.with_name("001_01_nuc.dat").write_text(SQUARE)
    message = refused(root, tmp_path / "data")
    assert f"{path}, line {line}:" in message


def test_masked_config_is_the_masked_field(tmp_path):
    root = make_tree(tmp_path / "raw")
    image = np.full((120, 160, 3), 230, np.uint8)
    image[40:80, 50:100] = (120, 90, 160)
    Image.fromarray(image).save(root / "im_Parabasal" / "001.bmp")
    stored = build(root, tmp_path / "data", "multi_cell_masked")["im_Parabasal/001.bmp"]["image"]
    np.testing.assert_array_equal(stored, background.remove_background(image))
    assert (stored[0, 0] == 255).all()
    assert (stored[60, 75] == (120, 90, 160)).all()


# --- description and real images ----------------------------------------------------------------


def test_description_is_complete(tmp_path):
    info = Builder(config="single_cell", data_dir=tmp_path).info
    assert "plissiti2018" in info.citation
    assert "cluster_id" in info.description
    assert tuple(info.features["label"].names) == SIPAKMED.names


def test_bmp_tree_of_the_raw_tool(shared, tmp_path):
    subprocess.run(
        [
            sys.executable,
            shared / "tools" / "make_sipakmed_raw.py",
            tmp_path / "raw",
            "--limit",
            "2",
        ],
        check=True,
        capture_output=True,
    )
    examples = build(tmp_path / "raw", tmp_path / "data")
    assert len(examples) == 10
    name = "im_Parabasal/001_01"
    jpeg = shared / "data/sipakmed/im_Parabasal" / "im_Parabasal/CROPPED/001_01.jpg"
    np.testing.assert_array_equal(
        examples[f"{name}.bmp"]["image"], np.asarray(Image.open(jpeg).convert("RGB"))
    )


def test_tensorflow_is_not_imported():
    code = (
        "import sys, tfds_builders.sipakmed.sipakmed_dataset_builder;"
        "assert not {'tensorflow', 'jax'} & set(sys.modules), 'heavy import'"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
