import io
import json
import logging
import os
import pickle
import re
import shlex
import shutil
import unicodedata
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image
from selection import tries
from trees import examples, picture, prepare, refused, save

from cervix_jax.data import catalog, divide, splits
from cervix_jax.errors import InputError
from tfds_builders.image_folder.image_folder_dataset_builder import Builder
from tfds_builders.image_folder.layout import find_items
from tfds_builders.image_folder.settings import (
    GROUP_PATTERNS,
    compile_pattern,
    image_folder_config,
)


def tree(root: Path, *names: str) -> Path:
    """A different image for every name."""
    for seed, name in enumerate(names):
        save(root / name, seed)
    return root


@pytest.fixture
def raw(tmp_path):
    return tree(tmp_path / "raw", "grade 10/a.png", "grade 10/b.png", "Grade 2/a.png", "x/c.png")


def build(root: Path, data_dir: Path, **chosen):
    return prepare(
        Builder(manual_dir=root, data_dir=data_dir, config=image_folder_config(**chosen)), root
    )


def refuse(root: Path, data_dir: Path, **chosen) -> str:
    return refused(
        Builder(manual_dir=root, data_dir=data_dir, config=image_folder_config(**chosen)), root
    )


def load(root, data_dir: Path, **chosen) -> catalog.Dataset:
    return catalog.load("image_folder/default", manual_dir=root, data_dir=data_dir, settings=chosen)


def names(root: Path, **chosen) -> list[str]:
    return [item.filename for item in find_items(root, **chosen).items]


def refusal(root: Path, **chosen) -> str:
    with pytest.raises(InputError) as error:
        find_items(root, **chosen)
    return str(error.value)


# --- trees --------------------------------------------------------------------------------------


def test_classes_are_folders_in_natural_order(raw, tmp_path):
    made = build(raw, tmp_path / "data")
    labels = {name: ex["label"] for name, ex in made.items()}
    assert labels == {"Grade 2/a.png": 0, "grade 10/a.png": 1, "grade 10/b.png": 1, "x/c.png": 2}
    for name, ex in made.items():
        assert ex["group_id"] == name.encode()
        np.testing.assert_array_equal(ex["image"], np.asarray(Image.open(raw / name)))


def test_deeper_folders_wrappers_and_droppings_of_systems(tmp_path):
    root = tree(
        tmp_path, "download/set/A/p1/1.png", "download/set/A/2.jpg", "download/set/B/p/3.bmp"
    )
    inside = tmp_path / "download" / "set"
    for name in (".DS_Store", "A/._1.png", "A/.thumbs/1.png"):
        (inside / name).parent.mkdir(exist_ok=True)
        (inside / name).write_bytes(b"junk")
    listing = find_items(root)
    assert listing.class_names == ("A", "B")
    assert [item.filename for item in listing.items] == [
        "download/set/A/2.jpg",
        "download/set/A/p1/1.png",
        "download/set/B/p/3.bmp",
    ]


def test_train_and_test_are_joined(tmp_path, caplog):
    root = tree(tmp_path, "train/A/1.png", "train/B/2.png", "Test/A/1.png", "Test/B/3.png")
    with caplog.at_level(logging.WARNING, "absl"):
        listing = find_items(root)
    assert listing.class_names == ("A", "B")
    assert len(listing.items) == 4
    assert "divided into Test, train" in caplog.text


@pytest.mark.parametrize(
    "parts",
    [
        ("seg_train", "seg_test"),
        ("training_set", "test_set"),
        ("TrainingSet", "TestSet", "ValidationData"),
        ("TRAIN", "VALID"),
        ("trainset", "testset"),
        ("train-images", "dev-images"),
        ("1_train", "2_val", "3_test"),
        ("train2017", "val2017"),
        ("fold1", "fold2"),
        ("fold_a1", "train"),
        ("train", "unlabelled"),
    ],
)
def test_parts_of_a_division_are_no_classes(tmp_path, parts):
    first, second = parts[:2]
    names_of = [f"{first}/HSIL/1.png", f"{first}/NILM/2.png"]
    if second != "unlabelled" and first != "fold_a1":
        names_of += [f"{second}/HSIL/3.png", f"{second}/NILM/4.png"]
    root = tree(tmp_path, *names_of)
    if first == "fold_a1":
        root = tree(tmp_path, "train/HSIL/1.png", "train/NILM/2.png")
    listing = find_items(root)
    assert listing.class_names == ("HSIL", "NILM")
    assert len(listing.items) == (4 if len(names_of) == 4 else 2)


@pytest.mark.parametrize("stray", ["unlabelled/x.png", "models/a/x.png"])
@pytest.mark.parametrize("parts", [("train", "test"), ("train",), ("seg_train", "seg_pred")])
def test_a_stray_folder_beside_the_parts_is_no_class(tmp_path, caplog, stray, parts):
    root = tree(tmp_path, stray, *(f"{p}/{c}/{p}.png" for p in parts for c in "AB"))
    if parts[-1] == "seg_pred":  # of images without classes
        shutil.rmtree(root / "seg_pred")
        save(root / "seg_pred" / "y.png", 9)
    with caplog.at_level(logging.WARNING, "absl"):
        listing = find_items(root)
    assert listing.class_names == ("A", "B")
    assert f"{root / stray.split('/')[0]} is beside the split folders" in caplog.text
    assert "its 1 images are left out" in caplog.text


def test_parts_packed_into_themselves_and_in_folds(tmp_path, caplog):
    packed = [f"seg_{p}/seg_{p}/{c}/1.png" for p in ("train", "test") for c in "AB"]
    assert find_items(tree(tmp_path / "a", *packed)).class_names == ("A", "B")
    folds = [f"fold{n}/{p}/{c}/1.png" for n in "12" for p in ("train", "val") for c in "AB"]
    root = tree(tmp_path / "b", *folds)
    assert (find_items(root).class_names, len(find_items(root).items)) == (("A", "B"), 8)
    inside = ["train/images/A/1.png", "train/images/B/1.png"]
    root = tree(tmp_path / "c", *inside, "test/2.png", "test/3.png")
    with caplog.at_level(logging.WARNING, "absl"):
        assert names(root) == inside
    assert "2 images lie in no class folder" in caplog.text


def test_one_class_in_a_part_and_patients_below(tmp_path):
    root = tree(tmp_path, "train/A/p1/1.png", "train/B/p2/2.png", "test/A/p3/3.png")
    assert find_items(root).class_names == ("A", "B")


def test_what_lies_beside_the_test_part_is_for_training(tmp_path):
    root = tree(tmp_path, "A/1.png", "B/2.png", "test/A/3.png", "test/B/4.png")
    assert find_items(root).class_names == ("A", "B")
    assert len(find_items(root).items) == 4


@pytest.mark.parametrize(
    "classes",
    [("control", "test"), ("tested", "untested"), ("trained", "naive"), ("split", "whole"),
     ("fold", "flat"), ("Läsion", "Normal"), ("checks", "blank")],
)  # fmt: skip
def test_classes_are_no_parts(tmp_path, classes):
    root = tree(tmp_path, *(f"{name}/p1/1.png" for name in classes), f"{classes[0]}/p2/2.png")
    assert set(find_items(root).class_names) == set(classes)


def test_parts_without_class_folders(tmp_path):
    root = tree(tmp_path, "train/1.png", "test/2.png")
    assert "test, train contain no class folders" in refusal(root)


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_names_are_compared_in_one_form_of_unicode(tmp_path, form):
    composed, apart = (unicodedata.normalize(kind, "Läsion") for kind in ("NFC", "NFD"))
    root = tree(
        tmp_path / "tree", f"train/{composed}/1.png", f"test/{apart}/ü.png", "train/Normal/3.png"
    )
    listing = find_items(root)
    assert listing.class_names == (composed, "Normal")
    assert all(unicodedata.is_normalized("NFC", item.filename) for item in listing.items)
    assert all(item.path.is_file() for item in listing.items)
    root = tree(tmp_path / "list", f"{apart}/{unicodedata.normalize('NFD', 'ü.png')}", "b.png")
    text = f"path,label,group\nLäsion/ü.png,{apart},Ü1\nb.png,Normal,\n"
    listed(root, unicodedata.normalize(form, text))
    listing = find_items(root)
    assert listing.class_names == (composed, "Normal")
    assert [item.filename for item in listing.items] == ["Läsion/ü.png", "b.png"]
    assert listing.items[0].group == "Ü1"
    assert listing.items[0].path.is_file()


def test_names_that_differ_by_their_form_alone_are_named(tmp_path):
    forms = [unicodedata.normalize(form, "A/ü.png") for form in ("NFC", "NFD")]
    assert "are duplicates of the same item" in refusal(tree(tmp_path, *forms, "B/1.png"))


def test_a_pattern_is_searched_in_one_form_of_unicode(tmp_path):
    root = tree(tmp_path, *(unicodedata.normalize("NFD", f"{c}/ä1_2.png") for c in "AB"))
    pattern = unicodedata.normalize("NFD", r"(?P<group>ä\d)")
    assert {item.group for item in find_items(root, group_pattern=pattern).items} == {"ä1"}


def test_files_that_are_not_read_are_counted_by_suffix(tmp_path, caplog):
    root = tree(tmp_path, "A/1.png", "B/2.png")
    save(root / "A" / "3.jfif", 3, format="JPEG")
    save(root / "A" / "4.jpe", 4, format="JPEG")
    for name in ("A/5.webp", "A/6.WEBP", "B/7.gif", "B/slide.svs", "notes.txt", "A/none"):
        (root / name).write_bytes(b"x")
    with caplog.at_level(logging.WARNING, "absl"):
        assert names(root) == ["A/1.png", "A/3.jfif", "A/4.jpe", "B/2.png"]
    assert "6 files are not read: 2 .webp, 1 without suffix, 1 .gif, 1 .svs, 1 .txt" in caplog.text
    assert "4 of them are images of a format that is not read: save as one of .bmp" in caplog.text


def test_images_beside_a_list_are_counted(scans, caplog):
    listed(scans, "path,label\nscans/0.png,A\nscans/1.png,B\n")
    with caplog.at_level(logging.WARNING, "absl"):
        find_items(scans)
    assert "3 images in" in caplog.text
    assert "are not listed in images.csv and are left out, e.g. other/5.png" in caplog.text
    caplog.clear()
    find_items(scans, report=False)
    assert not caplog.records


def test_any_size_and_format_is_kept_or_reencoded_without_loss(tmp_path):
    root = tmp_path / "raw"
    save(root / "A" / "1.jpg", 1, (30, 20), quality=95)
    save(root / "A" / "2.png", 2, (17, 64))
    save(root / "B" / "3.tif", 3, (5, 9))
    picture(4).convert("L").save(root / "B" / "4.TIFF")
    picture(5).convert("RGBA").save(root / "B" / "5.png")
    dataset = load(root, tmp_path / "data")
    for index, name in enumerate(dataset.filenames):
        data = dataset.encoded_image(index)
        with Image.open(io.BytesIO(data)) as stored, Image.open(root / name) as original:
            assert stored.mode == "RGB"
            np.testing.assert_array_equal(np.asarray(stored), np.asarray(original.convert("RGB")))
        assert (data == (root / name).read_bytes()) == (name in ("A/1.jpg", "A/2.png"))


def test_what_is_left_out_is_counted(tmp_path, caplog):
    root = tree(
        tmp_path / "raw",
        *("A/1.png", "A/2.BMP", "A/2-d.bmp", "A/1_mask.png", "A/masks/1.png", "A/round_mask.png"),
        *("B/3.png", "B/3 seg.png", "B/p_d.png", "masks/A/1.png", "loose.png"),
    )
    (root / "A" / "notes.txt").write_text("x")
    (root / "B" / "Thumbs.db").write_text("x")
    with caplog.at_level(logging.WARNING, "absl"):
        got = names(root)
    assert got == ["A/1.png", "A/2.BMP", "A/round_mask.png", "B/3.png", "B/p_d.png"]
    assert "1 images lie in no class folder" in caplog.text
    assert "5 masks, by their names or folders" in caplog.text
    assert "1 file is not read: 1 .txt" in caplog.text  # and what systems leave does not count


def test_copies_of_an_image_are_reported(raw, tmp_path, caplog):
    shutil.copy(raw / "x" / "c.png", raw / "Grade 2" / "copy.png")
    shutil.copy(raw / "x" / "c.png", raw / "x" / "again.png")
    with caplog.at_level(logging.WARNING, "absl"):
        assert len(build(raw, tmp_path / "data")) == 6
    assert "2 files are copies of others, 2 of them in another class" in caplog.text


# --- the usual mistakes -------------------------------------------------------------------------


def test_one_class_only(tmp_path):
    message = refusal(tree(tmp_path, "A/1.png", "A/2.png"))
    assert f"{tmp_path}: all images are of one class, A" in message


def test_no_class_folders(tmp_path):
    assert "missing or empty" in refuse(tmp_path / "nowhere", tmp_path / "data")
    tree(tmp_path / "raw", "1.png", "2.png")
    assert "contains no folder with images" in refuse(tmp_path / "raw", tmp_path / "data")


def test_empty_class_folder(raw, tmp_path):
    (raw / "y").mkdir()
    (raw / "y" / "a.czi").write_text("x")
    message = refuse(raw, tmp_path / "data")
    assert f"{raw / 'y'}: this class folder contains no images" in message
    assert "1 file is not read: 1 .czi" in message


@pytest.mark.parametrize("nested", ["A/A/1.png", "A/A/A/1.png"])
def test_class_folder_unpacked_into_itself(tmp_path, nested):
    root = tree(tmp_path, "A/1.png", nested, "B/1.png")
    message = refusal(root)
    assert str(root / "A/1.png") in message
    assert str(root / nested) in message
    (root / "A/1.png").unlink()
    assert names(root) == [nested, "B/1.png"]


def test_class_folder_in_another(tmp_path):
    root = tree(tmp_path, "A/1.png", "A/deep/B/1.png", "B/2.png")
    assert f"{root / 'A/deep/B'}: a folder of class B lies in that of class A" in refusal(root)


def test_classes_that_look_alike(tmp_path):
    assert "HSIL, Hsil differ by case only" in refusal(tree(tmp_path, "HSIL/1.png", "Hsil/2.png"))
    root = tree(tmp_path / "space", "A /1.png", "B/2.png")
    assert "the class 'A ' has unusual characters" in refusal(root)


def test_mask_among_the_images(raw, tmp_path):
    path = raw / "x" / "label image.png"
    Image.fromarray(np.arange(400, dtype=np.uint8).reshape(20, 20) % 5 * 50).save(path)
    message = refuse(raw, tmp_path / "data")
    assert f"{path}: has only 5 colours; it may be a mask" in message


@pytest.mark.parametrize("content", [b"", b"II*\0", b"<html>", None])
def test_damaged_images_are_named(raw, tmp_path, content):
    path = raw / "x" / "c.png"
    path.write_bytes(path.read_bytes()[:-300] if content is None else content)
    assert str(path) in refuse(raw, tmp_path / "data")


def test_all_damaged_files_are_named_at_once_and_can_be_left_out(raw, tmp_path, caplog):
    data = tmp_path / "data"
    (raw / "x" / "cut.png").write_bytes((raw / "x" / "c.png").read_bytes()[:-300])
    (raw / "x" / "text.jpg").write_bytes(b"no")
    Image.new("RGB", (9, 9)).save(raw / "Grade 2" / "flat.png")
    with pytest.raises(InputError) as error:
        load(raw, data, group_pattern="parent")
    message = str(error.value)
    assert message.startswith("3 files cannot be used: ")
    for name in ("cut.png", "text.jpg", "flat.png: has one colour only"):
        assert name in message
    command = shlex.split(message.split("`")[1])
    assert command == [
        *("python", "-m", "cervix_jax.prepare", "--dataset=image_folder/default"),
        *(f"--manual_dir={raw}", f"--data_dir={data}"),
        *("--setting=group_pattern=parent", "--skip_damaged"),
    ]
    assert not list(data.glob("image_folder/raw*/*"))
    settings = {"group_pattern": "parent"}
    with caplog.at_level(logging.WARNING, "absl"):
        dataset = catalog.load(
            "image_folder/default", manual_dir=raw, data_dir=data, settings=settings,
            skip_damaged=True,
        )  # fmt: skip
    assert len(dataset) == 4
    assert "3 damaged files are left out" in caplog.text
    assert "cut.png" in caplog.text
    caplog.clear()
    assert load(raw, data, group_pattern="parent").filenames == dataset.filenames
    assert not [record for record in caplog.records if "image_folder" in record.getMessage()]


def test_a_class_of_damaged_files_alone_is_named(raw, tmp_path):
    (raw / "x" / "c.png").write_bytes(b"")
    with pytest.raises(InputError, match="every image of x is damaged"):
        catalog.load(
            "image_folder/default", manual_dir=raw, data_dir=tmp_path / "d", skip_damaged=True
        )


def test_more_than_8_bits_are_refused_not_cut_off(raw, tmp_path):
    path = raw / "x" / "deep.tif"
    Image.fromarray(np.arange(400, dtype=np.uint16).reshape(20, 20) * 100).save(path)
    message = refuse(raw, tmp_path / "data")
    assert str(path) in message
    assert "8 bits a channel" in message


def test_folders_linked_into_themselves(raw):
    (raw / "x" / "loop").symlink_to(raw / "x")
    assert "remove a link to a parent folder" in refusal(raw)


# --- groups -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pattern", "group"),
    [
        ("prefix_number", "17"),
        ("folder_and_number", "LSIL/p02/17"),
        ("before_underscore", "17-b"),
        ("before_last_underscore", "17-b_3"),
        ("before_hyphen", "17"),
        ("parent", "LSIL/p02"),
        (r"/(?P<group>p\d+)/", "p02"),
    ],
)
def test_group_patterns(tmp_path, pattern, group):
    root = tree(tmp_path / "raw", "LSIL/p02/17-b_3_9.png", "NILM/p03/18-b_4_9.png")
    dataset = load(root, tmp_path / "data", group_pattern=pattern)
    assert dataset.groups[dataset.filenames.index("LSIL/p02/17-b_3_9.png")] == group
    assert dataset.group_feature == "group_id"


def test_the_readme_lists_the_patterns_as_they_are():
    readme = (
        Path(catalog.__file__).parents[2] / "tfds_builders/image_folder/README.md"
    ).read_text()
    rows = re.findall(r"^\| `(\w+)` \| `(\(\?:.*?|\^.*?)` \| `(.*?)` \|$", readme, re.MULTILINE)
    assert {name: expression.replace("\\|", "|") for name, expression, _ in rows} == GROUP_PATTERNS
    for name, _, group in rows:
        assert compile_pattern(name).search("LSIL/p02/17-b_3.png")["group"] == group


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("prefix_nubmer", "did you mean 'prefix_number'?"),
        (r"(\d+)", "or a regular expression with (?P<group>...)"),
        (r"(?P<group>", "is not a regular expression"),
        (r"(?P<group>\d+)$", "does not fit 4 of 4 images, e.g. Grade 2/a.png"),
        (r"^(?P<group>g.*)", "does not fit 2 of 4 images, e.g. Grade 2/a.png"),
        (r"(?P<group>q?)", "does not fit 4 of 4 images"),
    ],
)
def test_patterns_that_do_not_serve(raw, pattern, message):
    assert message in refusal(raw, group_pattern=pattern)


def test_groups_are_kept_together(tmp_path):
    root = tree(
        tmp_path / "raw",
        *(f"{'AB'[n % 2]}/p{n // 4:02d}_{n}.png" for n in range(48)),
    )
    dataset = load(root, tmp_path / "data", group_pattern="before_underscore")
    parts = divide.split_dataset(dataset, protocol="cluster", folds=4)
    assert set(parts) == {"train", "val", "test"}
    assert splits.leakage(parts, dataset.groups).num_seen == 0


# --- lists --------------------------------------------------------------------------------------


def listed(root: Path, text: str, name: str = "images.csv") -> Path:
    (root / name).write_text(text)
    return root


@pytest.fixture
def scans(tmp_path):
    return tree(tmp_path / "raw", *(f"scans/{n}.png" for n in range(4)), "other/5.png")


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_a_list_gives_label_and_group(scans, tmp_path, separator):
    text = "path,label,group\nscans/0.png,HSIL,p1\nscans\\1.png,NILM,p1\n./scans/2.png,HSIL,\n"
    listed(scans, text.replace(",", separator))
    made = build(scans, tmp_path / "data")
    assert {name: (ex["label"], ex["group_id"]) for name, ex in made.items()} == {
        "scans/0.png": (0, b"p1"),
        "scans/1.png": (1, b"p1"),
        "scans/2.png": (0, b"scans/2.png"),
    }


def test_a_list_of_another_name_and_without_groups(scans):
    listed(scans, "label,path\n10,scans/0.png\n9,scans/1.png\n", "my list.csv")
    listing = find_items(scans, csv="my list.csv", group_pattern="prefix_number")
    assert listing.class_names == ("9", "10")
    assert [item.group for item in listing.items] == ["0", "1"]


GOOD = "path,label,group\nscans/0.png,A,g\nscans/1.png,B,g\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (GOOD + "../out.png,A,g\n", "line 4: the path '../out.png' must lie in"),
        (GOOD + "scans/../../out.png,A,g\n", "line 4: the path 'scans/../../out.png' must"),
        (GOOD + "..\\out.png,A,g\n", "line 4: the path"),
        (GOOD + "/etc/hostname,A,g\n", "line 4: the path '/etc/hostname' must lie in"),
        (GOOD + "C:/out.png,A,g\n", "line 4: the path 'C:/out.png' must lie in"),
        (GOOD + "C:out.png,A,g\n", "line 4: the path"),
        (GOOD + "//server/share/out.png,A,g\n", "line 4: the path"),
        (GOOD + ",A,g\n", "line 4: the path '' must"),
        (GOOD + "scans/9.png,A,g\n", "line 4: there is no file"),
        (GOOD + "scans,A,g\n", "line 4: there is no file"),
        (GOOD + "scans/2.png, ,g\n", "line 4: the label of scans/2.png is empty"),
        (GOOD + "./scans/0.png,A,g\n", "line 4: scans/0.png is listed already (line 2)"),
        (GOOD + "scans/2.png,A\n", "line 4: has 2 cells, and the first line has 3 columns"),
        (GOOD + "scans/2.png,a,g\n", "A, a differ by case only"),
        (GOOD.replace("B", "A"), "all images are of one class, A"),
        (GOOD.replace("label", "class"), "line 1: no column label"),
        ("path,label\n", "lists no images"),
        ("", "line 1: no column path, label"),
    ],
)
def test_broken_lists_name_the_line(scans, text, message):
    save(scans.parent / "out.png")
    listed(scans, text)
    got = refusal(scans)
    assert message in got
    assert str(scans) in got


def test_a_list_and_a_pattern_for_the_same_thing(scans):
    listed(scans, GOOD)
    assert "line 2: has a group, but" in refusal(scans, group_pattern="parent")
    assert "there is no such file" in refusal(scans, csv="list.csv")
    assert "must lie in" in refusal(scans, csv="../list.csv")
    assert "must lie in" in refusal(scans, csv=str(scans / "images.csv"))


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("path,label\n{r}/scans/0.png,A\n{r}/scans/1.png,B\n", ""),
        ("path,label\n{r}/scans/../scans/0.png,A\nscans/1.png,B\n", None),
        (
            "path,label\nscans/0.PNG,A\nSCANS/1.png,B\n",
            "2 names differ from the file names in case",
        ),
        ("path,label\nscans/0,A\nscans/1,B\n", "e.g. 0 for 0.png; each matches one file"),
        ("path,label\nscans/0,A\nscans/0.png,B\n", "line 3: scans/0.png is listed already"),
        ("# by LIMS\npath,label\nscans/0.png,A\u200b\nscans/1.png,B\n", "1 line of comment"),
    ],
)
def test_lists_of_other_programs(scans, text, word, caplog):
    listed(scans, text.replace("{r}", str(scans)))
    if word is None or word.startswith("line"):
        assert (word or "must lie in") in refusal(scans)
        return
    listing = find_items(scans)
    assert [item.filename for item in listing.items] == ["scans/0.png", "scans/1.png"]
    assert listing.class_names == ("A", "B")
    assert word in caplog.text


def test_a_folder_behind_a_link_is_the_folder(scans, tmp_path):
    (tmp_path / "link").symlink_to(scans)
    listed(scans, f"path,label\n{tmp_path}/link/scans/0.png,A\n{scans}/scans/1.png,B\n")
    for root in (scans, tmp_path / "link"):
        names = [item.filename for item in find_items(root).items]
        assert names == ["scans/0.png", "scans/1.png"]


def test_a_name_that_fits_several_files_is_refused(scans):
    for name in ("scans/0.tif", "scans/1.jpg"):
        save(scans / name)
    listed(scans, "path,label\nscans/0,A\nscans/1.png,B\n")
    assert "(0.png, 0.tif); write the full name" in refusal(scans)
    listed(scans, "path,label\nscans/1.png,A\nscans/2.png,B\n")
    assert find_items(scans).items[0].filename == "scans/1.png"


def test_classes_that_are_one_number_are_refused(scans):
    listed(scans, "path,label\nscans/0.png,1\nscans/1.png,1.0\nscans/2.png,2\n")
    assert "the classes '1' and '1.0' are the same number" in refusal(scans)


path_texts = st.one_of(
    st.text(max_size=12),
    st.lists(st.sampled_from(["..", ".", "/", "\\", "scans", "0.png", "C:", "~", " "]), max_size=6)
    .map("".join),
)  # fmt: skip


@settings(max_examples=tries(200))
@given(name=path_texts)
@example(name="scans/0.png")
@example(name="\0")
def test_no_listed_path_leads_out(tmp_path_factory, name):
    root = tmp_path_factory.getbasetemp() / "fuzz"
    if not root.exists():
        tree(root, "scans/0.png", "scans/1.png")
        save(root.parent / "0.png")
    quoted = '"' + name.replace('"', '""') + '"'
    (root / "images.csv").write_bytes(
        f"path,label\nscans/1.png,B\n{quoted},A\n".encode("utf-8", "surrogatepass")
    )
    try:
        listing = find_items(root)
    except InputError as error:
        message = str(error)
    else:
        for item in listing.items:
            assert Path(os.path.normpath(item.path)).is_relative_to(root)
            assert item.path.is_file()
        return
    assert str(root / "images.csv") in message or "differ by case" in message


# --- the names of prepared data -----------------------------------------------------------------


def test_two_folders_never_mix(raw, tmp_path):
    other = tree(tmp_path / "elsewhere" / "raw", "A/1.png", "B/2.png")
    data = tmp_path / "data"
    first, second = load(raw, data), load(other, data)
    assert first.path != second.path
    assert first.class_names == ("Grade 2", "grade 10", "x")
    assert second.class_names == ("A", "B")
    assert load(raw, data).class_names == first.class_names
    grouped = load(raw, data, group_pattern="parent")
    assert grouped.path not in (first.path, second.path)
    assert load(str(raw) + "/../raw/", data).path == first.path


def test_prepared_data_need_no_code_and_survive_pickling(raw, tmp_path):
    builder = Builder(manual_dir=raw, data_dir=tmp_path / "data")
    made = prepare(builder, raw)
    again = tfds.builder_from_directory(builder.data_dir)
    assert again.info.features["label"].names == ["Grade 2", "grade 10", "x"]
    np.testing.assert_equal(examples(again), made)
    copy = pickle.loads(pickle.dumps(builder))
    assert copy.info.features["label"].names == ["Grade 2", "grade 10", "x"]
    assert copy.data_dir == builder.data_dir


def test_a_name_opens_the_data_without_the_folder(raw, tmp_path):
    data = tmp_path / "data"
    made = load(raw, data, name="mine")
    assert made.path == data / "image_folder" / "mine" / "1.0.0"
    shutil.rmtree(raw)
    names_of_mine = made.filenames
    assert load(None, data, name="mine").filenames == names_of_mine
    with pytest.raises(InputError, match="not prepared under"):
        load(None, data, name="other")
    assert load(None, data).filenames == names_of_mine, "it is the only one there"
    with pytest.raises(InputError, match="give manual_dir"):
        load(None, data, group_pattern="parent")


def test_a_name_is_taken_once(raw, tmp_path, caplog):
    data = tmp_path / "data"
    load(raw, data, name="mine")
    other = tree(tmp_path / "other", "A/1.png", "B/2.png")
    with pytest.raises(InputError, match=re.escape(f"were prepared from {raw}, which is not")):
        load(other, data, name="mine")
    with pytest.raises(InputError, match="give another setting name"):
        load(raw, data, name="mine", group_pattern="parent")
    moved = raw.rename(tmp_path / "moved")
    assert len(load(moved, data, name="mine")) == 4


def test_a_changed_folder_warns_and_keeps_the_prepared_data(raw, tmp_path, caplog):
    data = tmp_path / "data"
    with caplog.at_level(logging.WARNING, "absl"):
        before = load(raw, data)
        load(raw, data)
        assert "older than" not in caplog.text
        (raw / "x" / "c.png").rename(raw / "Grade 2" / "c.png")
        save(raw / "x" / "d.png", 9)
        assert load(raw, data).filenames == before.filenames
    assert f"{before.path} are older than the files in {raw} (now 5 files of" in caplog.text
    caplog.clear()
    shutil.rmtree(raw / "x")
    shutil.rmtree(raw / "Grade 2")
    assert load(raw, data).filenames == before.filenames
    assert "older than the files" in caplog.text
    assert "all images are of one class" in caplog.text


def test_prepared_data_are_opened_without_their_folder(raw, tmp_path):
    data = tmp_path / "data"
    first = load(raw, data)
    raw.rename(tmp_path / "moved")
    assert load(raw, data).filenames == load(None, data).filenames == first.filenames
    other = load(tree(tmp_path / "other", "A/1.png", "B/2.png"), data)
    with pytest.raises(InputError, match="the data of 2 folders") as error:
        load(None, data)
    for folder in (raw, tmp_path / "other"):
        assert f"manual_dir={folder}" in str(error.value)
    assert load(tmp_path / "other", data).path == other.path


@pytest.mark.parametrize("earlier_version", [False, True])
def test_a_list_that_appears_or_changes_stops(scans, tmp_path, caplog, earlier_version):
    data = tmp_path / "data"
    before = load(scans, data)
    assert not before.groups_known
    if earlier_version:
        forget_files(before)
    listed(scans, GOOD)
    with pytest.raises(InputError, match=r"images\.csv: was added since") as error:
        load(scans, data)
    assert f"delete the folder {before.path}" in str(error.value)
    assert "--data_dir=NEW" in str(error.value)
    assert load(scans, tmp_path / "new").groups == ("g", "g")
    assert load(scans, data, name="grouped").groups == ("g", "g")
    shutil.rmtree(before.path)
    after = load(scans, data)
    assert after.groups_known
    if earlier_version:
        forget_files(after)
    # The same said in other words is the same; one letter more or less is not.
    listed(scans, GOOD.replace(",", ";") + "\n")
    assert load(scans, data).groups == ("g", "g")
    for text in (GOOD.replace("B,g", "B,h"), GOOD.replace("A", "C"), "nothing"):
        listed(scans, text)
        if not earlier_version:
            with pytest.raises(InputError, match=r"images\.csv: was changed since"):
                load(scans, data)
    if not earlier_version:
        (scans / "images.csv").unlink()
        with pytest.raises(InputError, match=r"images\.csv: was removed since"):
            load(scans, data)
        for path in scans.rglob("*.png"):
            path.unlink()
        (scans / "read me.csv").write_text("the images are in the archive")
        assert load(scans, data).groups == ("g", "g"), "prepared data need no files"


@pytest.mark.parametrize("record", ["{}", None])
def test_prepared_data_whose_record_is_lost_are_opened(scans, tmp_path, record):
    listed(scans, GOOD)
    before = load(scans, tmp_path / "data")
    path = before.path / "metadata.json"
    path.unlink() if record is None else path.write_text(record)
    listed(scans, GOOD.replace("B,g", "B,h"))
    assert load(scans, tmp_path / "data").groups == before.groups


def forget_files(dataset: catalog.Dataset) -> None:
    """Make prepared data those of an earlier version."""
    for name, keys in (("examples.json", ["files"]), ("metadata.json", ["list"])):
        path = dataset.path / name
        content = {k: v for k, v in json.loads(path.read_text()).items() if k not in keys}
        path.write_text(json.dumps(content))
    made = dataset.path / "dataset_info.json"
    os.utime(made, (made.stat().st_mtime - 10, made.stat().st_mtime - 10))


def test_what_does_not_matter_is_not_said(raw, tmp_path, caplog):
    data = tmp_path / "data"
    load(raw, data)
    save(raw / "masks" / "a.png", 1)
    (raw / "x" / "notes.csv").write_text("a,b\n")
    load(raw, data)
    assert "older than" not in caplog.text
    os.utime(raw / "x" / "c.png", (2e9, 2e9))
    load(raw, data)
    assert "older than the files" in caplog.text


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ({"name": "default"}, "name='default'"),
        ({"name": "../x"}, "name='../x'"),
        ({"name": "9"}, "starting with a letter"),
        ({"name": 3}, "name=3: give a text"),
        ({"csv": 3}, "csv=3"),
        ({"pattern": "x"}, "pattern"),
    ],
)
def test_settings_that_cannot_be_used(raw, tmp_path, chosen, message):
    with pytest.raises(InputError) as error:
        load(raw, tmp_path / "data", **chosen)
    assert message in str(error.value)


def test_the_folder_read_is_the_folder_named(raw, tmp_path):
    other = tree(tmp_path / "other", "A/1.png", "B/2.png")
    message = refused(Builder(manual_dir=raw, data_dir=tmp_path / "data"), other)
    assert "use one folder for the builder" in message


# --- real images --------------------------------------------------------------------------------


def test_herlev_as_a_folder_of_images(shared, tmp_path, caplog):
    with caplog.at_level(logging.WARNING, "absl"):
        listing = find_items(shared / "data" / "herlev_40px", group_pattern="prefix_number")
    assert len(listing.items) == 903
    assert "903 masks, by their names" in caplog.text
    assert len(listing.class_names) == 7
    assert {item.group for item in listing.items} >= {"149143370"}
    whole = find_items(shared / "data" / "herlev_200px", group_pattern="prefix_number")
    assert (len(whole.items), len({item.group for item in whole.items})) == (917, 323)
