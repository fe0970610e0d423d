"""Sliding windows leave no pixel out, and a pixel's value is the mean of the windows over it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cervix_jax.errors import InputError
from cervix_jax.predict.windows import MOST_OVERLAP, check_window, mean_over_windows, starts

OVERLAP = st.floats(0, MOST_OVERLAP)


@given(st.integers(1, 300), st.integers(0, 700), OVERLAP)
def test_windows_cover_every_pixel(window, more, overlap):
    length = window + more
    first = starts(length, window, overlap)
    covered = np.zeros(length, int)
    for start in first:
        assert 0 <= start <= length - window
        covered[start : start + window] += 1
    assert covered.all()
    steps = np.diff(first)
    assert (steps > 0).all()
    # The wanted overlap to the pixel, or more of it; never a gap, and no window too many.
    assert (steps <= max(1, round(window * (1 - overlap)))).all()
    assert len(first) == 1 + -(-more // max(1, round(window * (1 - overlap))))


@given(st.data())
def test_means_are_those_of_the_windows_over_each_pixel(data):
    window = data.draw(st.integers(1, 6))
    height, width = (window + data.draw(st.integers(0, 12)) for _ in range(2))
    overlap = data.draw(OVERLAP)
    rows, columns = (starts(length, window, overlap) for length in (height, width))
    random = np.random.default_rng(data.draw(st.integers(0, 99)))
    known = random.random((len(rows), len(columns))) < data.draw(st.sampled_from([0.0, 0.5, 1.0]))
    values = random.random((*known.shape, 2))
    total, count = np.zeros((height, width, 2)), np.zeros((height, width, 1))
    for r, y in enumerate(rows):
        for c, x in enumerate(columns):
            if known[r, c]:
                total[y : y + window, x : x + window] += values[r, c]
                count[y : y + window, x : x + window] += 1
    with np.errstate(invalid="ignore"):
        expected = total / count
    values[~known] = np.nan  # whatever stands there
    centres = np.arange(height) + 0.5, np.arange(width) + 0.5
    found = mean_over_windows(values, known, (rows, columns), window, centres)
    np.testing.assert_allclose(found, expected, atol=1e-12)
    assert known.all() <= (not np.isnan(found).any())


@pytest.mark.parametrize(
    ("window", "overlap", "message"),
    [(0, 0.5, "--window=0"), (-3, 0.5, "--window=-3"), (9, -0.1, "--overlap=-0.1"),
     (9, 0.95, "from 0 to 0.9"), (9, float("nan"), "--overlap=nan")],
)  # fmt: skip
def test_windows_that_cannot_slide(window, overlap, message):
    with pytest.raises(InputError, match=message):
        check_window(window, overlap)
