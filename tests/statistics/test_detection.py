"""Points that are found: matching, curve, thresholds; by hand and against brute force."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from cervix_jax.statistics.detection import (
    FieldDetections,
    detection_curve,
    match_points,
    recall_at,
    threshold_for,
    threshold_of_best_f,
)


def test_each_found_point_has_one_marked_one_the_more_probable_first():
    marked = np.array([[0.0, 0.0], [10.0, 0.0]])
    found = np.array([[4.0, 0.0], [1.0, 0.0], [9.0, 0.0]])
    # The first takes the nearer of both, so the second has none left within reach.
    assert match_points(found, marked, 6.5).tolist() == [0, 2]
    assert match_points(found, marked, 3.0).tolist() == [1, 2]
    assert match_points(np.zeros((0, 2)), marked, 6.0).tolist() == [-1, -1]
    assert match_points(found, np.zeros((0, 2)), 6.0).tolist() == []


@given(
    hnp.arrays(float, st.tuples(st.integers(0, 12), st.just(2)), elements=st.floats(0, 30)),
    hnp.arrays(float, st.tuples(st.integers(0, 12), st.just(2)), elements=st.floats(0, 30)),
    st.floats(0.5, 12),
)
def test_matching_against_brute_force(found, marked, tolerance):
    expected = np.full(len(marked), -1)
    for number, point in enumerate(found):
        away = np.linalg.norm(marked - point, axis=1) if len(marked) else np.zeros(0)
        away = np.where(expected >= 0, np.inf, away)
        if len(away) and away.min() <= tolerance:
            expected[int(away.argmin())] = number
    got = match_points(found, marked, tolerance)
    # Of equal distances either is right.
    assert (got >= 0).sum() == (expected >= 0).sum() or len(np.unique(found)) < found.size
    used = got[got >= 0]
    assert len(set(used.tolist())) == len(used)
    for k in np.flatnonzero(got >= 0):
        assert np.linalg.norm(found[got[k]] - marked[k]) <= tolerance * (1 + 1e-9)


FIELDS = [
    FieldDetections("a", np.array([0.9, 0.8, 0.1]), np.array([0.9, 0.1, -np.inf])),
    FieldDetections("b", np.array([0.7, 0.2]), np.array([0.2])),
]


def test_of_points():
    field = FieldDetections.of(
        "f", np.array([[1.0, 1.0], [50.0, 50.0]]), np.array([0.6, 0.5]), np.array([[2.0, 1.0]]), 3.0
    )
    assert field.hits.tolist() == [0.6]
    empty = FieldDetections.of("f", np.zeros((0, 2)), np.zeros(0), np.array([[2.0, 1.0]]), 3.0)
    assert empty.hits.tolist() == [-np.inf]


def test_the_curve_counts_by_hand():
    curve = detection_curve(FIELDS)
    assert curve["threshold"] == [0.9, 0.8, 0.7, 0.2, 0.1]
    assert curve["detections_per_field"] == [0.5, 1.0, 1.5, 2.0, 2.5]
    assert curve["recall"] == [0.25, 0.25, 0.25, 0.5, 0.75]
    assert curve["precision"] == pytest.approx([1, 1 / 2, 1 / 3, 2 / 4, 3 / 5])


def test_a_budget_gives_its_threshold():
    assert threshold_for(FIELDS, 1) == 0.8
    assert threshold_for(FIELDS, 1.5) == 0.7
    assert threshold_for(FIELDS, 100) == 0.1


def test_the_best_f_measure_by_hand():
    """F2 of (recall, precision): (1/4, 1), (1/4, 1/2), (1/4, 1/3), (1/2, 1/2), (3/4, 3/5)."""
    assert threshold_of_best_f(FIELDS) == 0.1
    # With beta -> 0 precision alone counts.
    assert threshold_of_best_f(FIELDS, beta=0.01) == 0.9


def test_recall_with_its_two_intervals():
    found = recall_at(FIELDS, 0.2)
    assert (found["found"], found["marked"], found["recall"]) == (2, 4, 0.5)
    assert found["detections_per_field"] == 2.0
    assert found["precision"] == 0.5
    low, high = found["wilson"]
    assert (round(low, 4), round(high, 4)) == (0.15, 0.85)
    # Fields "a" with 1 of 3 and "b" with 1 of 1: draws of two lie between them.
    assert found["by_field"] == pytest.approx([1 / 3, 1.0])


def test_nothing_found_and_nothing_marked():
    nothing = [FieldDetections("a", np.zeros(0), np.array([-np.inf]))]
    assert detection_curve(nothing)["recall"] == []
    assert recall_at(nothing, 0.5)["recall"] == 0.0
    assert threshold_for(nothing, 60) == threshold_of_best_f(nothing) == 0.0
