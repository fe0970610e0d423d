import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from cervix_jax.statistics.delong import delong


def slow(first, second, positive):
    """DeLong et al. (1988), eqs. 4 to 6, pair by pair."""
    v10, v01, areas = [], [], []
    for scores in (first, second):
        x, y = scores[positive], scores[~positive]
        kernel = np.array([[1.0 if a > b else 0.5 if a == b else 0.0 for b in y] for a in x])
        v10.append(kernel.mean(1))
        v01.append(kernel.mean(0))
        areas.append(kernel.mean())

    def covariance(parts, i, j):
        a, b = parts[i], parts[j]
        terms = [(p - areas[i]) * (q - areas[j]) for p, q in zip(a, b, strict=True)]
        return sum(terms) / (len(a) - 1) / len(a)

    return areas, np.array(
        [[covariance(v10, i, j) + covariance(v01, i, j) for j in (0, 1)] for i in (0, 1)]
    )


@given(st.integers(0, 2**31), st.sampled_from([0, 1, 8]))
@settings(max_examples=40, deadline=None)
def test_equal_to_counting_pairs(seed, decimals):
    random = np.random.default_rng(seed)
    positive = np.arange(25) % 3 == 0
    first = np.round(random.normal(size=25) + positive, decimals)
    second = np.round(0.5 * first + random.normal(size=25), decimals)
    areas, covariance = slow(first, second, positive)
    found = delong(first, second, positive)
    assert found.aurocs == pytest.approx(areas)
    assert found.aurocs[0] == pytest.approx(roc_auc_score(positive, first))
    np.testing.assert_allclose(found.covariance, covariance, atol=1e-12)
    variance = covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1]
    z = (areas[0] - areas[1]) / np.sqrt(variance)
    assert found.p_value == pytest.approx(2 * norm.cdf(-abs(z)))
    half = 1.959963984540054 * np.sqrt(variance)
    assert found.interval == pytest.approx((areas[0] - areas[1] - half, areas[0] - areas[1] + half))


def test_equal_scores_do_not_differ():
    scores = np.random.default_rng(0).normal(size=20)
    found = delong(scores, scores, np.arange(20) < 8)
    assert (found.p_value, found.interval) == (1.0, None)


def test_two_perfect_opposites_have_no_variance():
    scores = np.arange(8.0)
    found = delong(scores, -scores, np.arange(8) >= 4)
    assert found.aurocs == (1.0, 0.0)
    assert found.p_value is None


def test_too_few_for_a_variance():
    scores = np.arange(5.0)
    assert delong(scores, scores, np.arange(5) == 0) is None
    assert delong(scores, scores, np.arange(5) > 4) is None


def test_it_rejects_equal_scores_five_times_in_a_hundred():
    random = np.random.default_rng(1)
    positive = np.arange(120) % 2 == 0
    p_values = []
    for _ in range(1500):
        common = random.normal(size=120) + positive
        first, second = common + random.normal(size=(2, 120))
        p_values.append(delong(first, second, positive).p_value)
    assert 0.035 <= np.mean(np.array(p_values) < 0.05) <= 0.065
