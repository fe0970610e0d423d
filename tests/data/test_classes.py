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


def test_every_step_is_complete_and_says_its_source():
    for step in classes.STEPS:
        assert set(step.of.values()) == set(step.coarse)
        assert len(step.source) > 20
    fine = [frozenset(step.of) for step in classes.STEPS]
    assert len(set(fine)) == len(fine)


@pytest.mark.parametrize(
    ("names", "level", "message"),
    [
        (("cat", "dog"), 2, "no hierarchy knows them"),
        (("NILM", "LSIL"), 2, "no hierarchy knows them"),
        (("normal", "abnormal"), 2, "no hierarchy knows them"),
        (classes.STEPS[2].of, 5, "cannot be joined to 5; choose 4 or 2"),
    ],
)
def test_what_cannot_be_joined_is_said(names, level, message):
    with pytest.raises(InputError, match=message):
        classes.coarsen(tuple(names), level)
