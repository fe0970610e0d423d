import json
import logging
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

import cervix_jax.data
from cervix_jax.data import catalog
from cervix_jax.data.fingerprints import Fingerprints, content_digest
from cervix_jax.data.prepared import FINGERPRINTS_FILE, INDEX_FILE
from cervix_jax.errors import InputError

CLASSES = ("Dyskeratotic", "Koilocytotic", "Metaplastic", "Parabasal", "Superficial-Intermediate")


def make_tree(root, cells: int = 3):
    rng = np.random.default_rng(0)
    for name in CLASSES:
        folder = root / f"im_{name}" / "CROPPED"
        folder.mkdir(parents=True)
        for number in range(cells):
            pixels = rng.integers(0, 256, (20, 24, 3), np.uint8)
            Image.fromarray(pixels).save(folder / f"00{number // 2 + 1}_0{number % 2 + 1}.bmp")
    return root


@pytest.fixture
def raw(tmp_path):
    return make_tree(tmp_path / "raw")


@pytest.fixture(scope="session")
def sipakmed_cells(shared, tmp_path_factory):
    """The 4049 real cells, prepared once."""
    return catalog.load(
        "sipakmed/single_cell",
        manual_dir=shared / "data" / "sipakmed",
        data_dir=tmp_path_factory.mktemp("tfds"),
    )


def load(raw, tmp_path, **kwargs):
    kwargs = {"check_counts": False, "manual_dir": raw, "data_dir": tmp_path / "data"} | kwargs
    return catalog.load("sipakmed/single_cell", **kwargs)


# --- names --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("sipakmet/single_cell", "no builder 'sipakmet' (did you mean 'sipakmed'?)"),
        ("sipakmed/singel_cell", "no config 'singel_cell' (did you mean 'single_cell'?)"),
        ("sipakmed", "a config is missing; choose one of sipakmed/single_cell"),
        ("", "no builder ''"),
        ("os/path", "no builder 'os'"),
        ("../sipakmed/single_cell", "no builder '..'"),
    ],
)
def test_unknown_names_are_explained(name, message):
    with pytest.raises(InputError) as error:
        catalog.find_builder(name)
    assert message in str(error.value)
    assert "sipakmed" in str(error.value)


def test_every_known_builder_can_be_found_and_groups_its_items():
    for name in catalog.BUILDERS:
        with pytest.raises(InputError) as error:
            catalog.find_builder(name)
        config = str(error.value).split(f"{name}/")[1].split(",")[0].rstrip(".")
        builder_cls = catalog.find_builder(f"{name}/{config}")
        assert builder_cls.name == name
        assert isinstance(builder_cls.GROUP_FEATURE, str)


# --- loading ------------------------------------------------------------------------------------


def test_first_use_prepares_and_the_next_reuses(raw, tmp_path):
    first = load(raw, tmp_path)
    written = {path: path.stat().st_mtime_ns for path in first.path.rglob("*")}
    second = load(raw, tmp_path)
    unneeded = load(None, tmp_path)
    assert {path: path.stat().st_mtime_ns for path in first.path.rglob("*")} == written
    assert first.path == tmp_path / "data" / "sipakmed" / "single_cell" / "1.0.0"
    for dataset in (first, second, unneeded):
        assert dataset.num_examples == len(dataset) == len(dataset.source) == 15
        assert dataset.filenames == first.filenames
        assert dataset.class_names == CLASSES
        assert dataset.class_counts == dict.fromkeys(CLASSES, 3)
        assert dataset.group_counts == dict.fromkeys(CLASSES, 2)
        assert (dataset.group_feature, dataset.version) == ("cluster_id", "1.0.0")
    assert "plissiti" in first.info.citation


def test_arrays_and_sources_share_one_order(raw, tmp_path):
    dataset = load(raw, tmp_path)
    dataset = pickle.loads(pickle.dumps(dataset.source)) and dataset
    for index in range(len(dataset)):
        example, decoded = dataset.source[index], dataset.decoded_source[index]
        assert example["filename"].decode() == dataset.filenames[index]
        assert example["label"] == dataset.labels[index]
        assert example["cluster_id"].decode() == dataset.groups[index]
        assert dataset.encoded_image(index) == example["image"]
        assert isinstance(example["nucleus_mask"], bytes)
        folder, _, file = dataset.filenames[index].partition("/")
        original = np.asarray(Image.open(raw / folder / "CROPPED" / file))
        np.testing.assert_array_equal(decoded["image"], original)


def test_sources_end_where_they_are_looped_over(raw, tmp_path):
    dataset = load(raw, tmp_path)
    for source in (dataset.source, dataset.decoded_source):
        labels = [int(example["label"]) for example in source]
        assert labels == dataset.labels.tolist()
        with pytest.raises(IndexError, match="example 15 of 15"):
            source[15]


def test_source_can_be_sent_to_worker_processes(raw, tmp_path):
    source = load(raw, tmp_path).source
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(source.__getitem__, (4,)) == source[4]


def test_the_list_of_examples_is_rebuilt_where_it_is_missing_or_wrong(raw, tmp_path):
    dataset = load(raw, tmp_path)
    index = dataset.path / INDEX_FILE
    for content in (None, "", "[]", "{}", '{"filenames": ["a"], "labels": [0], "groups": ["g"]}'):
        index.unlink() if content is None else index.write_text(content)
        again = load(None, tmp_path)
        assert again.filenames == dataset.filenames
        assert again.groups == dataset.groups
        np.testing.assert_array_equal(again.labels, dataset.labels)
        assert len(json.loads(index.read_text())["filenames"]) == 15


def test_other_manual_dir_than_recorded_warns_with_both(raw, tmp_path, caplog):
    load(raw, tmp_path)
    other = make_tree(tmp_path / "other")
    with caplog.at_level(logging.WARNING, "absl"):
        load(raw, tmp_path)
        assert "was prepared from" not in caplog.text
        load(other, tmp_path)
    assert str(raw) in caplog.text
    assert str(other) in caplog.text
    assert "delete" in caplog.text


def test_complete_prepared_data_need_no_files(raw, tmp_path, caplog):
    made = load(raw, tmp_path)
    (tmp_path / "empty").mkdir()
    for folder in ("elsewhere", "empty"):
        caplog.clear()
        assert load(tmp_path / folder, tmp_path).filenames == made.filenames
        assert f"manual_dir={tmp_path / folder} " in caplog.text
        assert f"prepared from {raw}" in caplog.text
    raw.rename(tmp_path / "moved")
    caplog.clear()
    for folder in (raw, None):
        again = load(folder, tmp_path)
        assert again.filenames == made.filenames
        assert again.digests == made.digests
    assert "WARNING" not in caplog.text


def test_prepared_data_older_than_their_files_are_noticed(raw, tmp_path, caplog):
    made = load(raw, tmp_path)
    cell = raw / "im_Parabasal" / "CROPPED" / "001_01.bmp"
    whole, written = cell.read_bytes(), cell.stat().st_mtime

    def said(manual_dir=raw) -> str:
        caplog.clear()
        assert load(manual_dir, tmp_path).filenames == made.filenames
        return caplog.text

    assert said() == ""
    (raw / ".DS_Store").write_bytes(b"x")
    (raw / "notes.txt").write_bytes(b"x")
    assert said() == ""
    added = cell.with_name("009_01.bmp")
    added.write_bytes(whole)
    assert "(now 16 files of " in said()
    assert "15 of" in said(None), "the folder is remembered"
    assert f"older than the files in {raw}" in caplog.text
    assert f"delete {made.path}" in caplog.text
    cell.unlink()
    assert "15 files, but names, sizes or tables" in said()
    added.rename(cell)
    os.utime(cell, (written, written))
    assert said() == ""
    os.utime(cell, (written + 1000, written + 1000))
    assert "files of the same names, written later" in said()
    cell.write_bytes(whole + b"x")
    assert "15 files of" in said()


def test_prepared_data_below_their_files_are_not_counted(raw, tmp_path, caplog):
    load(raw, tmp_path, data_dir=raw / "data")
    load(raw, tmp_path, data_dir=raw / "data")
    assert "older than" not in caplog.text


def test_fingerprints_lie_beside_the_prepared_data(raw, tmp_path, monkeypatch):
    dataset = load(raw, tmp_path)
    stored = dataset.path / FINGERPRINTS_FILE
    whole = stored.read_bytes()
    images = [np.asarray(dataset.decoded_source[i]["image"]) for i in range(15)]
    assert dataset.digests == tuple(content_digest(image) for image in images)
    for content in (None, b"", whole[:99]):
        stored.unlink() if content is None else stored.write_bytes(content)
        assert load(raw, tmp_path).digests == dataset.digests
        assert Fingerprints.load(stored).digests == dataset.digests
    Fingerprints.of(images[:3]).save(stored)
    again = load(raw, tmp_path)
    assert again.digests == dataset.digests, "those of another number of images are not taken"
    np.testing.assert_array_equal(again.fingerprints().hashes, dataset.fingerprints().hashes)
    assert again.fingerprints() is again.fingerprints()
    # Digests are read alone: of many images the thumbnails take 64 times as much.
    monkeypatch.setattr(Fingerprints, "load", None)
    assert load(raw, tmp_path).digests == dataset.digests


# --- bad input ----------------------------------------------------------------------------------


def test_manual_dir_must_be_a_folder_to_prepare_from(raw, tmp_path):
    for wrong in (tmp_path / "nowhere", raw / "im_Parabasal" / "CROPPED" / "001_01.bmp"):
        with pytest.raises(InputError, match=f"manual_dir={wrong}"):
            load(wrong, tmp_path)
    with pytest.raises(InputError, match="manual_dir=/nowhere: does not exist"):
        catalog.load("cervix_phantom/single_cell", manual_dir="/nowhere", data_dir=tmp_path)


def test_without_files_the_way_to_them_is_told(tmp_path):
    with pytest.raises(InputError) as error:
        load(None, tmp_path)
    assert "--instructions" in str(error.value)
    assert "manual_dir" in str(error.value)


def test_files_in_the_usual_folder_of_tfds_are_found(raw, tmp_path):
    (tmp_path / "data" / "downloads").mkdir(parents=True)
    raw.rename(tmp_path / "data" / "downloads" / "manual")
    assert len(load(None, tmp_path)) == 15


def test_counts_are_checked_on_prepared_data_too(raw, tmp_path):
    with pytest.raises(InputError, match="expected 813"):
        load(raw, tmp_path, check_counts=True)
    dataset = load(raw, tmp_path)
    with pytest.raises(InputError) as error:
        load(raw, tmp_path, check_counts=True)
    assert "Dyskeratotic 3 instead of 813" in str(error.value)
    assert str(dataset.path) in str(error.value)
    assert "check_counts=False" in str(error.value)


def test_settings_only_where_there_are_any(raw, tmp_path):
    with pytest.raises(InputError, match="has no settings, but seed"):
        load(raw, tmp_path, settings={"seed": 3})


def test_settings_vary_a_config_and_are_kept_apart(tmp_path):
    def phantom(**settings):
        return catalog.load(
            "cervix_phantom/single_cell", data_dir=tmp_path, settings=settings | {"seed": 3}
        )

    small = phantom(clusters_per_class=1, cells_per_cluster=2)
    other = phantom(clusters_per_class=1, cells_per_cluster=1)
    assert small.path != other.path
    assert (len(small), len(other)) == (10, 5)
    assert phantom(clusters_per_class=1, cells_per_cluster=2).path == small.path
    with pytest.raises(InputError, match="clusters"):
        phantom(clusters=1)


def test_damaged_prepared_data_are_named(raw, tmp_path):
    dataset = load(raw, tmp_path)
    (dataset.path / INDEX_FILE).unlink()
    for path in dataset.path.glob("*.array_record*"):
        path.unlink()
    with pytest.raises(InputError, match=r"damaged.*delete that folder") as error:
        load(raw, tmp_path)
    assert str(dataset.path) in str(error.value)
    (dataset.path / "dataset_info.json").unlink()
    with pytest.raises(InputError, match=r"not a complete prepared data set; delete"):
        load(raw, tmp_path)


def test_data_dir_that_cannot_be_written_is_named(raw, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=str(tmp_path / "file")):
        load(raw, tmp_path, data_dir=tmp_path / "file")


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_interrupted_preparation_is_no_result(raw, tmp_path, how):
    slow = (
        "import signal, sys, time\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # background jobs ignore it
        "from tfds_builders.sipakmed import sipakmed_dataset_builder as b\n"
        "from cervix_jax.data import catalog\n"
        "whole = b.Builder._example\n"
        "def one(self, item):\n"
        "    print('reading', flush=True); time.sleep(0.3); return whole(self, item)\n"
        "b.Builder._example = one\n"
        "catalog.load('sipakmed/single_cell', manual_dir=sys.argv[1], data_dir=sys.argv[2],"
        " check_counts=False)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", slow, raw, tmp_path / "data"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"PYTHONPATH": os.getcwd()},
    )
    while b"reading" not in process.stdout.readline():
        assert process.poll() is None
    time.sleep(0.2)
    process.send_signal(how)
    assert process.wait(timeout=120) != 0
    process.stdout.close()
    assert not (tmp_path / "data/sipakmed/single_cell/1.0.0").exists()
    assert len(load(raw, tmp_path)) == 15


# --- splits of data sets and the real set -------------------------------------------------------


def test_split_table_lists_every_example_once(tmp_path):
    raw = make_tree(tmp_path / "raw", cells=5)
    rows = cervix_jax.data.split_table(
        "sipakmed/single_cell",
        protocol="random",
        folds=2,
        manual_dir=raw,
        data_dir=tmp_path / "data",
        check_counts=False,
    )
    assert len(rows) == 25
    assert rows[0]["filename"] == "im_Dyskeratotic/001_01.bmp"
    assert rows[0]["group"] == "im_Dyskeratotic/001"
    assert rows[0]["label"] == "Dyskeratotic"
    assert {row["split"] for row in rows} == {"train", "val", "test"}
    assert [row["filename"] for row in rows] == sorted(row["filename"] for row in rows)


@pytest.mark.slow
def test_whole_real_set(sipakmed_cells):
    assert list(sipakmed_cells.class_counts.values()) == [813, 825, 793, 787, 831]
    assert list(sipakmed_cells.group_counts.values()) == [223, 238, 271, 108, 126]
    assert len(set(sipakmed_cells.groups)) == 966
    assert len(set(sipakmed_cells.filenames)) == 4049
    rows = cervix_jax.data.split_table(
        "sipakmed/single_cell", protocol="paper", data_dir=sipakmed_cells.path.parents[2]
    )
    assert sum(row["split"] == "test" for row in rows) == 409
    leak = cervix_jax.data.leakage([r["split"] for r in rows], [r["group"] for r in rows])
    assert leak.num_seen == 373
