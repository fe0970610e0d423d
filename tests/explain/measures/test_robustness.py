import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from models_of_maps import IMAGES, TARGETS, WEIGHTS, linear, quadratic

from cervix_jax import explain
from cervix_jax.errors import InputError
from cervix_jax.explain.measures import sensitivity_max

BY_CLASS = np.moveaxis(WEIGHTS, -1, 0)
VALUES = IMAGES[0].size


def gradient_of_linear(fn, images, targets, **common):
    return BY_CLASS[targets]


def gradient_of_quadratic(fn, images, targets, **common):
    return BY_CLASS[targets] * images


def identity(fn, images, targets, **common):
    return images


def sensitivity(method, images=IMAGES, targets=TARGETS, **options):
    """Of the maps that the method itself makes."""
    maps = method(linear, images, targets)
    return sensitivity_max(linear, images, targets, maps, method=method, **options)


def test_the_gradient_of_a_linear_model_never_changes():
    np.testing.assert_array_equal(sensitivity(gradient_of_linear, radius=5.0), np.zeros(4))


def test_a_method_of_the_package_by_its_closed_form():
    maps = explain.saliency(quadratic, IMAGES, TARGETS)
    options = {"radius": 0.3, "samples": 7}
    found = sensitivity_max(quadratic, IMAGES, TARGETS, maps, method=explain.saliency, **options)
    np.testing.assert_allclose(found, sensitivity(gradient_of_quadratic, **options), rtol=1e-4)


def test_the_method_is_given_the_common_keywords_and_the_baselines_of_its_images():
    calls = []

    def method(fn, images, targets, **common):
        calls.append(common)
        return images

    own = explain.baselines.mean(IMAGES)
    common = {"output": "probability", "batch_size": 4, "seed": 3}
    sensitivity_max(
        linear, IMAGES, TARGETS, IMAGES, method=method, samples=2, baselines=own, **common
    )
    given = [call.pop("baselines") for call in calls]
    np.testing.assert_array_equal(np.concatenate(given), own.repeat(2, 0))
    assert calls == [common, common]
    calls.clear()
    sensitivity_max(linear, IMAGES, TARGETS, IMAGES, method=method, samples=1)
    assert calls == [{"batch_size": 32, "seed": 0}]


def test_what_the_image_itself_as_a_map_gives():
    """|d| / |x| for uniform d of n values: about r sqrt(n / 3) / |x|, at most r sqrt(n) / |x|."""
    found = sensitivity(identity, radius=0.1, samples=50)
    unit = 0.1 * np.sqrt(VALUES) / np.linalg.norm(IMAGES.reshape(4, -1), axis=1)
    assert (found <= unit).all()
    assert (found > unit / np.sqrt(3)).all()  # the mean: the largest of 50 lies above it
    assert (found < 1.25 * unit / np.sqrt(3)).all()


def test_images_are_drawn_from_the_ball_on_both_sides():
    seen = []

    def method(fn, images, targets, **common):
        seen.append(images)
        return images

    sensitivity_max(
        linear, IMAGES[:1], TARGETS[:1], IMAGES[:1], method=method, radius=0.3, samples=31
    )
    moved = np.concatenate(seen) - IMAGES[0]
    assert len(moved) == 31
    assert np.abs(moved).max() <= 0.3 * (1 + 1e-5)
    # Of a uniform variable: mean 0, standard deviation r / sqrt(3); 3348 values.
    assert abs(moved.mean()) < 4 * 0.3 / np.sqrt(3 * moved.size)
    assert moved.std() == pytest.approx(0.3 / np.sqrt(3), rel=0.05)
    assert len(np.unique(moved)) > 3000


def test_it_is_the_largest_change_of_all_samples():
    few, many = (sensitivity(identity, samples=samples) for samples in (7, 31))
    assert (many >= few).all()
    assert (many > few).any()


def test_a_map_of_zeros_is_divided_by_one():
    nothing = sensitivity(lambda fn, x, y, **common: 0 * x)
    np.testing.assert_array_equal(nothing, np.zeros(4))
    here_only = sensitivity(
        lambda fn, x, y, **common: 3 * (x - IMAGES[:1]), IMAGES[:1], TARGETS[:1], radius=0.1,
        samples=31,
    )  # fmt: skip
    assert 0.3 * np.sqrt(VALUES / 3) * 0.8 < here_only[0] < 0.3 * np.sqrt(VALUES)


def test_maps_without_channels():
    found = sensitivity(lambda fn, x, y, **common: x.sum(-1))
    assert found.shape == (4,)
    assert (found > 0).all()


@settings(max_examples=12)
@given(
    factor=st.floats(1e-6, 1e6),
    radius=st.floats(1e-3, 1.0),
    batch_size=st.sampled_from([1, 7, 60]),
    order=st.permutations(range(4)),
)
def test_scale_order_and_batch_size_do_not_matter(factor, radius, batch_size, order):
    order, seen = np.array(order), []

    def scaled(fn, images, targets, **common):
        seen.append(len(images))
        return -factor * gradient_of_quadratic(fn, images, targets).astype(np.float64)

    options = {"radius": radius, "samples": 7}
    first = sensitivity(gradient_of_quadratic, **options)
    again = sensitivity(
        scaled, IMAGES[order], TARGETS[order], ids=order, batch_size=batch_size, **options
    )
    np.testing.assert_allclose(again, first[order], rtol=1e-5)
    assert max(seen[1:]) <= batch_size
    bound = radius * np.linalg.norm(BY_CLASS[TARGETS].reshape(4, -1), axis=1)
    norms = np.linalg.norm(gradient_of_quadratic(quadratic, IMAGES, TARGETS).reshape(4, -1), axis=1)
    assert (first <= bound / norms * (1 + 1e-4)).all()


def test_the_seed_decides():
    found = [sensitivity(identity, seed=seed) for seed in (0, 0, 1)]
    np.testing.assert_array_equal(found[0], found[1])
    assert (found[0] != found[2]).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"radius": 0.0}, "radius=0.0:"),
        ({"radius": np.nan}, "radius"),
        ({"samples": 0}, "samples"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(InputError, match=message):
        sensitivity(identity, **options)


def test_maps_that_are_not_finite():
    with pytest.raises(InputError, match="NaN or infinite"):
        sensitivity_max(
            linear, IMAGES, TARGETS, IMAGES, method=lambda fn, x, y, **common: x * np.nan
        )


def test_maps_that_the_method_does_not_make():
    with pytest.raises(InputError, match="give maps that the same method made"):
        sensitivity_max(linear, IMAGES, TARGETS, IMAGES.sum(-1), method=identity)
