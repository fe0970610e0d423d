import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from selection import tries

from cervix_jax.errors import InputError
from cervix_jax.explain.measures import complexity, effective_complexity, sparseness

MEASURES = [sparseness, complexity, effective_complexity]
RANDOM = np.random.default_rng(0)


def test_one_pixel_has_everything():
    maps = np.zeros((1, 4, 5))
    maps[0, 2, 3] = -7.0
    np.testing.assert_allclose(sparseness(maps), 1 - 1 / 20)
    np.testing.assert_allclose(complexity(maps), 0, atol=1e-12)
    np.testing.assert_allclose(effective_complexity(maps), 1)


def test_all_pixels_are_equal():
    maps = np.full((1, 4, 5), -0.3)
    np.testing.assert_allclose(sparseness(maps), 0, atol=1e-12)
    np.testing.assert_allclose(complexity(maps), np.log(20))
    np.testing.assert_allclose(effective_complexity(maps), 20)


def test_four_pixels_by_hand():
    """Gini: (-3 * 1 - 1 * 2 + 1 * 3 + 3 * 4) / (4 * 10) = 1 / 4."""
    maps = np.array([[[4.0, -1.0], [2.0, -3.0]]])
    np.testing.assert_allclose(sparseness(maps), 0.25)
    np.testing.assert_allclose(complexity(maps), -sum(p * np.log(p) for p in (0.1, 0.2, 0.3, 0.4)))
    np.testing.assert_allclose(effective_complexity(maps, threshold=2), 2)
    np.testing.assert_allclose(effective_complexity(maps, threshold=0.5, relative=True), 2)
    np.testing.assert_allclose(effective_complexity(maps, threshold=0.49, relative=True), 3)
    np.testing.assert_allclose(effective_complexity(maps, threshold=10), 0)


def test_random_maps_have_the_values_of_their_distributions():
    maps = RANDOM.exponential(size=(3, 60, 60)) * RANDOM.choice([-1, 1], (3, 60, 60))
    np.testing.assert_allclose(sparseness(maps), 1 / 2, atol=0.03)
    np.testing.assert_allclose(complexity(maps), np.log(3600) - (1 - np.euler_gamma), atol=0.05)
    np.testing.assert_allclose(sparseness(RANDOM.random((3, 60, 60))), 1 / 3, atol=0.03)
    normal = RANDOM.normal(size=(3, 60, 60))
    np.testing.assert_allclose(sparseness(normal), np.sqrt(2) - 1, atol=0.03)


@pytest.mark.parametrize("measure", MEASURES)
def test_a_map_of_zeros_is_undefined_and_leaves_the_others_alone(measure):
    maps = RANDOM.normal(size=(3, 4, 4, 3))
    maps[1] = 0
    found = measure(maps)
    assert np.isnan(found).tolist() == [False, True, False]
    np.testing.assert_array_equal(found[[0, 2]], measure(maps[[0, 2]]))


@pytest.mark.parametrize("measure", MEASURES)
def test_channels_may_cancel_or_not(measure):
    maps = np.zeros((1, 4, 4, 3))
    maps[0, 1, 1] = [1, -1, 0]
    assert np.isnan(measure(maps)).all()
    assert np.isfinite(measure(maps, reduction="sum_absolute")).all()


pixels = st.floats(-100, 100).map(lambda value: round(value, 3))


@settings(max_examples=tries(40))
@given(
    maps=arrays(np.float64, (3, 3, 4), elements=pixels),
    factor=st.sampled_from([-1.0, 1e-150, 3.7, 1e150]),
    data=st.data(),
)
def test_scale_and_order_do_not_matter_and_bounds_hold(maps, factor, data):
    pixel = np.array(data.draw(st.permutations(range(12))))
    image = np.array(data.draw(st.permutations(range(3))))
    shuffled = factor * maps.reshape(3, 12)[image][:, pixel].reshape(3, 3, 4)
    zero = (maps == 0).all((1, 2))
    for measure, low, high, options in (
        (sparseness, 0, 1 - 1 / 12, {}),
        (complexity, 0, np.log(12), {}),
        (effective_complexity, 1, 12, {"relative": True}),
    ):
        found = measure(maps, **options)
        np.testing.assert_array_equal(np.isnan(found), zero)
        assert (found[~zero] >= low - 1e-12).all()
        assert (found[~zero] <= high + 1e-12).all()
        np.testing.assert_allclose(measure(shuffled, **options), found[image], atol=1e-9)


def test_bad_input():
    for measure in MEASURES:
        with pytest.raises(InputError, match="1 of 2 contain NaN or infinite"):
            measure(np.stack([np.ones((3, 3)), np.full((3, 3), np.inf)]))
        with pytest.raises(InputError, match="reduction='median'"):
            measure(np.ones((1, 3, 3, 3)), reduction="median")
    for threshold in (-1.0, np.nan, np.inf):
        with pytest.raises(InputError, match="threshold"):
            effective_complexity(np.ones((1, 3, 3)), threshold=threshold)
