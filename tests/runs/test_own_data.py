"""A run finds its own images, whatever became of the folder since it was trained."""

import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
from own_images import Trained, draw, draw_class

from cervix_jax.data.identity import DataIdentity
from cervix_jax.errors import InputError
from cervix_jax.runs import own_data


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    return Trained(tmp_path_factory.mktemp("original"))


@pytest.fixture
def trained(original, tmp_path):
    return original.copy(tmp_path / "copy")


@pytest.fixture
def warned(monkeypatch):
    lines = []
    log = SimpleNamespace(warning=lambda form, *given: lines.append(form % given))
    monkeypatch.setattr(own_data, "logging", log)
    return lines


def test_an_unchanged_folder(trained, warned):
    trained.assert_same(trained.open())
    assert warned == []


def test_added_images_take_no_part(trained, warned):
    draw_class(trained.cells / "HSIL", 900, 8)
    draw_class(trained.cells / "NILM", 800, 8)
    data = trained.open()
    trained.assert_same(data)
    assert data.leakage("test").share == trained.then.leakage("test").share
    [line] = warned
    assert "16 images were added since runs/cells was trained (HSIL/p90/00.png first)" in line
    assert line.endswith(f"python -m cervix_jax.evaluate --workdir=runs/cells --on={trained.cells}")


@pytest.mark.parametrize("number", [1, 5])
def test_removed_images_are_refused(trained, number):
    removed = sorted(trained.cells.glob("NILM/*/*.png"))[:number]
    for path in removed:
        path.unlink()
    message = rf"36 images, .* {number} are missing \(NILM/p30/00.png first\).*--on={trained.cells}"
    with pytest.raises(InputError, match=message):
        trained.open()


def test_an_image_replaced_under_its_name_is_refused(trained):
    draw(trained.cells / "HSIL/p10/01.png", 7)
    with pytest.raises(InputError, match=r"1 have the same name .* pixels \(HSIL/p10/01"):
        trained.open()


def test_a_relabelled_image_is_refused(trained):
    shutil.move(trained.cells / "HSIL/p10/01.png", trained.cells / "NILM/p30/new.png")
    with pytest.raises(InputError, match=r"1 have another class \(HSIL/p10/01.png first\)"):
        trained.open()


def test_moved_images_keep_their_names_and_division(trained, warned):
    for path in sorted(trained.cells.glob("*/p?0/*.png")):
        shutil.move(path, path.with_name(f"again_{path.name}"))
    trained.assert_same(trained.open())
    [line] = warned
    assert line.startswith("9 images were renamed since runs/cells was trained (HSIL/p10")


def test_the_whole_folder_may_lie_elsewhere(trained, warned):
    trained.cells.rename(trained.root / "moved")
    trained.assert_same(trained.open(cells="moved"))
    assert warned == []


def test_leakage_is_by_the_groups_of_today(trained, warned):
    """A patient of the test turns out to be one of training; the division stays what it was."""
    splits = dict(zip(trained.identity.groups, trained.identity.splits, strict=True))
    test = next(group for group, split in splits.items() if split == "test")
    train = next(
        group for group, split in splits.items() if split == "train" and group[:4] == test[:4]
    )
    for path in sorted((trained.cells / test).iterdir()):
        shutil.move(path, trained.cells / train / f"more_{path.name}")
    data = trained.open()
    trained.assert_same(data)
    assert trained.then.leakage("test").share == 0
    assert data.leakage("test").num_seen == 3
    assert "The groups of 6 images have changed since runs/cells" in warned[1]
    assert "use the current groups" in warned[1]


def test_groups_that_are_gone_are_those_of_training(trained, warned):
    trained.config.data.settings.group_pattern = None
    data = trained.open()
    trained.assert_same(data)
    assert data.dataset.groups == trained.identity.groups
    assert data.leakage("test").share == 0
    assert "recorded groups, as none are given now" in warned[0]


def test_unknown_groups_stay_unknown_under_other_names(tmp_path):
    trained = Trained(tmp_path, pattern="")
    assert trained.then.leakage("test").share is None
    (trained.cells / "HSIL").rename(trained.cells / "HSIL 2")
    data = trained.open(class_map={"HSIL": "HSIL 2"})
    trained.assert_same(data)
    assert data.leakage("test").share is None


def test_a_renamed_class_is_refused_or_mapped(trained):
    (trained.cells / "HSIL").rename(trained.cells / "Severe (HSIL)")  # now after NILM
    with pytest.raises(
        InputError, match=r"HSIL, LSIL, NILM, those of the data set LSIL, NILM, Severe \(HSIL"
    ):
        trained.open()
    trained.assert_same(trained.open(class_map={"HSIL": "Severe (HSIL)"}))


def test_a_further_class_is_refused(trained):
    shutil.copytree(trained.cells / "NILM", trained.cells / "AGC")
    with pytest.raises(InputError, match=r"AGC is unknown to the run\. Leave its images out"):
        trained.open()
    # Its copies of other images take no part.
    trained.assert_same(trained.open(class_map={"NILM": "AGC"}))


def test_a_class_fewer_is_missing(trained):
    shutil.rmtree(trained.cells / "HSIL")
    draw_class(trained.cells / "NILM", 900)
    with pytest.raises(InputError, match="12 are missing"):
        trained.open()


def test_a_class_without_images_is_said(trained, warned):
    recorded = trained.then.describe() | {"class_names": ["AGC", "HSIL", "LSIL", "NILM"]}
    counts = recorded["examples"]
    data = trained.open(recorded=recorded, identity=False)
    assert data.dataset.class_names == ("AGC", "HSIL", "LSIL", "NILM")
    assert data.dataset.labels.tolist() == (trained.then.dataset.labels + 1).tolist()
    assert {split: len(data.indices(split)) for split in counts} == counts
    assert "no images of AGC, classes of runs/cells" in warned[1]


def test_relative_folders_are_found_from_anywhere(trained, monkeypatch):
    """A run of one working directory is evaluated in another."""
    monkeypatch.chdir(trained.root)
    trained.config.data.manual_dir, trained.config.data.data_dir = "cells", "prepared"
    trained.identity = DataIdentity.of(trained.then, trained.config)
    assert trained.identity.manual_dir == str(trained.cells)
    assert trained.identity.data_dir == str(trained.root / "prepared")
    (trained.root / "elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    data = own_data.open_own_data(
        trained.config, trained.identity, trained.then.describe(), name="runs/cells"
    )
    trained.assert_same(data)
    assert not any(Path().iterdir())


def test_a_run_of_an_earlier_version_says_so(trained, warned):
    trained.assert_same(trained.open(identity=False))
    [line] = warned
    assert line.startswith("runs/cells was written by an earlier version, which did not record")


def test_a_run_of_an_earlier_version_matches_classes_by_name(trained):
    (trained.cells / "HSIL").rename(trained.cells / "Severe (HSIL)")
    with pytest.raises(InputError, match="is unknown to the run"):
        trained.open(identity=False)
    data = trained.open(identity=False, class_map={"HSIL": "Severe (HSIL)"})
    assert data.dataset.class_names == ("HSIL", "LSIL", "NILM")
    is_high = [name.startswith("Severe") for name in data.dataset.filenames]
    assert (data.dataset.labels == 0).tolist() == is_high


def test_a_run_of_an_earlier_version_with_another_number_of_images(trained):
    draw_class(trained.cells / "HSIL", 900, 9)
    with pytest.raises(InputError, match=r"made with \d+ train.* give \d+ train.*--on="):
        trained.open(identity=False)


def test_it_is_said_once(trained, warned):
    draw(trained.cells / "HSIL/p10/new.png", 900)
    trained.open()
    for _ in range(3):
        own_data.open_own_data(
            trained.config,
            trained.identity,
            trained.then.describe(),
            name="runs/cells",
            manual_dir=str(trained.cells),
        )
    assert len(warned) == 1
