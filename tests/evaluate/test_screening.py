import pytest

from cervix_jax.evaluate.screening import useful_range


@pytest.mark.parametrize(
    ("lower", "text"),
    [
        ([0.1, None, -0.1, 0.0], "at thresholds 0.1"),
        ([-0.1, 0.1, 0.2, None], "at thresholds 0.2 to 0.3"),
        ([0.1, -0.1, 0.1, 0.2], "at thresholds 0.1, 0.3 to 0.4"),
        ([None, 0.0, -1.0, 0.0], "at no threshold"),
    ],
)
def test_where_the_curve_lies_above_both_defaults(lower, text):
    ends = [None if low is None else [low, 1.0] for low in lower]
    curve = {"thresholds": [0.1, 0.2, 0.3, 0.4], "gain_interval_by_group": ends}
    found = useful_range(curve)
    assert found.startswith("net benefit exceeds that of treating all and none")
    assert found.endswith(text)
