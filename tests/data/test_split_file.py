"""Split files: what is in the repository, how they are read, and how images are found in them."""

import csv
import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from cervix_jax import data
from cervix_jax.data.catalog import find_builder
from cervix_jax.data.classes import CRIC, HERLEV, SIPAKMED
from cervix_jax.data.split_file import Names, file_digest, names_digest, read_split_file, stem
from cervix_jax.data.splits import ONE_SPLIT, PAPER_RATIOS, assign_splits
from cervix_jax.errors import InputError

FOLDER = Path(__file__).parents[2] / "benchmarks/splits"
INDEX = json.loads((FOLDER / "index.json").read_text())["files"]
SPLITS = sorted(path.name for path in FOLDER.glob("*.csv"))
CLASSES = {"sipakmed": SIPAKMED.names, "herlev": HERLEV.names, "cric": CRIC.names}


def test_the_index_names_every_file():
    assert sorted(INDEX) == sorted(path.name for path in FOLDER.glob("*.csv*"))
    assert len(SPLITS) >= 9
    for name, facts in INDEX.items():
        assert facts["sha256"] == file_digest(FOLDER / name)


@pytest.mark.parametrize("name", SPLITS)
def test_a_split_is_what_the_package_makes_of_its_names_labels_and_groups(name):
    split = read_split_file(FOLDER / name)
    facts = split.facts
    dataset, protocol = facts["dataset"], facts["protocol"]
    order = CLASSES[dataset.partition("/")[0]]
    labels = np.asarray([order.index(label) for label in split.labels])
    ratios = getattr(find_builder(dataset), "PAPER_RATIOS", PAPER_RATIOS)
    for fold in range(split.folds):
        made = assign_splits(
            split.filenames, labels, split.groups, protocol=protocol, fold=fold,
            folds=1 if protocol in ONE_SPLIT else split.folds, seed=facts["seed"] or 0,
            ratios=ratios,
        )  # fmt: skip
        np.testing.assert_array_equal(split.splits[:, fold], made)
        counts = {part: int((made == part).sum()) for part in ("train", "val", "test")}
        assert facts["parts"][fold] == counts
    assert facts["images"] == len(split.filenames)
    assert facts["groups"] == len(set(split.groups))
    assert facts["names_sha256"] == names_digest(split.filenames)
    tested = (split.splits == "test").sum(axis=1)
    if protocol in ONE_SPLIT:
        assert split.folds == 1
    else:
        assert split.folds == 5
        assert (tested == 1).all()
    if protocol != "paper":
        assert all(leak.num_seen == 0 for leak in split.leakage())


@pytest.mark.parametrize("name", sorted(name for name in INDEX if name.endswith(".gz")))
def test_the_images_are_those_of_the_splits(name):
    with gzip.open(FOLDER / name, "rt", newline="") as stream:
        rows = list(csv.DictReader(stream))
    short = name.removesuffix("-images.csv.gz")
    for other in (each for each in SPLITS if each.startswith(f"{short}-")):
        assert read_split_file(FOLDER / other).filenames == tuple(row["filename"] for row in rows)
    for row in rows:
        assert int(row["width"]) > 0
        assert int(row["height"]) > 0
        assert len(bytes.fromhex(row["pixels_sha256"])) == 8
        assert len(bytes.fromhex(row["hash"])) == 32


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "folder"), [("herlev", "herlev_native"), ("sipakmed_cells", "sipakmed")]
)
def test_split_files_are_the_split_tables_of_the_real_images(shared, tmp_path, name, folder):
    for path in sorted(FOLDER.glob(f"{name}-*.csv")):
        split = read_split_file(path)
        for fold in range(split.folds):
            table = data.split_table(
                split.facts["dataset"], protocol=split.facts["protocol"], fold=fold,
                manual_dir=shared / "data" / folder, data_dir=tmp_path,
            )  # fmt: skip
            found = {stem(row["filename"]): (row["label"], row["split"]) for row in table}
            given = zip(
                map(stem, split.filenames),
                zip(split.labels, split.splits[:, fold].tolist(), strict=True),
                strict=True,
            )
            assert found == dict(given)


def write(folder: Path, text: str) -> Path:
    path = folder / "split.csv"
    path.write_text(text)
    return path


GOOD = (
    "filename,label,group,fold0,fold1\n"
    "x/1.png,a,g,test,train\nx/2.png,a,g,test,val\ny/1.png,b,h,train,test\n"
)


def test_a_split_is_read_and_written(tmp_path):
    split = read_split_file(write(tmp_path, GOOD))
    assert split.filenames == ("x/1.png", "x/2.png", "y/1.png")
    assert (split.labels, split.groups) == (("a", "a", "b"), ("g", "g", "h"))
    assert split.splits.tolist() == [["test", "train"], ["test", "val"], ["train", "test"]]
    assert split.test_fold.tolist() == [0, 0, 1]
    assert split.facts == {}
    split.write(tmp_path / "again.csv.gz")
    assert gzip.decompress((tmp_path / "again.csv.gz").read_bytes()).decode() == GOOD
    again = read_split_file(tmp_path / "again.csv.gz")
    np.testing.assert_array_equal(again.splits, split.splits)


def test_one_split_may_be_that_of_split_table(tmp_path):
    text = "filename,label,split\n1.png,a,test\n2.png,a,train\n"
    split = read_split_file(write(tmp_path, text))
    assert (split.folds, split.groups) == (1, ("1.png", "2.png"))
    assert split.test_fold.tolist() == [0, -1]
    assert split.leakage()[0].share is None  # no groups are known


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("fold1", "fold2", "no column fold1"),
        ("fold0,fold1", "a,b", "no column split"),
        ("label", "class", "no column label"),
        ("y/1.png,b", "x/1.png,b", "line 4: 'x/1.png' occurs twice"),
        ("y/1.png,b", "y/1.png,", "line 4: needs a filename and a label"),
        ("test,val", "test,validation", "line 3: fold1='validation'; write one of train, val"),
        ("test,val", "test,test", "line 3: 'x/2.png' is tested in 2 of 2 folds"),
        ("test,val", "train,val", "line 3: 'x/2.png' is tested in 0 of 2 folds"),
        ("y/1.png,b,h,train,test\n", "", "fold1 has no test image"),
        (GOOD.partition("\n")[2], "", "fold0 has no test image"),
    ],
)
def test_what_is_no_split(tmp_path, old, new, says):
    assert old in GOOD
    with pytest.raises(InputError, match=says):
        read_split_file(write(tmp_path, GOOD.replace(old, new)))


def test_a_file_that_its_index_does_not_describe_is_refused(tmp_path):
    path = write(tmp_path, GOOD)
    index = {"files": {path.name: {"sha256": file_digest(path), "protocol": "block"}}}
    (tmp_path / "index.json").write_text(json.dumps(index))
    assert read_split_file(path).facts["protocol"] == "block"
    path.write_text(GOOD.replace("x/2", "x/3"))
    with pytest.raises(InputError, match=r"is not the file that index.json"):
        read_split_file(path)


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ("im_A/001_01.bmp", 0),
        ("im_A/001_01.jpg", 0),
        ("im_A/001_01", 0),
        ("im_A\\001_01.png", 0),
        ("SIPaKMeD/im_A/im_A/CROPPED/001_01.bmp", 0),
        ("/data/im_B/CROPPED/001_01.bmp", 1),
        ("002_01.bmp", None),  # whose folder is needed
        ("001_01.bmp", None),
        ("im_C/001_01.bmp", None),
        ("alone.png", 3),
        ("somewhere/alone.png", 3),
        ("", None),
    ],
)
def test_images_are_found_by_names_that_are_written_otherwise(given, found):
    names = Names(["im_A/001_01.bmp", "im_B/001_01.bmp", "im_A/002_01.bmp", "alone.bmp"])
    assert names.find(given) == found
