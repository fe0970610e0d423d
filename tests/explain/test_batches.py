import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from explained_functions import linear, normal
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import log_softmax, softmax
from selection import tries

from cervix_jax.errors import InputError
from cervix_jax.explain import batches
from cervix_jax.explain.function import as_pytree, exact_scores


@settings(max_examples=tries(50))
@given(images=st.integers(1, 9), samples=st.integers(1, 9), batch_size=st.integers(1, 30))
def test_every_pair_comes_once_in_batches_of_one_size(images, samples, batch_size):
    plan = list(batches.plan(images, samples, batch_size))
    assert len({(len(chunk.images), len(chunk.sample)) for chunk in plan}) == 1
    assert len(plan[0].sample) == min(batch_size, images * samples)
    assert len(plan) == -(-images * samples // len(plan[0].sample))
    pairs = []
    for chunk in plan:
        assert len(chunk.images) <= len(chunk.sample)
        assert chunk.images[0] == chunk.start
        image = chunk.images[chunk.local]
        np.testing.assert_array_equal(image, chunk.start + chunk.local)
        pairs += zip(image[chunk.valid], chunk.sample[chunk.valid], strict=True)
    assert pairs == [(image, sample) for image in range(images) for sample in range(samples)]


def _number(fn, examples, sample, shared):
    return examples["images"][:, 0, 0, 0] * shared + sample


@pytest.mark.parametrize("batch_size", [1, 2, 7, 100])
def test_sums_over_samples(batch_size):
    images = normal(5, 1, 1, 3)
    found = batches.sum_samples(
        _number, linear(normal(2, 1, 1, 3)), {"images": images}, np.float32(2), samples=3,
        batch_size=batch_size,
    )  # fmt: skip
    np.testing.assert_allclose(found, 6 * images[:, 0, 0, 0] + 3, rtol=1e-5)


def _moved(examples, sample, shared, *, factor):
    moved = examples["images"] + factor * sample[:, None, None, None]
    return moved, {"sample": sample * shared}


@pytest.mark.parametrize("batch_size", [1, 2, 7, 100])
@pytest.mark.parametrize("output", ["logit", "log_probability", "probability"])
def test_scores_of_samples_are_exact(batch_size, output):
    images, weights, targets = normal(5, 1, 1, 3), normal(2, 1, 1, 3), np.array([0, 1, 1, 0, 1])
    found = batches.score_samples(
        _moved, linear(weights), {"images": images, "targets": targets}, np.int32(10),
        output=output, samples=3, batch_size=batch_size, factor=0.5,
    )  # fmt: skip
    moved = images[:, None] + 0.5 * np.arange(3)[:, None, None, None]
    logits = np.einsum("nshwi,chwi->nsc", moved, weights)
    values = {"logit": lambda x: x, "log_probability": lambda x: log_softmax(x, -1),
              "probability": lambda x: softmax(x, -1)}[output](logits)  # fmt: skip
    own = np.take_along_axis(values, targets[:, None, None], -1)[..., 0]
    assert found.values.dtype == np.float64
    np.testing.assert_allclose(found.values, own, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(found.predicted, logits.argmax(-1) == targets[:, None])
    np.testing.assert_array_equal(found.kept["sample"], np.tile([0, 10, 20], (5, 1)))


def test_probabilities_near_one_keep_their_digits():
    """In float32 1 - 1e-9 is 1."""
    logits = np.float32([[[0.0, 20.7]]])
    found = exact_scores(logits, np.array([1]), "probability")[0, 0]
    assert 1 - found == pytest.approx(np.exp(-20.7), rel=1e-5)


def test_many_samples_are_added_up_in_float64():
    images = np.full((1, 1, 1, 3), 2.0**24, np.float32)
    found = batches.sum_samples(
        _number, linear(normal(2, 1, 1, 3)), {"images": images}, np.float32(1), samples=4,
        batch_size=1,
    )  # fmt: skip
    # One by one float32 would lose 1 and 3: it has even numbers only from 2**24 on.
    assert found[0] == 4 * 2.0**24 + 2 + 4


def _inverse(fn, examples, sample, shared):
    return 1 / examples["images"][:, 0, 0, 0]


def test_the_image_that_is_not_finite_is_named():
    images = np.ones((5, 1, 1, 3), np.float32)
    images[3] = 0
    with pytest.raises(InputError, match="image 3: its scores"):
        batches.sum_samples(
            _inverse, linear(normal(2, 1, 1, 3)), {"images": images}, (), batch_size=2
        )


def test_the_image_whose_scores_are_not_finite_is_named():
    def broken(images):
        return images[:, 0, 0, :2] / images[:, 0, 0, 2:]

    images, targets = np.ones((5, 1, 1, 3), np.float32), np.zeros(5, int)
    images[3] = 0
    with pytest.raises(InputError, match="image 3: its scores"):
        batches.score_samples(
            batches.as_it_is, as_pytree(broken), {"images": images, "targets": targets},
            output="logit", batch_size=2,
        )  # fmt: skip


def test_an_impossible_class_does_not_matter():
    """A network may give a class that it rules out a logit of minus infinity."""

    def ruled_out(images):
        return jnp.stack([images[:, 0, 0, 0], jnp.full(len(images), -jnp.inf)], -1)

    examples = {"images": np.ones((2, 1, 1, 3), np.float32), "targets": np.zeros(2, int)}
    found = batches.score_samples(
        batches.as_it_is, as_pytree(ruled_out), examples, output="probability", batch_size=2
    )
    np.testing.assert_array_equal(found.values, 1)


def test_progress_is_shown_when_asked_for(capsys):
    arguments = (_number, linear(normal(2, 1, 1, 3)), {"images": normal(5, 1, 1, 3)}, 1.0)
    batches.sum_samples(*arguments, samples=2, batch_size=5)
    assert capsys.readouterr().err == ""
    batches.sum_samples(*arguments, samples=2, batch_size=5, progress="numbers")
    assert "numbers" in capsys.readouterr().err


@given(rows=st.integers(1, 99), batch_size=st.integers(1, 40), count=st.integers(1, 70))
def test_all_cores_together_hold_a_batch(rows, batch_size, count):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batches, "_cores", lambda: count)
        size, at_once = batches.divide(rows, batch_size)
    assert size >= 1
    assert 1 <= at_once <= count
    assert size * at_once <= batch_size
    if rows <= batch_size:  # shared by all cores, none of which has much less to do
        assert size * at_once < rows + at_once


@pytest.mark.parametrize("at_once", [1, 2, 3])
def test_batches_come_in_order_from_one_program(at_once):
    traced = []

    @jax.jit
    def square(x):
        traced.append(threading.get_ident())
        return {"square": x * x}

    found = list(batches.run_batches(lambda n: square(jnp.float32(n)), range(20), at_once))
    assert found == [(n, {"square": np.float32(n * n)}) for n in range(20)]
    assert all(isinstance(values["square"], np.ndarray | np.generic) for _, values in found)
    assert len(traced) == 1
    assert (traced[0] == threading.get_ident()) == (at_once == 1)


@pytest.mark.parametrize("at_once", [1, 3])
def test_few_batches_are_under_way_and_none_is_begun_after_the_last_wanted(at_once):
    begun, threads = [], threading.active_count()

    def start(n):
        begun.append(n)
        return jnp.float32(n)

    found = batches.run_batches(start, iter(range(1000)), at_once)
    for number in range(5):
        assert next(found)[0] == number
        assert len(begun) <= number + at_once + 2
    found.close()
    assert threading.active_count() == threads
    assert len(begun) <= 6 + at_once


def test_an_error_is_that_of_its_batch():
    def start(n):
        if n == 3:
            raise ValueError("third")
        return jnp.float32(n)

    found = batches.run_batches(start, range(9), 2)
    assert [next(found)[0] for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="third"):
        next(found)


def test_settings_of_the_caller_hold_in_the_threads():
    def seen(_):
        return jax.config.jax_default_matmul_precision, str(jnp.zeros(1, float).dtype)

    with jax.default_matmul_precision("highest"), jax.enable_x64(True):
        found = [values for _, values in batches.run_batches(seen, range(3), 2)]
    assert found == 3 * [("highest", "float64")]
    assert [values for _, values in batches.run_batches(seen, range(2), 2)] == 2 * [
        (None, "float32")
    ]
