import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from models_of_maps import IMAGES, SIDE, TARGETS, gradients, linear

from cervix_jax.errors import InputError
from cervix_jax.explain.measures import road
from cervix_jax.explain.measures.imputation import NeighbourSystem


def dense(image: np.ndarray, removed: np.ndarray) -> np.ndarray:
    """The same system, written out pixel by pixel and solved densely."""
    height, width = removed.shape
    unknown = [tuple(place) for place in np.argwhere(removed)]
    matrix = np.zeros((len(unknown), len(unknown)))
    right = np.zeros((len(unknown), image.shape[-1]))
    for row, (y, x) in enumerate(unknown):
        for dy in (-1, 0, 1):
            for dx in (-1, 0, 1):
                there = (y + dy, x + dx)
                if (dy or dx) and 0 <= there[0] < height and 0 <= there[1] < width:
                    weight = 1 / 12 if dy and dx else 1 / 6
                    matrix[row, row] += weight
                    if removed[there]:
                        matrix[row, unknown.index(there)] -= weight
                    else:
                        right[row] += weight * image[there]
    result = image.astype(np.float64).copy()
    result[removed] = np.linalg.solve(matrix, right)
    return result


@settings(max_examples=15)
@given(
    seed=st.integers(0, 999), share=st.floats(0.05, 0.9), shape=st.sampled_from([(5, 7), (1, 9)])
)
def test_imputation_equals_a_dense_solve(seed, share, shape):
    rng = np.random.default_rng(seed)
    image = rng.normal(size=(*shape, 3))
    removed = rng.random(shape) < share
    removed.flat[rng.integers(removed.size)] = False
    removed.flat[(np.flatnonzero(~removed)[0] + 1) % removed.size] = True
    if removed.all():
        return
    found = NeighbourSystem(*shape).impute(image, removed)
    np.testing.assert_allclose(found, dense(image, removed), atol=1e-5)


def test_a_plane_is_restored_exactly_and_values_stay_in_range():
    y, x = np.mgrid[:9, :9]
    image = np.stack([x + 2.0 * y, 3.0 * x, 0.0 * x + 5], -1)
    removed = np.zeros((9, 9), bool)
    removed[2:7, 3:8] = True
    found = NeighbourSystem(9, 9).impute(image, removed)
    np.testing.assert_allclose(found, image, atol=1e-4)


def test_scores_are_those_of_the_imputed_images():
    maps = gradients()
    found = road(
        linear, IMAGES, TARGETS, maps, percentages=[25, 50], noise=0.0, output="logit", batch_size=3
    )
    reduced = maps.sum(-1).reshape(4, -1)
    order = np.argsort(-reduced, axis=1)
    for i in range(4):
        for column, count in enumerate((9, 18)):
            for scores, places in ((found.morf, order[i, :count]), (found.lerf, order[i, -count:])):
                removed = np.zeros(SIDE * SIDE, bool)
                removed[places] = True
                image = dense(IMAGES[i], removed.reshape(SIDE, SIDE)).astype(np.float32)
                expected = float(linear(image[None])[0, TARGETS[i]])
                assert scores[i, column] == pytest.approx(expected, abs=1e-4)
    np.testing.assert_allclose(found.combined, (found.lerf - found.morf).mean(1) / 2)


def test_combined_is_antisymmetric_in_the_map():
    there = road(linear, IMAGES, TARGETS, gradients(), noise=0.0, percentages=[20, 40])
    back = road(linear, IMAGES, TARGETS, -gradients(), noise=0.0, percentages=[20, 40])
    np.testing.assert_allclose(there.combined, -back.combined, atol=1e-6)
    np.testing.assert_allclose(there.morf, back.lerf, atol=1e-6)


def test_a_map_that_knows_beats_chance_and_a_random_one_does_not():
    """The score sees the brightest square; the surroundings are 0, so that imputing removes it."""
    rng = np.random.default_rng(0)
    images = np.zeros((24, 10, 10, 3), np.float32)
    images[:, 3:6, 4:7] = 1

    def square(batch):
        return jnp.stack([batch[:, 3:6, 4:7].mean((1, 2, 3)), batch[:, 0, 0, 0]], -1)

    options = {"percentages": [10, 20], "output": "logit", "batch_size": 64}
    knowing = road(square, images, np.zeros(24, int), images, **options).combined
    guessing = road(square, images, np.zeros(24, int), rng.normal(size=(24, 10, 10)), **options)
    assert knowing.min() > 0.3
    assert abs(guessing.combined.mean()) < 4 * guessing.combined.std() / np.sqrt(24)


def test_noise_has_its_deviation_and_depends_on_seed_and_id_only():
    def one_pixel(batch):
        return jnp.stack([batch[:, 0, 0, 0], batch[:, 0, 0, 1]], -1)

    images = np.zeros((300, 3, 3, 3), np.float32)
    maps = np.tile(np.arange(9.0)[::-1].reshape(3, 3), (300, 1, 1))
    targets = np.zeros(300, int)
    options = {"percentages": [12], "output": "logit", "noise": 0.01}
    found = road(one_pixel, images, targets, maps, batch_size=200, **options)
    assert found.morf.std() == pytest.approx(0.01, rel=0.15)
    assert abs(found.morf.mean()) < 0.002
    alone = road(one_pixel, images[:1], [0], maps[:1], ids=[42], **options)
    np.testing.assert_allclose(alone.morf[0], found.morf[42], atol=1e-7)
    other = road(one_pixel, images[:1], [0], maps[:1], ids=[42], seed=1, **options)
    assert abs(other.morf[0, 0] - alone.morf[0, 0]) > 1e-6


def test_constant_maps_are_nan_even_when_all_are():
    maps = gradients().copy()
    maps[2] = 0
    found = road(linear, IMAGES, TARGETS, maps, percentages=[30])
    np.testing.assert_array_equal(np.isnan(found.combined), [False, False, True, False])
    assert np.isnan(road(linear, IMAGES, TARGETS, maps * 0, percentages=[30]).combined).all()


@pytest.mark.parametrize("percentages", [[], [0], [100], [50, 101], [99.9]])
def test_percentages_that_remove_nothing_or_all_are_refused(percentages):
    with pytest.raises(InputError, match="percentages"):
        road(linear, IMAGES, TARGETS, gradients(), percentages=percentages)
