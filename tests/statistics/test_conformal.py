import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from selection import tries

from cervix_jax.statistics.conformal import (
    aps_scores,
    conformal_threshold,
    lac_scores,
    prediction_sets,
)


def sample(random, n, sharpness=1.0):
    """Labels, and probabilities that are wrong by a sharpness: conformal sets must not mind."""
    logits = 1.5 * random.normal(size=(n, 4))
    true = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    stated = np.exp(sharpness * logits)
    labels = (true.cumsum(1) > random.random((n, 1))).argmax(1)
    return labels, stated / stated.sum(1, keepdims=True)


def test_the_threshold_by_hand():
    scores = np.array([0.5, 0.1, 0.3, 0.2, 0.4, 0.6, 0.7, 0.8, 0.9])
    assert conformal_threshold(scores, 0.9) == 0.9  # ceil(10 * 0.9) = 9th of 9
    assert conformal_threshold(scores, 0.8) == 0.8
    assert conformal_threshold(scores, 0.75) == 0.8
    assert conformal_threshold(scores, 0.95) == math.inf


@given(st.integers(0, 2**31))
@settings(max_examples=tries(30))
def test_aps_scores_equal_a_loop(seed):
    random = np.random.default_rng(seed)
    p, u = random.dirichlet(np.ones(4), 5), random.random(5)
    expected = [
        [sum(q for q in row if q > row[c]) + share * row[c] for c in range(4)]
        for row, share in zip(p, u, strict=True)
    ]
    np.testing.assert_allclose(aps_scores(p, u), expected)
    assert (lac_scores(p) == 1 - p).all()


@pytest.mark.parametrize("method", ["lac", "aps"])
@pytest.mark.parametrize("coverage", [0.9, 0.95])
def test_coverage_is_what_was_promised(method, coverage):
    """On average over validation sets it lies in [coverage, coverage + 1 / (n + 1)]."""
    random = np.random.default_rng(0)
    measured = []
    for trial in range(400):
        validation = sample(random, 99, sharpness=3.0)
        labels, p = sample(random, 200, sharpness=3.0)
        sets, _ = prediction_sets(method, validation, p, coverage, seed=trial)
        measured.append(sets[np.arange(200), labels].mean())
    error = np.std(measured) / 20
    assert coverage - 3 * error <= np.mean(measured) <= coverage + 0.01 + 3 * error


def test_lac_sets_are_the_smaller():
    random = np.random.default_rng(1)
    validation, (_, p) = sample(random, 2000), sample(random, 2000)
    size = {m: prediction_sets(m, validation, p, 0.9)[0].sum(1).mean() for m in ("lac", "aps")}
    assert 1 < size["lac"] < size["aps"] < 4


def test_too_small_a_validation_set_rules_nothing_out():
    random = np.random.default_rng(2)
    sets, threshold = prediction_sets("lac", sample(random, 8), sample(random, 5)[1], 0.9)
    assert sets.all()
    assert threshold == math.inf
