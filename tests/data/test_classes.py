import numpy as np
import pytest

from cervix_jax.data import catalog, classes
from cervix_jax.errors import InputError


def names_of(builder: str) -> tuple[str, ...]:
    counts = catalog.find_builder(builder).OFFICIAL_COUNTS[builder.partition("/")[2]]
    return tuple(counts)


def joined(builder: str, level: int) -> dict[str, int]:
    """Number of official examples per joined class."""
    counts = catalog.find_builder(builder).OFFICIAL_COUNTS[builder.partition("/")[2]]
    names, index = classes.coarsen(tuple(counts), level)
    totals = np.bincount(index, weights=list(counts.values()), minlength=len(names))
    return dict(zip(names, totals.astype(int).tolist(), strict=True))


@pytest.mark.parametrize(
    ("builder", "level", "expected"),
    [
        ("sipakmed/single_cell", 3, {"normal": 1618, "benign": 793, "abnormal": 1638}),
        ("sipakmed/single_cell", 2, {"normal": 2411, "abnormal": 1638}),
        ("herlev/default", 4, {"NILM": 242, "LSIL": 182, "HSIL": 343, "CIS": 150}),
        ("herlev/default", 2, {"normal": 242, "abnormal": 675}),
        ("cric/cell", 3, {"NILM": 6779, "low-grade": 1966, "high-grade": 2789}),
        ("cric/cell", 2, {"normal": 6779, "abnormal": 4755}),
    ],
)
def test_joined_classes_have_the_published_numbers(builder, level, expected):
    assert joined(builder, level) == expected
    assert list(joined(builder, level)) == list(expected)


@pytest.mark.parametrize("builder", ["sipakmed/single_cell", "herlev/default", "cric/cell"])
def test_order_of_the_classes_does_not_matter_and_steps_compose(builder):
    names = names_of(builder)
    assert classes.levels(names)[-1] == 2
    middle, first = classes.coarsen(names, classes.levels(names)[0])
    coarse, second = classes.coarsen(middle, 2)
    direct_names, direct = classes.coarsen(names, 2)
    assert coarse == direct_names == ("normal", "abnormal")
    np.testing.assert_array_equal(second[first], direct)
    assert direct.dtype == np.int64
    order = np.random.default_rng(0).permutation(len(names))
    _, shuffled = classes.coarsen([names[i] for i in order], 2)
    np.testing.assert_array_equal(shuffled, direct[order])


def test_every_system_is_complete_and_says_who_joins_its_classes():
    for system in classes.SYSTEMS:
        assert len(set(system.names)) == len(system.names)
        assert set(system.joined) == (set(system.names) if system.coarser else set())
        if system.coarser:
            assert system.coarser in classes.SYSTEMS
            assert set(system.joined.values()) == set(system.coarser.names)
            assert len(system.source) > 20
    assert len({frozenset(system.names) for system in classes.SYSTEMS}) == len(classes.SYSTEMS)


def test_severity_grows_along_joined_classes():
    for system in classes.SYSTEMS:
        if system.ordinal and system.coarser:
            ranks = [system.coarser.names.index(system.joined[name]) for name in system.names]
            # ASC-H points to a high-grade lesion and comes after LSIL, so even CRIC's run upwards.
            assert ranks == sorted(ranks)


@pytest.mark.parametrize("builder", ["herlev/default", "cric/cell"])
def test_severity_of_ordinal_classes_in_any_order(builder):
    names = names_of(builder)
    assert classes.order_of(names[::-1]) == names
    middle, _ = classes.coarsen(names, classes.levels(names)[0])
    assert classes.order_of(middle[::-1]) == middle


@pytest.mark.parametrize(
    "names",
    [classes.SIPAKMED.names, ("normal", "benign", "abnormal"), ("normal", "abnormal"), ("a", "b")],
)
def test_other_classes_are_not_ordinal(names):
    assert classes.order_of(names) is None


@pytest.mark.parametrize(
    ("builder", "system"),
    [
        ("sipakmed/single_cell", classes.SIPAKMED),
        ("sipakmed/multi_cell", classes.SIPAKMED),
        ("herlev/default", classes.HERLEV),
        ("cric/cell", classes.CRIC),
    ],
)
def test_builders_count_their_classes_in_the_order_of_the_table(builder, system):
    assert names_of(builder) == system.names


@pytest.mark.parametrize(
    ("names", "level", "message"),
    [
        (("cat", "dog"), 2, "they belong to no known hierarchy"),
        (("NILM", "atypical"), 2, "they belong to no known hierarchy"),
        (("LSIL", "HSIL"), 2, "they belong to no known hierarchy"),
        (("normal", "abnormal"), 2, "they belong to no known hierarchy"),
        (classes.HERLEV.names, 5, "cannot be joined to 5; choose 4 or 2"),
    ],
)
def test_what_cannot_be_joined_is_said(names, level, message):
    with pytest.raises(InputError, match=message):
        classes.coarsen(tuple(names), level)


@pytest.mark.parametrize(
    ("names", "levels", "abnormal"),
    [
        (("HSIL", "NILM"), (2,), (True, False)),
        (("NILM", "LSIL", "HSIL"), (2,), (False, True, True)),
        (("HSIL", "LSIL", "NILM", "SCC"), (3, 2), (True, True, False, True)),
        (("abnormal", "normal"), (), (True, False)),
        (classes.SIPAKMED.names, (3, 2), (True, True, False, False, False)),
        (classes.HERLEV_BETHESDA.names, (2,), (False, True, True, True)),
        (("LSIL", "HSIL"), (), None),
        (("NILM", "NILM"), (), None),
        (("cat", "dog"), (), None),
    ],
)
def test_what_a_screening_test_looks_for(names, levels, abnormal):
    assert classes.levels(names) == levels
    found = classes.screening(names)
    assert found is None if abnormal is None else found.tolist() == list(abnormal)


def test_some_of_bethesdas_classes_are_joined_and_ordered_as_all_are():
    names = ("SCC", "NILM", "LSIL", "HSIL")
    assert classes.order_of(names) == ("NILM", "LSIL", "HSIL", "SCC")
    joined, index = classes.coarsen(names, 3)
    assert [joined[i] for i in index] == ["high-grade", "NILM", "low-grade", "high-grade"]
    assert classes.coarsen(("LSIL", "NILM"), 2)[1].tolist() == [1, 0]
