import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from random_tables import random_table
from selection import tries

from cervix_jax.statistics.aggregation import RULES, aggregate, aggregation_report
from cervix_jax.statistics.table import PredictionTable

P = np.array([[0.6, 0.3, 0.1], [0.5, 0.4, 0.1], [0.05, 0.9, 0.05]])


def test_rules_by_hand():
    geometric = np.array([0.6 * 0.5 * 0.05, 0.3 * 0.4 * 0.9, 0.1 * 0.1 * 0.05]) ** (1 / 3)
    ored = 1 - np.array([0.4 * 0.5 * 0.95, 0.7 * 0.6 * 0.1, 0.9 * 0.9 * 0.95])
    for rule, expected in {
        "mean_log_probability": geometric / geometric.sum(),
        "mean": P.mean(0),
        "vote": (np.array([2, 1, 0]) + P.mean(0)) / 4,
        "noisy_or": ored / ored.sum(),
    }.items():
        np.testing.assert_allclose(RULES[rule](P), expected, err_msg=rule)
    # Two of three say the first class, the sure third says the second.
    assert [int(RULES[rule](P).argmax()) for rule in RULES] == [1, 1, 0, 1]


@given(st.integers(0, 2**31), st.integers(1, 30), st.sampled_from(list(RULES)))
@settings(max_examples=tries(60))
def test_probabilities_of_any_order_of_images(seed, n, rule):
    p = np.random.default_rng(seed).dirichlet(0.1 * np.ones(4), n)  # some are almost 0
    found = RULES[rule](p)
    assert found.sum() == pytest.approx(1)
    assert (found >= 0).all()
    np.testing.assert_allclose(RULES[rule](p[::-1]), found, rtol=1e-9)
    np.testing.assert_allclose(RULES[rule](np.tile(p[0], (3, 1))).argmax(), p[0].argmax())


@given(st.integers(0, 2**31), st.integers(1, 9))
@settings(max_examples=tries(60))
def test_votes_decide_and_the_mean_settles_ties(seed, n):
    p = np.random.default_rng(seed).dirichlet(0.3 * np.ones(3), n)
    votes = np.bincount(p.argmax(1), minlength=3)
    most = np.flatnonzero(votes == votes.max())
    assert RULES["vote"](p).argmax() == most[p.mean(0)[most].argmax()]


def test_certainty_against_certainty_stays_finite():
    p = np.array([[1.0, 0.0], [0.0, 1.0]])
    for rule in RULES.values():
        np.testing.assert_allclose(rule(p), [0.5, 0.5])


def table_of(groups, labels, p):
    names = tuple(f"{i}.png" for i in range(len(labels)))
    arrays = np.asarray(groups), np.asarray(labels), np.asarray(p)
    return PredictionTable(names, *arrays, ("a", "b", "c"))


def test_groups_with_several_labels_are_counted_and_left_out():
    table = table_of(["y", "x", "z", "y", "x", "z"], [1, 0, 0, 1, 0, 1], np.vstack([P, P]))
    groups, mixed = aggregate(table, "mean")
    assert mixed == ["z"]
    assert groups.filenames == ("x", "y")
    assert groups.labels.tolist() == [0, 1]
    np.testing.assert_allclose(groups.probabilities, [P[1], (P[0] + P[0]) / 2])
    report = aggregation_report(table)
    assert (report["groups"], report["mixed"]) == (2, 1)
    assert report["accuracy"]["mean"]["n"] == 2
    assert report["accuracy"]["mean"]["estimate"] == 0.5


def test_nothing_to_aggregate():
    assert aggregation_report(table_of(["x", "y", "z"], [0, 1, 2], P)) is None
    only_mixed = aggregation_report(table_of(["x", "x", "x"], [0, 1, 2], P))
    assert only_mixed["groups"] == 0
    assert only_mixed["accuracy"]["mean"]["estimate"] is None
    assert only_mixed["accuracy"]["mean"]["why"]
    none, mixed = aggregate(table_of(["x", "x", "x"], [0, 1, 2], P), "vote")
    assert none.probabilities.shape == (0, 3)
    assert mixed == ["x"]


def test_many_images_know_more_than_one():
    table = random_table(0, n=600, num_groups=60)
    labels = np.unique(table.groups, return_inverse=True)[1] % 3
    random = np.random.default_rng(0)
    p = np.exp(random.normal(size=(600, 3)) + np.eye(3)[labels])
    table = table_of(table.groups, labels, p / p.sum(1, keepdims=True))
    report = aggregation_report(table)
    assert report["mixed"] == 0
    for rule in RULES:
        assert report["accuracy"][rule]["estimate"] > table.correct.mean() + 0.1
