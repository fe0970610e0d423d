import jax
import numpy as np

from cervix_jax import rng


def draw(*args):
    return np.asarray(jax.random.uniform(rng.stream(*args), (4,)))


def test_same_seed_name_and_step_give_the_same_numbers():
    np.testing.assert_array_equal(draw(3, "dropout", 7), draw(3, "dropout", 7))


def test_seed_name_and_step_each_change_the_numbers():
    reference = draw(3, "dropout", 7)
    for other in [(4, "dropout", 7), (3, "augment", 7), (3, "dropout", 8)]:
        assert not np.array_equal(reference, draw(*other))


def test_step_may_be_traced():
    traced = jax.jit(lambda step: jax.random.uniform(rng.stream(3, "dropout", step), (4,)))(7)
    np.testing.assert_array_equal(traced, draw(3, "dropout", 7))
