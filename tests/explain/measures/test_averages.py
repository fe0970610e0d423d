import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cervix_jax.errors import InputError
from cervix_jax.explain.measures import summarise, summarise_by_class

NAN = float("nan")
RANDOM = np.random.default_rng(2)
GROUPS = np.repeat([f"slide_{number}" for number in range(12)], 5)
VALUES = RANDOM.normal(size=12).repeat(5) + 0.1 * RANDOM.normal(size=60)


def test_mean_interval_and_counts():
    found = summarise(VALUES, GROUPS)
    assert found["estimate"] == pytest.approx(VALUES.mean())
    low, high = found["interval"]
    assert low < found["estimate"] < high
    assert found["method"] == "bootstrap over groups"
    assert (found["n"], found["groups"], found["undefined"]) == (60, 12, 0)
    json.dumps(found, allow_nan=False)


def test_the_interval_is_that_of_the_group_means():
    """Equal groups: the mean of 12 group means, whose standard error is known; t of 11 degrees."""
    means = VALUES.reshape(12, 5).mean(1)
    low, high = summarise(VALUES, GROUPS)["interval"]
    expected = 2 * 2.201 * means.std(ddof=1) / np.sqrt(12)
    assert high - low == pytest.approx(expected, rel=0.05)
    alone = summarise(VALUES, [str(number) for number in range(60)])["interval"]
    assert alone[1] - alone[0] < 0.6 * (high - low)


def test_small_values_are_not_rounded_away():
    """Infidelity is in squared units of the score."""
    found, small = summarise(VALUES, GROUPS), summarise(1e-8 * VALUES, GROUPS)
    np.testing.assert_allclose(small["interval"], 1e-8 * np.array(found["interval"]), rtol=1e-9)


def test_two_groups_by_hand():
    """Each resample takes a twice, b twice (a quarter of them each), or both."""
    values, groups = [0.0, 0.0, 0.0, 1.0], ["a", "a", "a", "b"]
    found = summarise(values, groups)
    assert found["estimate"] == 0.25
    # Means of 0, 1 and twice 0.25 deviate by 0.375; t of 1 degree of freedom is 12.706.
    reach = 12.706 * 0.375 * np.sqrt(2)
    assert found["interval"] == pytest.approx([0.25 - reach, 0.25 + reach], rel=0.05)


def test_undefined_values_are_counted_and_not_averaged():
    values = np.array([1.0, NAN, 3.0, NAN, 5.0, 4.0])
    groups = ["a", "a", "b", "c", "d", "d"]
    found = summarise(values, groups)
    assert found["estimate"] == 3.25
    assert (found["n"], found["groups"], found["undefined"]) == (4, 3, 2)
    kept = [0, 2, 4, 5]
    alone = summarise(values[kept], [groups[i] for i in kept])
    assert alone["interval"] == found["interval"]


def test_nothing_defined_says_why():
    found = summarise([NAN, NAN], ["a", "b"], chance=[0.1, NAN])
    assert found["estimate"] is None
    assert found["interval"] is None
    assert "no image" in found["why"]
    assert (found["n"], found["groups"], found["undefined"]) == (0, 0, 2)
    json.dumps(found, allow_nan=False)


def test_one_group_has_no_interval():
    found = summarise([0.2, 0.4], ["a", "a"])
    assert found["estimate"] == pytest.approx(0.3)
    assert found["interval"] is None
    assert found["why"]


def test_chance_is_taken_from_the_images_that_are_defined():
    values, chance = np.array([0.4, 0.2, NAN, 0.6]), np.array([0.2, 0.1, 0.9, 0.3])
    found = summarise(values, list("abcd"), chance=chance)
    assert found["chance"] == pytest.approx(0.2)
    assert found["above_chance"]["estimate"] == pytest.approx(0.2)
    assert found["times_chance"]["estimate"] == pytest.approx(2)
    low, high = found["above_chance"]["interval"]
    assert low < 0.2 < high
    assert (low + high) / 2 == pytest.approx(0.2)
    # Every image has twice its chance, so no resample has another ratio.
    assert found["times_chance"]["interval"] is None
    json.dumps(found, allow_nan=False)
    assert summarise(values, list("abcd"), chance=np.zeros(4))["times_chance"]["estimate"] is None


def test_by_class():
    labels = np.tile([0, 2], 30)
    chance = RANDOM.uniform(0.1, 0.2, 60)
    found = summarise_by_class(VALUES, GROUPS, labels, ["x", "y", "z"], chance=chance, number=200)
    assert list(found) == ["x", "z"]
    for name, label in (("x", 0), ("z", 2)):
        rows = labels == label
        assert found[name] == summarise(VALUES[rows], GROUPS[rows], chance=chance[rows], number=200)
    assert sum(each["n"] for each in found.values()) == 60


@settings(max_examples=15)
@given(
    shift=st.floats(-10, 10),
    factor=st.floats(0.1, 10),
    order=st.permutations(range(60)),
    seed=st.integers(0, 3),
)
def test_order_does_not_matter_and_intervals_follow_the_values(shift, factor, order, seed):
    order = np.array(order)
    first = summarise(VALUES, GROUPS, number=100, seed=seed)
    again = summarise(factor * VALUES[order] + shift, GROUPS[order], number=100, seed=seed)
    assert again["estimate"] == pytest.approx(factor * first["estimate"] + shift, abs=1e-9)
    expected = [factor * end + shift for end in first["interval"]]
    np.testing.assert_allclose(again["interval"], expected, atol=1e-9)


@pytest.mark.parametrize(
    ("values", "groups", "chance", "message"),
    [
        ([], [], None, "values have shape"),
        ([[1.0]], ["a"], None, "values have shape"),
        ([1.0, np.inf], ["a", "b"], None, "infinite"),
        ([1.0, 2.0], ["a"], None, "1 names for 2 values"),
        ([1.0, 2.0], ["a", "b"], [0.5], "1 values for 2 images"),
        ([1.0, 2.0], ["a", "b"], [0.5, NAN], "chance is NaN"),
    ],
)
def test_bad_input(values, groups, chance, message):
    with pytest.raises(InputError, match=message):
        summarise(values, groups, chance=chance)


def test_bad_labels():
    with pytest.raises(InputError, match="2 values, 2 groups and 1 labels"):
        summarise_by_class([1.0, 2.0], ["a", "b"], [0], ["x"])
