import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from random_tables import random_table
from selection import tries
from sklearn.metrics import log_loss

from cervix_jax.statistics.resampling import Resamples
from cervix_jax.statistics.scores import (
    bin_confidences,
    brier,
    calibration_error_by_chance,
    expected_calibration_error,
    negative_log_likelihood,
)


@given(st.integers(0, 2**31), st.integers(2, 5))
@settings(max_examples=tries(30))
def test_proper_scores_equal_their_definitions(seed, num_classes):
    table = random_table(seed, num_classes=num_classes)
    labels, p = table.labels, table.probabilities
    assert negative_log_likelihood(labels, p).mean() == pytest.approx(
        log_loss(labels, p, labels=range(num_classes))
    )
    slow = [
        sum((q - (c == label)) ** 2 for c, q in enumerate(row))
        for label, row in zip(labels, p, strict=True)
    ]
    np.testing.assert_allclose(brier(labels, p), slow)
    assert ((brier(labels, p) >= 0) & (brier(labels, p) <= 2)).all()


def test_a_wrong_certainty_is_bad_but_finite():
    certain, wrong, right = np.array([[1.0, 0.0]]), np.array([1]), np.array([0])
    assert negative_log_likelihood(wrong, certain)[0] == pytest.approx(-np.log(1e-12))
    assert negative_log_likelihood(right, certain)[0] == 0
    assert brier(wrong, certain)[0] == 2
    assert brier(right, certain)[0] == 0


def slow_error(confidence, correct, edges):
    """Guo et al. (2017), eq. 3, as it stands there."""
    total = 0.0
    for low, high in itertools.pairwise(edges):
        inside = [(c, r) for c, r in zip(confidence, correct, strict=True) if low < c <= high]
        if inside:
            gap = np.mean([r for _, r in inside]) - np.mean([c for c, _ in inside])
            total += len(inside) / len(confidence) * abs(gap)
    return total


@given(st.integers(0, 2**31))
@settings(max_examples=tries(30))
def test_calibration_error_equals_a_loop_in_the_data_and_in_resamples(seed):
    table = random_table(seed)
    resamples = Resamples(table.groups, number=5, seed=seed)
    confidence, correct = table.probabilities.max(1), table.correct
    width = bin_confidences(table.labels, table.probabilities)
    mass = bin_confidences(table.labels, table.probabilities, equal_mass=True)
    inner = np.unique(np.quantile(confidence, np.arange(1, 15) / 15))
    for binned, edges in ((width, np.arange(16) / 15), (mass, [0, *inner, 1])):
        found = expected_calibration_error(resamples, binned)
        for row in range(6):
            copies = np.repeat(np.arange(60), resamples.weights[row][resamples.index].astype(int))
            expected = slow_error(confidence[copies], correct[copies], edges)
            assert found[row] == pytest.approx(expected, abs=1e-12)
        assert ((found >= 0) & (found <= 1)).all()


def test_bins_of_equal_mass_hold_equally_many_and_ties_stay_together():
    confidence = np.linspace(0.5, 1, 150)
    p = np.stack([confidence, 1 - confidence], 1)
    binned = bin_confidences(np.zeros(150, int), p, equal_mass=True)
    assert np.bincount(binned.bin).tolist() == [10] * 15
    tied = bin_confidences(np.zeros(30, int), np.tile([0.8, 0.2], (30, 1)), equal_mass=True)
    assert len(set(tied.bin)) == 1


def test_overconfidence_by_hand():
    """Ten predictions of 0.9, of which five are right: the error is 0.4."""
    p = np.tile([0.9, 0.1], (10, 1))
    binned = bin_confidences(np.repeat([0, 1], 5), p)
    error = expected_calibration_error(Resamples(np.arange(10), number=1), binned)
    assert error[0] == pytest.approx(0.4)
    # By chance |Binomial(10, 0.9) / 10 - 0.9| is at most 0.2 in 98.7 %, and at most 0.1 in 93 %.
    assert calibration_error_by_chance(binned) == pytest.approx(0.2)


def test_what_chance_gives_covers_calibrated_predictions():
    random = np.random.default_rng(0)
    below = 0
    for seed in range(200):
        p = random.dirichlet(np.ones(3), 200)
        labels = (p.cumsum(1) > random.random((200, 1))).argmax(1)
        binned = bin_confidences(labels, p)
        error = expected_calibration_error(Resamples(np.arange(200), number=0), binned)[0]
        below += error <= calibration_error_by_chance(binned, draws=300, seed=seed)
    assert 0.91 <= below / 200 <= 0.99
