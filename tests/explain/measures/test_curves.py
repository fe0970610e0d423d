import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from models_of_maps import (
    BIAS,
    IMAGES,
    SIDE,
    TARGETS,
    gradients,
    linear,
)

from cervix_jax.errors import InputError
from cervix_jax.explain.baselines import several
from cervix_jax.explain.measures import deletion, insertion, insertion_deletion

PIXELS = SIDE * SIDE


def test_curves_of_a_linear_model_by_hand():
    """Each removed pixel takes away what it contributed; the largest contribution goes first."""
    contributions = (IMAGES * gradients()).sum(-1).reshape(4, -1)
    options = {"baselines": 0.0, "output": "logit", "steps": PIXELS, "batch_size": 16}
    inserted, deleted = insertion_deletion(linear, IMAGES, TARGETS, IMAGES * gradients(), **options)
    largest_first = -np.sort(-contributions, axis=1)
    gone = np.concatenate([np.zeros((4, 1)), np.cumsum(largest_first, 1)], 1)
    empty = BIAS[TARGETS][:, None]
    whole = empty + contributions.sum(1, keepdims=True)
    np.testing.assert_allclose(deleted.fractions, np.linspace(0, 1, PIXELS + 1))
    np.testing.assert_allclose(deleted.scores, whole - gone, atol=1e-4)
    np.testing.assert_allclose(inserted.scores, empty + gone, atol=1e-4)
    by_hand = ((deleted.scores[:, 1:] + deleted.scores[:, :-1]) / 2).mean(1)
    np.testing.assert_allclose(deleted.auc, by_hand)
    assert (inserted.auc > deleted.auc).all()


def test_both_ends_are_the_image_and_the_baseline_whatever_the_steps():
    curve = deletion(
        linear, IMAGES, TARGETS, gradients(), steps=7, baselines=[0.1, 0.2, 0.3], output="logit"
    )
    base = np.broadcast_to(np.float32([0.1, 0.2, 0.3]), IMAGES.shape)
    rows = np.arange(4)
    for column, images in ((0, IMAGES), (-1, base)):
        expected = np.asarray(linear(images))[rows, TARGETS]
        np.testing.assert_allclose(curve.scores[:, column], expected, atol=1e-4)
    assert len(curve.fractions) == 8
    assert curve.fractions[[0, -1]].tolist() == [0, 1]


def test_default_baseline_is_the_mean_colour_of_the_image():
    mean = IMAGES.mean((1, 2), keepdims=True)
    default = deletion(linear, IMAGES, TARGETS, gradients(), steps=4)
    given_mean = deletion(linear, IMAGES, TARGETS, gradients(), steps=4, baselines=mean)
    np.testing.assert_array_equal(default.scores, given_mean.scores)


def test_several_baselines_give_the_mean_of_their_curves():
    colours = np.float32([[0.1, 0.2, 0.3], [-1, 2, 0]])
    many = several(colours[:, None, None])
    for measure in (insertion, deletion):
        found = measure(linear, IMAGES, TARGETS, gradients(), steps=4, baselines=many)
        each = [measure(linear, IMAGES, TARGETS, gradients(), steps=4, baselines=c).scores
                for c in colours]  # fmt: skip
        np.testing.assert_allclose(found.scores, np.mean(each, 0), atol=1e-6)


def test_all_channels_of_a_pixel_turn_at_once():
    def seen(images):  # logit 0 is 1 if some pixel has turned in one channel only
        turned = (images == 0).sum(-1)
        mixed = ((turned > 0) & (turned < 3)).any((1, 2))
        return jnp.stack([mixed * 1.0, turned.sum((1, 2)) / 3.0], -1)

    ones = np.ones_like(IMAGES)
    mixed = deletion(seen, ones, np.zeros(4, int), gradients(), baselines=0.0, output="logit")
    assert (mixed.scores == 0).all()
    count = deletion(seen, ones, np.ones(4, int), gradients(), baselines=0.0, output="logit")
    np.testing.assert_allclose(count.scores, np.tile(count.fractions * PIXELS, (4, 1)))


def test_a_constant_map_ranks_nothing_and_is_nan():
    maps = gradients().copy()
    maps[1] = 0
    curve = deletion(linear, IMAGES, TARGETS, maps, steps=3)
    np.testing.assert_array_equal(np.isnan(curve.auc), [False, True, False, False])


def test_negative_values_come_last():
    maps = np.zeros((1, SIDE, SIDE))
    maps[0, 0, 0], maps[0, 5, 5] = 1, -9
    place = jnp.array([[0, 0], [5, 5]])

    def corners(images):
        return images[:, place[:, 0], place[:, 1], 0]

    ones = np.ones((1, SIDE, SIDE, 3))
    first = deletion(corners, ones, [0], maps, baselines=0.0, steps=PIXELS, output="logit")
    last = deletion(corners, ones, [1], maps, baselines=0.0, steps=PIXELS, output="logit")
    assert first.scores[0].tolist() == [1] + [0] * PIXELS
    assert last.scores[0].tolist() == [1] * PIXELS + [0]


@settings(max_examples=8)
@given(batch_size=st.integers(1, 40), factor=st.floats(1e-6, 1e6))
def test_neither_batch_size_nor_scale_matters_and_no_batch_is_larger(batch_size, factor):
    largest = []

    def watched(images):
        largest.append(len(images))
        return linear(images)

    found = insertion(
        watched, IMAGES, TARGETS, gradients() * factor, steps=5, batch_size=batch_size
    )
    reference = insertion(linear, IMAGES, TARGETS, gradients(), steps=5)
    np.testing.assert_allclose(found.scores, reference.scores, atol=1e-5)
    assert max(largest) <= batch_size
    assert len(largest) == 2  # traced once for the number of classes, once for a batch


def test_permuting_images_permutes_results_when_ids_do():
    maps = np.round(gradients())  # with ties
    order = np.array([3, 1, 0, 2])
    whole = deletion(linear, IMAGES, TARGETS, maps, steps=PIXELS, ids=[5, 6, 7, 8])
    permuted = deletion(
        linear, IMAGES[order], TARGETS[order], maps[order], steps=PIXELS, ids=order + 5
    )
    np.testing.assert_allclose(permuted.scores, whole.scores[order], atol=1e-6)


def test_ties_are_broken_by_the_seed_not_by_raster_order():
    maps = np.zeros((1, SIDE, SIDE))
    maps[0, 0, 0] = 1

    def top_half(images):
        return images[:, :3, :, 0].mean((1, 2))[:, None]

    ones = np.ones((1, SIDE, SIDE, 3))
    options = {"baselines": 0.0, "output": "logit", "steps": PIXELS}
    areas = [deletion(top_half, ones, [0], maps, seed=seed, **options).auc[0] for seed in range(20)]
    assert len(set(areas)) > 10
    assert np.mean(areas) == pytest.approx(0.5, abs=0.05)  # raster order: 0.25


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"maps": np.full((4, SIDE, SIDE), np.nan)}, "NaN"),
        ({"maps": np.zeros((4, SIDE, 5))}, "resize"),
        ({"maps": np.zeros((4, SIDE))}, "maps have shape"),
        ({"images": np.full_like(IMAGES, np.inf)}, "image 0 has values that are not finite"),
        ({"targets": [0, 1, 2, 3]}, "is not a class; give 0 to 2"),
        ({"targets": [0.0, 1.0, 2.0, 1.0]}, "targets are float64"),
        ({"baselines": np.zeros((5, 5))}, "baselines have shape"),
        ({"baselines": np.nan}, "the baselines have values that are not"),
        ({"steps": 0}, "steps=0:"),
        ({"batch_size": 0}, "batch_size=0:"),
        ({"output": "loss"}, "output='loss': give one of logit"),
        ({"reduction": "norm"}, "reduction='norm'"),
        ({"ids": [0, 1]}, "ids"),
        ({"images": IMAGES[:0], "targets": TARGETS[:0], "maps": IMAGES[:0]}, "no images"),
    ],
)
def test_bad_input_is_one_clear_line(change, message):
    usual = {"images": IMAGES, "targets": TARGETS, "maps": gradients(), "steps": 3}
    with pytest.raises(InputError, match=message):
        deletion(linear, **(usual | change))
