import numpy as np
import pytest

from cervix_jax.errors import InputError
from cervix_jax.explain.measures import reduce_channels

PIXEL = np.array([[[[1.0, -3.0, 1.0]]]])  # [N, H, W, C]


@pytest.mark.parametrize(
    ("reduction", "value"),
    [("sum", -1), ("mean", -1 / 3), ("sum_absolute", 5), ("max_absolute", 3)],
)
def test_one_number_of_the_channels_of_a_pixel(reduction, value):
    np.testing.assert_allclose(reduce_channels(PIXEL, reduction), [[[value]]])


def test_a_map_without_channels_loses_its_sign_only():
    cam = np.random.default_rng(0).normal(size=(2, 4, 4))
    for reduction in ("sum", "mean"):
        np.testing.assert_array_equal(reduce_channels(cam, reduction), cam)
    for reduction in ("sum_absolute", "max_absolute"):
        np.testing.assert_array_equal(reduce_channels(cam, reduction), np.abs(cam))


@pytest.mark.parametrize(
    ("maps", "reduction", "message"),
    [
        (PIXEL, "summ", "reduction='summ'.*did you mean 'sum'"),
        (PIXEL[0, 0], "sum", "give .N, height, width"),
        (PIXEL * np.inf, "sum", "1 of 1 contain NaN or infinite values"),
    ],
)
def test_what_cannot_be_reduced(maps, reduction, message):
    with pytest.raises(InputError, match=message):
        reduce_channels(maps, reduction)
