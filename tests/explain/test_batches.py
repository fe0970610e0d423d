import numpy as np
import pytest
from explained_functions import linear, normal
from hypothesis import given, settings
from hypothesis import strategies as st

from cervix_jax.errors import InputError
from cervix_jax.explain import batches


@settings(max_examples=50, deadline=None)
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
def test_sums_and_samples(batch_size):
    images = normal(5, 1, 1, 3)
    run = {"samples": 3, "batch_size": batch_size}
    arguments = (_number, linear(normal(2, 1, 1, 3)), {"images": images}, np.float32(2))
    expected = 2 * images[:, 0, 0, :1] + np.arange(3)
    np.testing.assert_allclose(batches.each_sample(*arguments, **run), expected, rtol=1e-6)
    np.testing.assert_allclose(batches.sum_samples(*arguments, **run), expected.sum(1), rtol=1e-5)


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
        batches.each_sample(
            _inverse, linear(normal(2, 1, 1, 3)), {"images": images}, (), samples=1, batch_size=2
        )


def test_progress_is_shown_when_asked_for(capsys):
    arguments = (_number, linear(normal(2, 1, 1, 3)), {"images": normal(5, 1, 1, 3)}, 1.0)
    batches.each_sample(*arguments, samples=2, batch_size=5)
    assert capsys.readouterr().err == ""
    batches.each_sample(*arguments, samples=2, batch_size=5, progress="numbers")
    assert "numbers" in capsys.readouterr().err
