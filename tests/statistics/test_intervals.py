import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit, logit
from scipy.stats import norm

from cervix_jax.statistics.intervals import (
    ANY,
    basic_interval,
    by_group,
    group_interval,
    proportion,
    resampled,
    wilson_interval,
)

MANY = 1_000_000  # groups, so that Student's t is the normal distribution


@given(st.integers(1, 500), st.floats(0, 1))
def test_wilson_bounds_solve_its_equation(total, share):
    """A bound is where the estimate lies 1.96 standard errors, taken at the bound, away."""
    right = round(share * total)
    low, high = wilson_interval(right, total)
    assert 0 <= low <= right / total <= high <= 1
    z = norm.ppf(0.975)
    for bound in (low, high):
        if 0 < bound < 1:
            error = z * np.sqrt(bound * (1 - bound) / total)
            assert abs(right / total - bound) == pytest.approx(error, abs=1e-7)


def normal(estimate, deviation, size=100_000):
    """An estimate and resamples of it with that deviation."""
    return np.append(estimate, estimate + deviation * norm.ppf((np.arange(size) + 0.5) / size))


def test_students_t_for_the_number_of_groups():
    """Of 10 groups, 2.262 sqrt(10 / 9) = 2.3846 standard deviations instead of 1.960."""
    assert group_interval(normal(5, 1), 10, ANY) == pytest.approx((2.6154, 7.3846), abs=1e-3)
    assert group_interval(normal(5, 1), MANY, ANY) == pytest.approx((3.04, 6.96), abs=1e-3)


def test_bounds_are_kept_and_the_interval_is_lopsided_near_them():
    share = group_interval(normal(0.9, 0.05), 10)
    assert share == pytest.approx(
        expit(logit(0.9) + np.array([-1, 1]) * 2.3846 * 0.05 / 0.09), abs=1e-3
    )
    assert group_interval(normal(0.8, 0.1), 10, (-1, 1)) == pytest.approx(
        2 * np.array(group_interval(normal(0.9, 0.05), 10)) - 1, abs=1e-6
    )
    above = group_interval(normal(2, 0.5), 10, (0, np.inf))
    assert above == pytest.approx(2 * np.exp(np.array([-1, 1]) * 2.3846 * 0.25), rel=1e-3)
    assert group_interval(np.append(0.0, np.linspace(0, 1, 50)), 10)[0] == 0
    assert group_interval(normal(1e-9, 1.0), 3, (0, np.inf))[1] < np.inf


@given(st.floats(0, 1), st.lists(st.floats(0, 1), min_size=5, max_size=30), st.integers(2, 200))
def test_an_interval_holds_its_estimate(estimate, samples, groups):
    for bounds in ((0, 1), (-1, 1), (0, np.inf), ANY):
        interval = group_interval(np.array([estimate, *samples]), groups, bounds)
        if interval is not None:
            low, high = interval
            assert bounds[0] <= low <= estimate + 1e-12
            assert estimate - 1e-12 <= high <= bounds[1]
    reflected = basic_interval(np.array([estimate, *samples]), groups)
    assert reflected is None or 0 <= reflected[0] <= estimate <= reflected[1]


def test_a_calibration_error_is_reflected_and_lies_in_its_interval():
    samples = np.arange(1001.0)
    assert basic_interval(np.append(600, samples), MANY) == pytest.approx((225, 1175))
    assert basic_interval(np.append(400, samples), MANY) == pytest.approx((0, 775))  # not below 0
    # Resamples have more of it than the data; the reflection alone would end below it.
    assert basic_interval(np.append(0.05, np.linspace(0.06, 0.1, 1001)), MANY) == pytest.approx(
        (0.001, 0.05), abs=1e-3
    )


def test_no_interval_from_no_variation_or_too_few():
    assert group_interval(np.ones(101), 50) is None
    statistic = np.linspace(0.2, 0.8, 101)
    statistic[1:11] = np.nan
    assert group_interval(statistic, 50) is not None
    statistic[11] = np.nan
    assert group_interval(statistic, 50) is None
    assert group_interval(np.linspace(0.2, 0.8, 101), 1) is None
    assert group_interval(np.array([0.5]), 0) is None


def test_what_is_undefined_is_null_with_the_reason():
    statistic = np.full(101, np.nan)
    assert by_group(statistic, 30, "no such class") == {
        "estimate": None, "interval": None, "method": "bootstrap over groups",
        "why": "no such class",
    }  # fmt: skip
    statistic[:60] = np.linspace(0, 1, 60)
    found = by_group(statistic, 30, "no such class")
    assert (found["estimate"], found["interval"]) == (0.0, None)
    assert "undefined in 41% of the resamples" in found["why"]
    nothing = proportion(0, 0, statistic, 30, "never predicted")
    assert (nothing["estimate"], nothing["interval"], nothing["why"]) == (
        None, None, "never predicted",
    )  # fmt: skip
    json.dumps([found, nothing], allow_nan=False)


def test_a_proportion_has_both_intervals():
    statistic = normal(92 / 101, 0.03)
    found = proportion(92, 101, statistic, 30, "")
    assert found["estimate"] == 92 / 101
    assert found["interval"] == list(wilson_interval(92, 101))
    assert found["interval_by_group"] == pytest.approx(group_interval(statistic, 30), abs=1e-6)
    assert (found["successes"], found["n"]) == (92, 101)
    unvaried = proportion(101, 101, np.ones(1001), 30, "")
    assert unvaried["interval"] is not None
    assert (unvaried["interval_by_group"], unvaried["why"]) == (
        None, "all resamples are equal, so they show no spread",
    )  # fmt: skip


def test_a_resampled_metric_has_one_interval_by_both_names():
    found = resampled(normal(0.5, 0.1), 7, 30)
    assert found["interval"] == found["interval_by_group"]
    assert found["interval"] == pytest.approx(group_interval(normal(0.5, 0.1), 30), abs=1e-6)
    assert (found["n"], found["method"]) == (7, "bootstrap over groups")


def test_wilson_interval_of_the_paper():
    """92 of 101, by the closed form of Wilson (1927)."""
    n, p, z = 101, 92 / 101, 1.959963984540054
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z * np.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    np.testing.assert_allclose(wilson_interval(92, 101), [centre - half, centre + half], atol=1e-9)
    assert wilson_interval(0, 0) == (0.0, 1.0)
