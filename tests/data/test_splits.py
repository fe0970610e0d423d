import collections
import csv
import logging
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from selection import tries

from cervix_jax.data import splits
from cervix_jax.errors import InputError
from tfds_builders.sipakmed.layout import find_items


@pytest.fixture(scope="module")
def cells(shared):
    """File names, labels and clusters of the 4049 single cells."""
    items = find_items(shared / "data" / "sipakmed", crops=True)
    return (
        [item.filename for item in items],
        np.asarray([item.label for item in items]),
        [item.cluster_id for item in items],
    )


def reference(shared, name: str):
    with (shared / "reference" / name).open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    classes = sorted({row["class"] for row in rows})
    names = [f"{row['class']}/{row['file']}" for row in rows]
    labels = [classes.index(row["class"]) for row in rows]
    return names, labels, [row["split"] for row in rows]


# --- the paper's splits -------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".bmp", ".jpg"])
def test_paper_split_of_fields_is_the_published_one(shared, suffix):
    names, labels, expected = reference(shared, "paper_split_sipakmed_multi_cell.csv")
    names = [name.replace(".bmp", suffix) for name in names]
    assert len(names) == 966
    got = splits.assign_splits(names, labels, names, protocol="paper")
    assert got.tolist() == expected


def test_paper_split_of_herlev_is_the_published_one(shared):
    names, labels, expected = reference(shared, "paper_split_herlev.csv")
    got = splits.assign_splits(names, labels, names, protocol="paper", ratios=(0.2, 0.0))
    assert len(names) == 917
    assert got.tolist() == expected


def test_paper_clusters_puts_cells_where_their_fields_are(shared, cells):
    names, labels, groups = cells
    got = splits.assign_splits(names, labels, groups, protocol="paper_clusters")
    fields, _, expected = reference(shared, "paper_split_sipakmed_multi_cell.csv")
    split_of = {
        name.removesuffix(".bmp"): part for name, part in zip(fields, expected, strict=True)
    }
    assert got.tolist() == [split_of[group] for group in groups]
    assert len({g for g, part in zip(groups, got, strict=True) if part == "test"}) == 101
    assert splits.leakage(got, groups).share == 0


def test_paper_split_of_cells_has_the_published_sizes_and_leakage(cells):
    names, labels, groups = cells
    got = splits.assign_splits(names, labels, groups, protocol="paper")
    assert collections.Counter(got.tolist()) == {"train": 2832, "val": 808, "test": 409}
    assert np.bincount(labels[got == "test"]).tolist() == [82, 83, 80, 80, 84]
    leak = splits.leakage(got, groups)
    # 373 of 409 share a cluster with a cell of train or val, 366 with one of train.
    assert (leak.num_test, leak.num_seen, leak.num_seen_in_train) == (409, 373, 366)
    assert leak.share == pytest.approx(0.912, abs=5e-4)


@pytest.mark.parametrize("protocol", ["random", "cluster", "block"])
def test_folds_of_the_real_cells(cells, protocol):
    names, labels, groups = cells
    tested = []
    for fold in range(5):
        got = splits.assign_splits(names, labels, groups, protocol=protocol, fold=fold)
        tested += np.flatnonzero(got == "test").tolist()
        share = {name: (got == name).mean() for name in splits.SPLITS}
        tolerance = 0.05 if protocol == "block" else 0.002
        assert share["test"] == pytest.approx(0.2, abs=tolerance)
        assert share["val"] == pytest.approx(0.1, abs=tolerance)
        for label in range(5):
            assert {"train", "val", "test"} == set(got[labels == label])
        leak = splits.leakage(got, groups)
        assert leak.share > 0.85 if protocol == "random" else leak.num_seen == 0
    assert sorted(tested) == list(range(4049))


def test_blocks_are_contiguous_cluster_numbers(cells):
    names, labels, groups = cells
    got = splits.assign_splits(names, labels, groups, protocol="block", fold=2, folds=5)
    for label in range(5):
        here = sorted({(g, s) for g, s, c in zip(groups, got, labels, strict=True) if c == label})
        runs = [name for i, (_, name) in enumerate(here) if i == 0 or here[i - 1][1] != name]
        assert runs == ["train", "test", "val", "train"]
        count = collections.Counter(name for _, name in here)
        assert abs(count["test"] - len(here) / 5) <= 1
        assert abs(count["val"] - len(here) / 10) <= 1


def test_last_block_takes_its_validation_from_the_start_and_numbers_sort_as_numbers():
    names = [f"im_A/{n}_1.bmp" for n in range(1, 21)]
    groups = [f"im_A/{n}" for n in range(1, 21)]  # not zero-padded
    got = splits.assign_splits(names, [0] * 20, groups, protocol="block", fold=4, folds=5)
    assert got.tolist() == ["val"] * 2 + ["train"] * 14 + ["test"] * 4


# --- properties ---------------------------------------------------------------------------------


@st.composite
def datasets(draw):
    """Folds, and a data set of which every class has at least 2 x folds groups."""
    folds = draw(st.integers(2, 6))
    classes = draw(st.integers(1, 3))
    least = 2 * folds * classes
    sizes = draw(st.lists(st.integers(1, 8), min_size=least, max_size=least + 10))
    names, labels, groups = [], [], []
    for number, size in enumerate(sizes):
        for cell in range(size):
            group = f"g{number:02d}"
            names.append(f"{group}_{cell}.png")
            labels.append(number % classes)
            groups.append(group)
    return folds, names, labels, groups


@settings(max_examples=tries(50))
@given(
    data=datasets(),
    protocol=st.sampled_from(["random", "cluster", "block"]),
    seed=st.integers(0, 3),
)
def test_folds_partition_the_data_and_ignore_its_order(data, protocol, seed):
    folds, names, labels, groups = data
    order = list(range(len(names)))
    random.Random(seed).shuffle(order)
    tested = []
    for fold in range(folds):
        kwargs = {"protocol": protocol, "fold": fold, "folds": folds, "seed": seed}
        got = splits.assign_splits(names, labels, groups, **kwargs)
        again = splits.assign_splits(
            [names[i] for i in order],
            [labels[i] for i in order],
            [groups[i] for i in order],
            **kwargs,
        )
        assert [again[order.index(i)] for i in range(len(names))] == got.tolist()
        assert set(got) == {"train", "val", "test"}
        tested += [name for name, split in zip(names, got, strict=True) if split == "test"]
        if protocol != "random":
            split_of = collections.defaultdict(set)
            for group, split in zip(groups, got, strict=True):
                split_of[group].add(split)
            assert all(len(found) == 1 for found in split_of.values())
            assert splits.leakage(got, groups).share == 0
    assert sorted(tested) == sorted(names)


def test_groups_that_mix_classes_stay_whole():
    rng = np.random.default_rng(0)
    groups = [f"slide{n}" for n in rng.integers(0, 40, 400)]
    labels = rng.integers(0, 6, 400)
    names = [f"{n}.png" for n in range(400)]
    for protocol in ("cluster", "block"):
        for fold in range(5):
            got = splits.assign_splits(names, labels, groups, protocol=protocol, fold=fold)
            assert set(got) == {"train", "val", "test"}
            assert splits.leakage(got, groups).num_seen == 0
            rest = got != "test"
            val_as_test = np.where(got[rest] == "val", "test", "train")
            assert splits.leakage(val_as_test, np.asarray(groups)[rest]).num_seen == 0


def test_seed_changes_random_and_cluster_only(cells):
    for protocol, differs in (("random", True), ("cluster", True), ("block", False)):
        a, b = (splits.assign_splits(*cells, protocol=protocol, seed=seed) for seed in (0, 1))
        assert (a != b).any() == differs


def test_a_class_smaller_than_the_folds_gives_no_warning(caplog):
    names = [f"{n:02d}.png" for n in range(22)]
    labels = [0] * 20 + [1] * 2
    with caplog.at_level(logging.WARNING):
        got = splits.assign_splits(names, labels, names, protocol="cluster")
    assert set(got) == {"train", "val", "test"}


def test_leakage_counts_groups_of_train_and_of_val():
    leak = splits.leakage(
        ["train", "val", "test", "test", "test", "test"], ["a", "b", "a", "b", "c", "c"]
    )
    assert (leak.num_test, leak.num_seen, leak.num_seen_in_train) == (4, 2, 1)
    assert leak.share == 0.5
    assert splits.leakage(["train"], ["a"]).share == 0


def test_leakage_is_unknown_where_every_group_is_its_own_image():
    names, parts = ["a.png", "b.png", "c.png"], ["train", "test", "test"]
    unknown = splits.leakage(parts, names, names)
    assert (unknown.share, unknown.share_in_train, unknown.num_test) == (None, None, 2)
    assert not splits.groups_known(names, names)
    known = splits.leakage(parts, ["a.png", "a.png", "c.png"], names)
    assert (known.share, known.share_in_train) == (0.5, 0.5)
    # Groups of one image each are known where somebody named them.
    assert splits.leakage(parts, ["p1", "p2", "p3"], names).share == 0
    assert splits.leakage(parts, np.array(names), np.array(names)).share is None
    assert splits.leakage(parts, names).share == 0, "without names nothing shows"


# --- bad input ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"protocol": "clusters"}, "split.protocol='clusters' (did you mean 'cluster'?)"),
        ({"protocol": "cluster", "fold": 5}, "split.fold=5: with split.folds=5 choose 0 to 4"),
        ({"protocol": "random", "fold": -1}, "split.fold=-1"),
        ({"protocol": "random", "folds": 1}, "split.folds=1"),
        ({"protocol": "paper", "fold": 1}, "split.fold=1: the protocol 'paper' has a single split"),
        ({"protocol": "paper", "ratios": (0.8, 0.3)}, "ratios=(0.8, 0.3)"),
        ({"protocol": "cluster", "folds": 7}, "only 6 groups"),
        ({"protocol": "block", "folds": 7}, "only 6 groups"),
        ({"protocol": "random", "folds": 13}, "only 12 examples"),
    ],
)
def test_bad_arguments_are_explained(kwargs, message):
    names = [f"{n:02d}.png" for n in range(12)]
    groups = [f"g{n // 2}" for n in range(12)]
    with pytest.raises(InputError) as error:
        splits.assign_splits(names, [0, 1] * 6, groups, **kwargs)
    assert message in str(error.value)


def test_too_few_for_three_parts_is_refused():
    names = ["a", "b", "c"]
    with pytest.raises(InputError, match="leave no examples for train"):
        splits.assign_splits(names, [0, 0, 0], names, protocol="block", folds=2)
    with pytest.raises(InputError, match="leave no examples for val"):
        splits.assign_splits(names, [0, 0, 0], names, protocol="paper")


def test_unequal_lengths_doubles_and_nothing_are_refused():
    with pytest.raises(InputError, match="1 labels"):
        splits.assign_splits(["a", "b"], [0], ["g", "g"], protocol="random")
    with pytest.raises(InputError, match="twice"):
        splits.assign_splits(["a", "a"], [0, 0], ["g", "g"], protocol="random")
    with pytest.raises(InputError, match="no examples"):
        splits.assign_splits([], [], [], protocol="random")
