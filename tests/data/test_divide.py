import logging

import numpy as np
import pytest
from PIL import Image

from cervix_jax.config.base import base_config
from cervix_jax.data import catalog, divide, prepared
from cervix_jax.data.experiment import with_absolute_folders
from cervix_jax.errors import InputError


@pytest.fixture
def folder(tmp_path):
    """Cells of 16 slides of two classes; slides 2 and 3 of each, and 4 and 5, share a cell."""
    seed = 1000
    for label in "AB":
        for slide in range(8):
            for cell in range(3):
                seed += 1
                shared = cell == 0 and slide in (2, 3, 4, 5)
                random = np.random.default_rng(slide // 2 + 10 * ord(label) if shared else seed)
                blocks = random.integers(0, 256, (8, 8, 3), np.uint8)
                path = tmp_path / "cells" / label / f"s{slide}_{cell}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(blocks).resize((40, 40), Image.Resampling.BICUBIC).save(path)
    return tmp_path / "cells"


def load(folder, data_dir, **settings) -> catalog.Dataset:
    pattern = {"group_pattern": "(?P<group>./s[0-9])_"} | settings
    return catalog.load(
        "image_folder/default", manual_dir=folder, data_dir=data_dir, settings=pattern
    )


def test_joined_keeps_slides_together_that_share_a_cell(folder, tmp_path):
    dataset = load(folder, tmp_path / "data")
    assert len(set(dataset.groups)) == 16
    assert len(set(dataset.joined_groups)) == 12
    position = {name: index for index, name in enumerate(dataset.filenames)}
    apart = 0
    for fold in range(4):
        parts = {
            protocol: divide.split_dataset(dataset, protocol=protocol, fold=fold, folds=4)
            for protocol in ("cluster", "joined")
        }
        for label in "AB":
            for one, other in ((2, 3), (4, 5)):
                slides = {
                    parts["joined"][position[f"{label}/s{slide}_{cell}.png"]]
                    for slide in (one, other)
                    for cell in range(3)
                }
                assert len(slides) == 1
                apart += (
                    len({parts["cluster"][position[f"{label}/s{s}_0.png"]] for s in (one, other)})
                    > 1
                )
        assert set(parts["joined"]) == {"train", "val", "test"}
    assert apart, "the protocol cluster divides some of them"


def test_joined_groups_are_compared_once_and_stored(folder, tmp_path, monkeypatch):
    first = load(folder, tmp_path / "data")
    joined = first.joined_groups
    again = load(folder, tmp_path / "data")
    monkeypatch.setattr(prepared, "find_duplicates", None)
    assert again.joined_groups == joined
    # Other groups, or other images, are joined anew.
    other = again.described(groups=tuple("x" for _ in again.groups))
    with pytest.raises(TypeError):
        _ = other.joined_groups
    monkeypatch.undo()
    for content in ("", "{}", '{"key": 1}', "[]"):
        (first.path / prepared.JOINED_FILE).write_text(content)
        assert load(folder, tmp_path / "data").joined_groups == joined


def absences(classes: str, splits: str, units: str, protocol: str = "cluster") -> list[str]:
    parts = {"t": "train", "v": "val", "x": "test"}
    return divide.absences(
        np.array([parts[letter] for letter in splits]),
        np.array(["ab".index(letter) for letter in classes]),
        list(units),
        ("mild", "severe", "never seen"),
        protocol=protocol,
        fold=1,
        folds=3,
    )


def test_classes_that_a_part_lacks_are_named():
    assert absences("aaabbb", "tvxtvx", "123456") == []
    (text,) = absences("aaabbb", "tvxttv", "123456")
    assert text.startswith(
        "split.protocol=cluster, split.fold=1 of 3: no test image of class severe;"
    )
    (text,) = absences("aaabbb", "tvxttv", "123456", "paper")
    assert text.startswith("split.protocol=paper: no test image of class severe;")
    # No validation images at all, as with split.refit, is no absence of a class.
    assert absences("aaabbb", "ttxttx", "123456") == []
    (text,) = absences("aaabbb", "tvxtvx", "123445")
    assert "split.folds=3: severe (2 groups) cannot be in the test split of every fold" in text


def test_absent_classes_are_warned_of_once(folder, tmp_path, caplog):
    for path in folder.glob("B/s[3-7]*"):
        path.unlink()
    dataset = load(folder, tmp_path / "data")
    with caplog.at_level(logging.WARNING, "absl"):
        for _ in range(2):
            for fold in range(5):
                divide.split_dataset(dataset, protocol="cluster", fold=fold, folds=5)
    assert caplog.text.count("B (3 groups) cannot be in the test split of every fold") == 1
    assert caplog.text.count("no test image of class B") == 2


def test_folders_of_a_config_are_found_from_anywhere(tmp_path, monkeypatch):
    config = base_config("image_folder/default")
    config.data.manual_dir, config.data.data_dir = "cells", "../data"
    monkeypatch.chdir(tmp_path)
    located = with_absolute_folders(config)
    assert located.data.manual_dir == str(tmp_path / "cells")
    assert (tmp_path / located.data.data_dir).resolve() == tmp_path.parent / "data"
    assert config.data.manual_dir == "cells", "the caller's config stays as it is"
    config.data.manual_dir = config.data.data_dir = ""
    assert with_absolute_folders(config).data.to_dict() == config.data.to_dict()
    config.data.manual_dir = "~nobody_of_this_name/cells"
    with pytest.raises(InputError, match=r"config\.data\.manual_dir"):
        with_absolute_folders(config)
