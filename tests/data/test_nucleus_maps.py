"""Maps of nuclei: discs, rings, and what a detector learns of them."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from cervix_jax.data import nucleus_maps as maps


def test_a_disc_of_its_radius_and_a_ring_about_it():
    drawn = maps.draw_map(np.array([[40.0, 30.0]]), (64, 80), 5.0)
    y, x = np.mgrid[:64, :80] + 0.5
    away = np.hypot(x - 40, y - 30)
    np.testing.assert_array_equal(drawn == maps.NUCLEUS, away <= 5)
    ring = (away > 5) & (away <= 10)
    np.testing.assert_array_equal(drawn == maps.UNJUDGED, ring)


@given(
    st.lists(st.tuples(st.floats(-20, 120), st.floats(-20, 90)), max_size=4),
    st.floats(2.0, 12.0),
)
def test_any_centres_also_outside(centres, radius):
    points = np.asarray(centres, float).reshape(-1, 2)
    drawn = maps.draw_map(points, (70, 100), radius)
    assert set(np.unique(drawn)) <= {maps.BACKGROUND, maps.NUCLEUS, maps.UNJUDGED}
    for x, y in points:
        if 0 <= x < 100 and 0 <= y < 70:
            assert drawn[int(y), int(x)] == maps.NUCLEUS
    y, x = np.mgrid[:70, :100] + 0.5
    for_all = np.ones(drawn.shape, bool)
    for centre in points:
        for_all &= np.hypot(x - centre[0], y - centre[1]) > 2 * radius
    np.testing.assert_array_equal(drawn == maps.BACKGROUND, for_all)


def test_a_disc_wins_over_a_neighbours_ring():
    drawn = maps.draw_map(np.array([[20.0, 20.0], [28.0, 20.0]]), (40, 48), 5.0)
    assert drawn[20, 20] == drawn[20, 27] == maps.NUCLEUS


def test_labels_of_a_map():
    drawn = np.array([[0, 1, 255]], np.uint8)
    labels = maps.as_labels(drawn)
    assert labels.dtype == np.int8
    assert labels.tolist() == [[0, 1, -1]]
