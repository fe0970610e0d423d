"""A run goes on with the images that it began with, or not at all."""

import json
import shutil

import numpy as np
import pytest
from own_images import Trained, draw, draw_class

from cervix_jax.data.experiment import open_data
from cervix_jax.errors import InputError
from cervix_jax.runs import own_data, workdir
from cervix_jax.training import cross_validation, run, same_data
from cervix_jax.training.same_data import common_identity, resumed_data


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    return Trained(tmp_path_factory.mktemp("original"))


@pytest.fixture
def begun(original, tmp_path):
    """Images that may be changed, and `folder`, the workdir of a run on them that was stopped."""
    copy = original.copy(tmp_path / "copy")
    copy.folder = tmp_path / "run"
    keep(copy.folder, workdir.dataset_item(copy.then.describe(), copy.identity))
    return copy


def keep(folder, item, step=3):
    path = folder / f"checkpoints/{step}/dataset/metadata"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(item))


def resume(begun):
    shutil.rmtree(begun.root / "prepared")
    data = open_data(begun.config, progress=False)
    return data, *resumed_data(begun.config, begun.folder, data)


def test_nothing_changed(begun):
    data = open_data(begun.config, progress=False)  # the same order, since it is not prepared anew
    resumed, identity = resumed_data(begun.config, begun.folder, data)
    assert resumed.pipeline is data.pipeline
    assert identity.to_json() == begun.identity.to_json()


def test_a_run_that_has_not_begun_takes_what_there_is(begun):
    draw_class(begun.cells / "HSIL", 900)
    shutil.rmtree(begun.folder)
    data, resumed, identity = resume(begun)
    assert resumed.pipeline is data.pipeline
    assert len(identity.filenames) == len(data.dataset) == 48


@pytest.mark.parametrize("order", ["prepared anew", "moved"])
def test_another_order_is_put_right(begun, order):
    """The batch of a step is made of positions."""
    if order == "moved":
        for path in sorted(begun.cells.glob("*/p?0/*.png")):
            shutil.move(path, path.with_name(f"again_{path.name}"))
    data, resumed, identity = resume(begun)
    if order == "moved":
        assert data.dataset.digests != begun.identity.digests
    begun.assert_same(resumed)
    assert identity.to_json() == begun.identity.to_json()


def change_added(cells):
    draw_class(cells / "NILM", 900)


def change_removed(cells):
    (cells / "HSIL/p10/01.png").unlink()


def change_replaced(cells):
    draw(cells / "HSIL/p10/01.png", 7)


def change_relabelled(cells):
    shutil.move(cells / "HSIL/p10/01.png", cells / "NILM/p30/new.png")


def change_class_renamed(cells):
    (cells / "HSIL").rename(cells / "high")


def change_class_more(cells):
    draw_class(cells / "AGC", 900)


def change_class_fewer(cells):
    shutil.rmtree(cells / "HSIL")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            change_added,
            r"started with 36 images; since then 12 were added \(NILM/p90/00.png first\)",
        ),
        (change_removed, r"1 are missing \(HSIL/p10/01.png first\)"),
        (change_replaced, r"1 have the same name but different pixels"),
        (change_relabelled, r"1 have another class"),
        (change_class_renamed, r"classes HSIL, LSIL, NILM, but .* has high, LSIL, NILM\."),
        (change_class_more, r"classes HSIL, LSIL, NILM, but .* has AGC, HSIL, LSIL, NILM\."),
        (change_class_fewer, r"classes HSIL, LSIL, NILM, but .* has LSIL, NILM\."),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_other_images_are_refused(begun, change, message):
    change(begun.cells)
    with pytest.raises(InputError, match=f"--workdir=.*/run .*{message}.* another --workdir"):
        resume(begun)


def test_other_groups_do_not_change_the_division(begun):
    splits = dict(zip(begun.identity.groups, begun.identity.splits, strict=True))
    test = next(group for group, split in splits.items() if split == "test")
    for path in sorted((begun.cells / test).iterdir()):
        shutil.move(path, begun.cells / test / ".." / f"{path.name}")
    _, resumed, identity = resume(begun)
    begun.assert_same(resumed)
    assert identity.groups == begun.identity.groups, "those that it was trained by"


def test_a_run_of_an_earlier_version_by_the_number_of_its_images(begun):
    shutil.rmtree(begun.folder)
    keep(begun.folder, begun.then.describe())
    resume(begun)
    change_removed(begun.cells)
    with pytest.raises(InputError, match=r"made with .* give .* another --workdir"):
        resume(begun)


def test_a_damaged_checkpoint_leaves_it_to_the_one_before(begun):
    draw_class(begun.cells / "HSIL", 900)
    keep(begun.folder, {}, step=6)
    (begun.folder / "checkpoints/6/dataset/metadata").write_text("{")
    with pytest.raises(InputError, match="12 were added"):
        resume(begun)


def test_training_asks_before_it_writes(begun):
    change_added(begun.cells)
    shutil.rmtree(begun.root / "prepared")
    with pytest.raises(InputError, match="12 were added"):
        run.train_and_evaluate(begun.config, begun.folder)
    assert [path.name for path in begun.folder.iterdir()] == ["checkpoints"]


def test_runs_of_one_division_have_the_same_images(begun, tmp_path):
    folders = [tmp_path / name for name in "abcd"]
    keep(folders[0], begun.then.describe())  # of an earlier version
    for folder in folders[1:3]:
        keep(folder, workdir.dataset_item(begun.then.describe(), begun.identity))
    found = common_identity(folders)
    assert found is not None
    assert found.to_json() == begun.identity.to_json()
    change_replaced(begun.cells)
    data, *_ = resume_nothing(begun)
    keep(folders[3], workdir.dataset_item(data.describe(), data_identity(begun, data)))
    with pytest.raises(
        InputError, match=r"/d was trained on other images than .*/b: 1 have the same"
    ):
        common_identity(folders)
    assert common_identity(folders[:1]) is None


def resume_nothing(begun):
    shutil.rmtree(begun.folder)
    return resume(begun)


def data_identity(begun, data):
    return type(begun.identity).of(data, begun.config)


def test_what_the_weights_had_seen_before_is_leakage(begun, monkeypatch):
    """A run of fold 1 that starts from the weights of fold 0, which trained on its test images."""
    said = []
    monkeypatch.setattr(same_data, "say_once", said.append)
    source = begun.folder
    config = begun.config.copy_and_resolve_references()
    config.model.init_from = str(source)
    config.split.fold = 1
    folder = begun.folder.parent / "next"
    data, identity = resumed_data(config, folder, begun.then.divided_by(config))
    made = begun.identity.digests_of("train", "val")
    assert set(identity.inherited) == made
    tested = identity.digests_of("test")
    count = len(tested & made)
    assert 0 < count <= len(tested)
    leak = data.leakage("test")
    assert leak.num_seen == leak.num_seen_in_train == count  # whole patients, here
    assert data.describe()["leakage"] == count / len(tested)
    [line] = said
    assert line.startswith(
        f"{count} of the {len(tested)} test images are training or validation images of"
    )
    # It is recorded, and what starts from that run in turn inherits it too.
    keep(folder, workdir.dataset_item(data.describe(), identity))
    again, _ = resumed_data(config, folder, begun.then.divided_by(config))
    assert again.leakage("test") == leak
    config.model.init_from = str(folder)
    _, grandchild = resumed_data(config, folder.parent / "third", begun.then.divided_by(config))
    assert set(grandchild.inherited) == identity.digests_of()
    opened = own_data.open_own_data(config, identity, begun.then.describe(), name="next")
    assert opened.leakage("test") == leak


def test_test_images_that_are_copies_are_said(begun, monkeypatch):
    said = []
    monkeypatch.setattr(same_data, "say_once", said.append)
    shutil.rmtree(begun.folder)
    resumed_data(begun.config, begun.folder, begun.then)
    assert said == []
    split_of = dict(zip(begun.identity.filenames, begun.identity.splits, strict=True))
    test = next(name for name, split in split_of.items() if split == "test")
    train = next(name for name, split in split_of.items() if split == "train")
    shutil.copy(begun.cells / test, begun.cells / train)
    resume(begun)
    assert said[0].startswith("1 of the ")
    assert f"({test} first)" in said[0]


def test_a_run_of_the_same_division_inherits_no_leakage(begun, monkeypatch):
    said = []
    monkeypatch.setattr(same_data, "say_once", said.append)
    begun.config.model.init_from = str(begun.folder)
    data, _ = resumed_data(begun.config, begun.folder.parent / "next", begun.then)
    assert data.leakage("test").share == 0
    assert said == []


@pytest.fixture
def crossed(begun):
    """A cross-validation of which two folds are done."""
    begun.config.cross_validation.seeds = 1
    for member in cross_validation.members(begun.config)[:2]:
        folder = cross_validation.folder_of(begun.folder, member)
        data = begun.then.divided_by(member)
        identity = type(begun.identity).of(data, member)
        keep(folder, workdir.dataset_item(data.describe(), identity))
    return begun


def open_next(crossed):
    member = cross_validation.members(crossed.config)[2]
    folders = [
        cross_validation.folder_of(crossed.folder, m)
        for m in cross_validation.members(crossed.config)
    ]
    shutil.rmtree(crossed.root / "prepared")
    data = cross_validation._open(
        member, common_identity(folders), crossed.folder, run.distributed.make_mesh(),
        progress=False,
    )  # fmt: skip
    return data.divided_by(member), crossed.then.divided_by(member)


def test_folds_to_come_divide_what_those_before_divided(crossed):
    for path in sorted(crossed.cells.glob("*/p?0")):
        path.rename(path.with_name(f"z{path.name}"))  # other names of files and groups
    data, then = open_next(crossed)
    assert data.dataset.digests == then.dataset.digests
    np.testing.assert_array_equal(data.splits, then.splits)


@pytest.mark.parametrize("change", [change_added, change_removed, change_relabelled])
def test_folds_of_other_images_are_refused(crossed, change):
    change(crossed.cells)
    with pytest.raises(InputError, match=r"--workdir=.*/run "):
        open_next(crossed)


def test_folds_of_other_groups_are_refused(crossed):
    for path in sorted((crossed.cells / "HSIL/p10").iterdir()):
        shutil.move(path, crossed.cells / "HSIL/p11" / f"more_{path.name}")
    with pytest.raises(InputError, match="remaining folds would not match"):
        open_next(crossed)
