import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from selection import tries

from cervix_jax.errors import InputError
from cervix_jax.explain.measures import (
    area_share,
    dilate,
    pointing_game,
    relevance_mass,
    relevance_rank,
    roc_auc,
)

MEASURES = [relevance_mass, relevance_rank, roc_auc, pointing_game]
MAP = np.array([[[5.0, -1.0, 2.0], [0.0, 3.0, -4.0]]])
MASK = np.array([[[True, True, False], [False, False, True]]])


def square(side, top, left, height, width):
    mask = np.zeros((side, side), bool)
    mask[top : top + height, left : left + width] = True
    return mask


# --- by hand --------------------------------------------------------------------------------------


def test_six_pixels_by_hand():
    np.testing.assert_allclose(area_share(MASK), 1 / 2)
    np.testing.assert_allclose(relevance_mass(MAP, MASK), 5 / 10)
    np.testing.assert_allclose(relevance_mass(MAP, MASK, part="absolute"), (5 + 1 + 4) / 15)
    np.testing.assert_allclose(relevance_mass(MAP, MASK, part="negative"), 1)
    # The three largest are 5, 3 and 2, of which 5 lies inside.
    np.testing.assert_allclose(relevance_rank(MAP, MASK), 1 / 3)
    # Of 9 pairs inside x outside, 5 beats 2, 0 and 3; -1 and -4 beat none.
    np.testing.assert_allclose(roc_auc(MAP, MASK), 3 / 9)
    np.testing.assert_allclose(pointing_game(MAP, MASK), 1)
    np.testing.assert_allclose(pointing_game(-MAP, ~MASK), 0)


@pytest.mark.parametrize("measure", MEASURES)
def test_maps_may_be_named_in_the_call_of_all_measures(measure):
    found = measure(None, None, None, maps=MAP, masks=MASK, baselines=0.0)
    np.testing.assert_array_equal(found, measure(MAP, MASK))


def test_absolute_reduction_makes_evidence_against_count():
    maps = np.stack([MAP, -MAP, 0 * MAP], axis=-1)
    assert np.isnan(relevance_mass(maps, MASK)).all()  # the channels cancel
    np.testing.assert_allclose(relevance_mass(maps, MASK, reduction="sum_absolute"), 20 / 30)


def test_a_map_of_the_mask_is_perfect():
    masks = np.stack([square(8, 1, 2, 3, 4), square(8, 0, 0, 8, 1)])
    for measure in MEASURES:
        np.testing.assert_allclose(measure(masks.astype(float), masks), 1)
        np.testing.assert_allclose(measure(1.0 - masks, masks), 0)


def test_regions_of_one_image_share_all_of_its_mass():
    index = np.array([[[0, 0, 1], [2, 1, 2]]])
    masks = index[:, None] == np.arange(3)[:, None, None]
    mass = relevance_mass(MAP, masks)
    assert mass.shape == (1, 3)
    np.testing.assert_allclose(mass, [[5 / 10, 5 / 10, 0]])
    np.testing.assert_allclose(relevance_mass(MAP, masks, part="absolute").sum(), 1)
    np.testing.assert_allclose(pointing_game(MAP, masks), [[1, 0, 0]])


def test_ties_count_by_their_expected_number():
    """Of the 4 places one goes to the 9, and 3 to 15 equal pixels, of which 3 lie inside."""
    maps = np.zeros((1, 4, 4))
    maps[0, 0, 0] = 9
    masks = square(4, 0, 0, 2, 2)[None]
    np.testing.assert_allclose(relevance_rank(maps, masks), (1 + 3 * 3 / 15) / 4)


def test_any_of_several_largest_pixels_may_hit():
    maps = np.zeros((1, 4, 4))
    maps[0, 0, 0] = maps[0, 3, 3] = 1
    assert pointing_game(maps, square(4, 3, 3, 1, 1)[None]) == 1
    assert pointing_game(maps, square(4, 1, 1, 2, 2)[None]) == 0


def test_tolerance_is_a_distance_in_pixels():
    """The largest pixel lies 3 down and 4 to the right of the nucleus: 5 pixels away."""
    maps, points = np.zeros((1, 9, 9)), np.zeros((1, 9, 9), bool)
    maps[0, 4, 6], points[0, 1, 2] = 1, True
    assert pointing_game(maps, points) == 0
    assert pointing_game(maps, points, tolerance=4.99) == 0
    assert pointing_game(maps, points, tolerance=5) == 1
    wide = dilate(points, 1.5)
    np.testing.assert_array_equal(wide[0], square(9, 0, 1, 3, 3))
    assert not dilate(np.zeros((2, 3, 5, 5), bool), 2).any()


# --- what is undefined ---------------------------------------------------------------------------


@pytest.mark.parametrize("measure", MEASURES)
def test_zeros_and_empty_masks_are_undefined_and_leave_the_others_alone(measure):
    rng = np.random.default_rng(0)
    maps = rng.normal(size=(3, 6, 6, 3))
    maps[1] = 0
    masks = np.stack([square(6, 0, 0, 2, 3), square(6, 1, 1, 4, 4)])[None].repeat(3, 0)
    masks[2, 0] = False
    found = measure(maps, masks)
    assert np.isnan(found).tolist() == [[False, False], [True, True], [True, False]]
    np.testing.assert_array_equal(found[0], measure(maps[:1], masks[:1])[0])
    np.testing.assert_array_equal(found[:, 1], measure(maps, masks[:, 1]))


def test_a_map_without_positive_part_and_a_mask_of_everything():
    assert np.isnan(relevance_mass(-np.abs(MAP), MASK)).all()
    np.testing.assert_allclose(relevance_mass(-np.abs(MAP), MASK, part="absolute"), 10 / 15)
    everything = np.ones_like(MASK)
    assert np.isnan(roc_auc(MAP, everything)).all()
    for measure in (relevance_mass, relevance_rank, pointing_game):
        np.testing.assert_allclose(measure(MAP, everything), 1)
    assert np.isnan(area_share(np.zeros_like(MASK))).all()


# --- an explanation that knows nothing -----------------------------------------------------------


@pytest.mark.parametrize(
    ("measure", "number"),
    [(relevance_mass, 600), (relevance_rank, 600), (roc_auc, 200), (pointing_game, 3000)],
)
def test_a_random_map_scores_chance(measure, number):
    """Within four standard errors of the area share; the ROC curve of 1/2."""
    rng = np.random.default_rng(11)
    masks = np.stack([square(12, 2, 3, 5, 6), square(12, 0, 0, 12, 2)])
    chance = np.full(2, 0.5) if measure is roc_auc else area_share(masks)
    found = measure(rng.normal(size=(number, 12, 12)), masks[None].repeat(number, 0))
    error = found.std(axis=0) / np.sqrt(number)
    assert (np.abs(found.mean(axis=0) - chance) < 4 * error).all()
    assert (error < 0.02).all()


def test_chance_of_the_pointing_game_with_a_tolerance():
    rng = np.random.default_rng(12)
    mask = square(12, 4, 4, 2, 3)[None]
    chance = area_share(dilate(mask, 2.0))[0]
    assert chance > 3 * area_share(mask)[0]
    maps = rng.normal(size=(3000, 12, 12))
    hits = pointing_game(maps, mask.repeat(3000, 0), tolerance=2.0).mean()
    assert abs(hits - chance) < 4 * np.sqrt(chance * (1 - chance) / 3000)


# --- properties ----------------------------------------------------------------------------------

pixels = st.floats(-100, 100).map(lambda value: round(value, 3))


@settings(max_examples=tries(25))
@given(
    maps=arrays(np.float64, (3, 3, 4), elements=pixels),
    masks=arrays(bool, (3, 2, 3, 4)),
    factor=st.sampled_from([1e-150, 3.7, 1e150]),
    data=st.data(),
)
def test_bounds_scale_and_order(maps, masks, factor, data):
    pixel = np.array(data.draw(st.permutations(range(12))))
    image = np.array(data.draw(st.permutations(range(3))))
    shuffled = factor * maps.reshape(3, 12)[image][:, pixel].reshape(3, 3, 4)
    moved = masks.reshape(3, 2, 12)[image][..., pixel].reshape(3, 2, 3, 4)
    for measure in MEASURES:
        found = measure(maps, masks)
        defined = found[~np.isnan(found)]
        assert ((defined >= 0) & (defined <= 1 + 1e-12)).all()
        np.testing.assert_allclose(measure(shuffled, moved), found[image], atol=1e-9)
    # Only order counts in these: any increasing function of the map leaves them alone.
    for measure in (relevance_rank, roc_auc, pointing_game):
        np.testing.assert_allclose(measure(np.cbrt(maps), masks), measure(maps, masks), atol=1e-9)


@settings(max_examples=tries(25))
@given(maps=arrays(np.float64, (2, 3, 4), elements=pixels), masks=arrays(bool, (2, 3, 4)))
def test_a_mask_and_the_rest_complement_each_other(maps, masks):
    mass = relevance_mass(maps, masks), relevance_mass(maps, ~masks)
    area = roc_auc(maps, masks), roc_auc(maps, ~masks)
    for inside, outside in (mass, area):
        both = ~np.isnan(inside) & ~np.isnan(outside)
        np.testing.assert_allclose((inside + outside)[both], 1, atol=1e-9)


# --- bad input -----------------------------------------------------------------------------------


@pytest.mark.parametrize("measure", MEASURES)
def test_bad_maps_and_masks(measure):
    for maps in (np.where(MAP == 5, np.nan, MAP), np.where(MAP == 5, np.inf, MAP)):
        with pytest.raises(InputError, match="NaN or infinite"):
            measure(maps, MASK)
    with pytest.raises(InputError, match="same height and width"):
        measure(MAP, MASK[:, :1])
    with pytest.raises(InputError, match="type int64"):
        measure(MAP, MASK.astype(np.int64))
    with pytest.raises(InputError, match="reduction="):
        measure(MAP, MASK, reduction="median")


def test_bad_options():
    with pytest.raises(InputError, match="part='both'"):
        relevance_mass(MAP, MASK, part="both")
    for tolerance in (-1, np.nan):
        with pytest.raises(InputError, match="tolerance"):
            pointing_game(MAP, MASK, tolerance=tolerance)
