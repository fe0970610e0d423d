import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from selection import tries

from cervix_jax.statistics.resampling import Resamples

GROUPS = np.array(list("aabbbccdaa"))


def copied(resamples: Resamples, row: int) -> np.ndarray:
    """Positions of the examples of a resample, whole groups copied as often as they were drawn."""
    members = [np.flatnonzero(resamples.index == g) for g in range(resamples.num_groups)]
    times = resamples.weights[row].astype(int)
    return np.concatenate([np.tile(m, t) for m, t in zip(members, times, strict=True)])


def test_weights_stand_for_copies_of_whole_groups():
    values = np.random.default_rng(0).normal(size=(10, 2))
    categories = np.arange(10) % 3
    resamples = Resamples(GROUPS, number=50, seed=3)
    for row in range(51):
        rows = copied(resamples, row)
        np.testing.assert_allclose(resamples.sums(values)[row], values[rows].sum(0))
        np.testing.assert_allclose(resamples.means(values[:, 0])[row], values[rows, 0].mean())
        counts = np.bincount(categories[rows], minlength=3)
        np.testing.assert_array_equal(resamples.counts(categories, 3)[row], counts)
        assert resamples.sizes[row] == len(rows)


def test_first_row_is_the_data_and_others_draw_as_many_groups():
    weights = Resamples(GROUPS, number=2000).weights
    assert (weights[0] == 1).all()
    assert (weights.sum(1) == 4).all()
    assert weights[1:].mean(0) == pytest.approx(np.ones(4), abs=0.08)
    # Multinomial: variance 1 - 1/G, covariance -1/G.
    expected = np.eye(4) - 1 / 4
    np.testing.assert_allclose(np.cov(weights[1:].T), expected, atol=0.08)


def test_example_weights_come_in_pieces_that_make_the_whole(monkeypatch):
    monkeypatch.setattr("cervix_jax.statistics.resampling.CHUNK", 25)
    resamples = Resamples(GROUPS, number=7)
    order = np.array([3, 0, 9, 1, 2, 4, 8, 7, 6, 5])
    pieces = list(resamples.example_weights(order))
    assert len(pieces) == 4
    whole = np.concatenate([weights for _, weights in pieces])
    np.testing.assert_array_equal(whole, resamples.weights[:, resamples.index[order]])


def test_the_seed_decides():
    first, again, other = (Resamples(GROUPS, number=20, seed=s).weights for s in (1, 1, 2))
    assert (first == again).all()
    assert (first != other).any()


@given(st.permutations(range(10)))
@settings(max_examples=tries(20))
def test_order_of_the_examples_does_not_matter(order):
    values = np.arange(10.0)
    first = Resamples(GROUPS, number=30).sums(values)
    second = Resamples(GROUPS[order], number=30).sums(values[order])
    np.testing.assert_allclose(first, second)
