import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm

from cervix_jax.statistics.intervals import (
    basic_interval,
    by_group,
    percentile_interval,
    proportion,
    resampled,
    wilson_interval,
)


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


def test_percentiles_and_their_reflection():
    samples = np.arange(1001.0)
    assert percentile_interval(samples) == pytest.approx((25, 975))
    assert percentile_interval(samples, 0.9) == pytest.approx((50, 950))
    assert basic_interval(samples, 600) == pytest.approx((225, 1175))
    assert basic_interval(samples, 400) == pytest.approx((0, 775))  # never below 0


def test_no_interval_from_no_variation_or_too_few():
    assert percentile_interval(np.ones(100)) is None
    samples = np.arange(100.0)
    samples[:10] = np.nan
    assert percentile_interval(samples) == pytest.approx(np.quantile(samples[10:], (0.025, 0.975)))
    samples[10] = np.nan
    assert percentile_interval(samples) is None
    assert percentile_interval(np.empty(0)) is None


def test_what_is_undefined_is_null_with_the_reason():
    statistic = np.full(101, np.nan)
    assert by_group(statistic, "no such class") == {
        "estimate": None, "interval": None, "method": "bootstrap over groups",
        "why": "no such class",
    }  # fmt: skip
    statistic[:60] = np.linspace(0, 1, 60)
    found = by_group(statistic, "no such class")
    assert (found["estimate"], found["interval"]) == (0.0, None)
    assert "undefined in 41% of the resamples" in found["why"]
    nothing = proportion(0, 0, statistic, "never predicted")
    assert (nothing["estimate"], nothing["interval"], nothing["why"]) == (
        None, None, "never predicted",
    )  # fmt: skip
    json.dumps([found, nothing], allow_nan=False)


def test_a_proportion_has_both_intervals():
    statistic = np.append(0.9, np.linspace(0.8, 1.0, 1001))
    found = proportion(92, 101, statistic, "")
    assert found["estimate"] == 92 / 101
    assert found["interval"] == list(wilson_interval(92, 101))
    assert found["interval_by_group"] == pytest.approx([0.805, 0.995])
    assert (found["successes"], found["n"]) == (92, 101)
    unvaried = proportion(101, 101, np.ones(1001), "")
    assert unvaried["interval"] is not None
    assert (unvaried["interval_by_group"], unvaried["why"]) == (
        None, "all resamples agree, so they show no spread",
    )  # fmt: skip


def test_a_resampled_metric_has_one_interval_by_both_names():
    found = resampled(np.append(0.5, np.linspace(0, 1, 1001)), 7)
    assert found["interval"] == found["interval_by_group"] == [0.025, 0.975]
    assert (found["n"], found["method"]) == (7, "bootstrap over groups")


def test_wilson_interval_of_the_paper():
    """92 of 101, by the closed form of Wilson (1927)."""
    n, p, z = 101, 92 / 101, 1.959963984540054
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z * np.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    np.testing.assert_allclose(wilson_interval(92, 101), [centre - half, centre + half], atol=1e-9)
    assert wilson_interval(0, 0) == (0.0, 1.0)
