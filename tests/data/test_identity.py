"""An example is found again by its pixels, under whatever name."""

import dataclasses
import json
import unicodedata

import numpy as np
import pytest

from cervix_jax.data.identity import DataIdentity
from cervix_jax.errors import InputError

CLASSES = ("HSIL", "NILM")
ROWS = [  # name, pixels, class, group, split
    ("HSIL/a.png", "A", "HSIL", "p1", "train"),
    ("HSIL/b.png", "B", "HSIL", "p1", "train"),
    ("HSIL/c.png", "C", "HSIL", "p2", "val"),
    ("NILM/d.png", "D", "NILM", "p3", "train"),
    ("NILM/e.png", "E", "NILM", "p3", "test"),
    ("NILM/f.png", "F", "NILM", "p4", "test"),
]


@dataclasses.dataclass(frozen=True)
class Images:
    """What `differences` asks of a data set."""

    class_names: tuple[str, ...]
    filenames: tuple[str, ...]
    digests: tuple[str, ...]
    labels: np.ndarray
    groups: tuple[str, ...]


def dataset(rows, classes=CLASSES):
    return Images(
        class_names=classes,
        filenames=tuple(row[0] for row in rows),
        digests=tuple(row[1] for row in rows),
        labels=np.array([classes.index(row[2]) for row in rows]),
        groups=tuple(row[3] for row in rows),
    )


@pytest.fixture
def identity():
    data = dataset(ROWS)
    return DataIdentity(
        name="image_folder/default",
        version="1.0.0",
        group_feature="group_id",
        settings={"group_pattern": "parent"},
        manual_dir="/data/cells",
        data_dir="/data/prepared",
        splits=np.array([row[4] for row in ROWS]),
        inherited=("E", "X"),
        **vars(data),
    )


def renamed(rows, **names):
    """Rows with other values in a column, by the name of the image's pixels."""
    column = names.pop("column")
    return [
        tuple(names.get(row[1], v) if i == column else v for i, v in enumerate(row)) for row in rows
    ]


def found(identity, rows, classes=CLASSES, class_map=None):
    differences = identity.differences(dataset(rows, classes), class_map)
    values = {f.name: getattr(differences, f.name) for f in dataclasses.fields(differences)}
    places = values.pop("places")
    names = [row[1] for row in rows]
    for place, digest in zip(places, identity.digests, strict=True):
        assert place == -1 or names[place] == digest
    return {name: value for name, value in values.items() if value}


def test_the_same_examples_in_any_order_differ_in_nothing(identity):
    assert found(identity, ROWS) == {}
    assert found(identity, ROWS[::-1]) == {}
    assert not identity.differences(dataset(ROWS)).any


def test_added_images_are_named_and_forbid_nothing(identity):
    more = [("HSIL/0.png", "X", "HSIL", "p9", ""), *ROWS, ("NILM/z.png", "Z", "NILM", "p3", "")]
    assert found(identity, more) == {"added": ("HSIL/0.png", "NILM/z.png")}
    differences = identity.differences(dataset(more))
    assert not differences.forbids
    assert differences.places.tolist() == [1, 2, 3, 4, 5, 6]
    assert differences.text() == "2 were added (HSIL/0.png first)"


def test_removed_images_are_missing(identity):
    assert found(identity, ROWS[1:5]) == {"missing": ("HSIL/a.png", "NILM/f.png")}
    assert identity.differences(dataset(ROWS[1:])).forbids


def test_an_image_replaced_under_its_name_is_changed(identity):
    assert found(identity, renamed(ROWS, column=1, B="B2")) == {"changed": ("HSIL/b.png",)}


def test_an_image_under_another_name_is_moved(identity):
    rows = renamed(ROWS, column=0, C="HSIL/deeper/c2.png")
    assert found(identity, rows) == {"moved": ("HSIL/c.png",)}
    assert not identity.differences(dataset(rows)).forbids


def test_exchanged_files_are_moved_not_changed(identity):
    rows = renamed(ROWS, column=0, A="HSIL/b.png", B="HSIL/a.png")
    assert found(identity, rows) == {"moved": ("HSIL/a.png", "HSIL/b.png")}


def test_another_class_is_relabelled_wherever_it_lies(identity):
    listed = renamed(ROWS, column=2, B="NILM")
    assert found(identity, listed) == {"relabelled": ("HSIL/b.png",)}
    dragged = renamed(listed, column=0, B="NILM/b.png")
    assert found(identity, dragged)["relabelled"] == ("HSIL/b.png",)
    assert identity.differences(dataset(dragged)).forbids


def test_a_copy_in_another_class_is_added_and_the_original_stays(identity):
    copy = ("HSIL/e.png", "E", "HSIL", "p9", "")
    for rows in ([copy, *ROWS], [*ROWS, copy]):
        assert found(identity, rows) == {"added": ("HSIL/e.png",)}
    # Also where the original moved: its class says which of the two it is.
    rows = [copy, *renamed(ROWS, column=0, E="NILM/x.png")]
    assert found(identity, rows) == {"added": ("HSIL/e.png",), "moved": ("NILM/e.png",)}


def test_copies_are_each_counted(identity):
    twice = [*ROWS, ("NILM/g.png", "F", "NILM", "p4", "train")]
    data = dataset(twice)
    both = dataclasses.replace(identity, splits=np.array([row[4] for row in twice]), **vars(data))
    assert found(both, twice) == {}
    assert found(both, ROWS) == {"missing": ("NILM/g.png",)}


def test_groups_are_compared_by_who_is_together(identity):
    other_names = [(*row[:3], f"patient {row[3]}", row[4]) for row in ROWS]
    assert found(identity, other_names) == {}
    merged = renamed(ROWS, column=3, F="p3")
    assert found(identity, merged) == {"regrouped": ("NILM/d.png", "NILM/e.png", "NILM/f.png")}
    divided = renamed(ROWS, column=3, A="p0")
    assert found(identity, divided) == {"regrouped": ("HSIL/a.png", "HSIL/b.png")}
    assert not identity.differences(dataset(divided)).forbids


def test_classes_are_those_of_the_same_name(identity):
    assert found(identity, ROWS, classes=("NILM", "HSIL")) == {}
    more = [*ROWS, ("LSIL/x.png", "X", "LSIL", "p9", "")]
    assert found(identity, more, classes=("HSIL", "LSIL", "NILM"))["classes"] == ("LSIL",)
    assert identity.differences(dataset(more, ("HSIL", "LSIL", "NILM"))).forbids


def test_renamed_classes_are_mapped(identity):
    rows = [
        (row[0].replace("HSIL", "high"), row[1], row[2].replace("HSIL", "high"), *row[3:])
        for row in ROWS
    ]
    classes = ("NILM", "high")
    assert found(identity, rows, classes)["classes"] == ("high",)
    mapped = found(identity, rows, classes, {"HSIL": "high"})
    assert mapped == {"moved": ("HSIL/a.png", "HSIL/b.png", "HSIL/c.png")}
    with pytest.raises(InputError, match="'hgih' is not a class"):
        identity.differences(dataset(rows, classes), {"HSIL": "hgih"})


def test_names_are_compared_in_nfc(identity):
    name = "HSIL/é.png"
    own = dataclasses.replace(identity, filenames=(name, *identity.filenames[1:]))
    other = renamed(ROWS, column=0, A=unicodedata.normalize("NFD", name))
    assert found(own, other) == {}


def test_it_survives_json(identity):
    values = json.loads(json.dumps(identity.to_json()))
    again = DataIdentity.from_json(values)
    assert again is not None
    assert json.loads(json.dumps(again.to_json())) == values
    for field in dataclasses.fields(identity):
        np.testing.assert_array_equal(getattr(again, field.name), getattr(identity, field.name))
    assert not again.differences(dataset(ROWS)).any


def test_runs_of_earlier_versions_have_counts_there():
    assert DataIdentity.from_json({"train": 24, "val": 6, "test": 10}) is None


def test_an_identity_without_what_was_inherited(identity):
    values = identity.to_json()
    del values["inherited"]
    again = DataIdentity.from_json(values)
    assert again is not None
    assert again.inherited == ()


def test_a_damaged_identity_is_no_identity(identity):
    values = identity.to_json()
    with pytest.raises(ValueError, match="have no splits"):
        DataIdentity.from_json({k: v for k, v in values.items() if k != "splits"})
    with pytest.raises(ValueError, match="differ in length"):
        DataIdentity.from_json(values | {"groups": ["p1"]})
    with pytest.raises(ValueError, match="another format"):
        DataIdentity.from_json(values | {"labels": None, "groups": None})


def test_what_the_run_was_made_with(identity):
    assert identity.digests_of() == set("ABCDEX"), "with what its weights had seen before"
    assert identity.digests_of("test") == set("EF")
    assert identity.counts() == {"train": 3, "val": 1, "test": 2}
