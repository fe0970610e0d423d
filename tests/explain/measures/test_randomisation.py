import jax
import numpy as np
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.tree_util import Partial
from scipy.stats import spearmanr
from selection import tries

from cervix_jax import explain
from cervix_jax.errors import InputError
from cervix_jax.explain.function import as_pytree
from cervix_jax.explain.measures import (
    STAGES,
    Similarity,
    average_map_similarity,
    parameter_randomisation,
    random_logit,
    similarity,
)
from cervix_jax.explain.measures.randomisation import replace_stages
from cervix_jax.models.densenet import DenseNet
from cervix_jax.models.layers import initialise
from cervix_jax.models.stages import stage_of

FIELDS = ("spearman_signed", "spearman_absolute", "ssim_signed", "ssim_absolute")
RANDOM = np.random.default_rng(5)
MAPS = RANDOM.normal(size=(3, 12, 9)).cumsum(axis=1)
CLASSES = 3
IMAGES = RANDOM.normal(size=(2, 32, 32, 3)).astype(np.float32)
TARGETS = np.array([1, 2])


def assert_similar(found: Similarity, expected: float):
    for field in FIELDS:
        np.testing.assert_allclose(getattr(found, field), expected, atol=1e-6, err_msg=field)


# --- similarity ---------------------------------------------------------------------------------


@settings(max_examples=tries(20))
@given(factor=st.floats(1e-100, 1e100))
def test_a_map_is_like_itself_at_any_scale(factor):
    assert_similar(similarity(MAPS, factor * MAPS), 1)


def test_the_sign_counts_only_in_the_signed_ones():
    for maps in (RANDOM.normal(size=(3, 12, 9)), RANDOM.normal(0.5, 0.2, (3, 12, 9))):
        found = similarity(maps, -maps)
        np.testing.assert_allclose(found.spearman_signed, -1)
        np.testing.assert_allclose(found.spearman_absolute, 1)
        np.testing.assert_allclose(found.ssim_absolute, 1)
        assert (found.ssim_signed < -0.2).all()


def test_rank_correlation_by_hand():
    """Two neighbouring ranks change places: 1 - 6 (1 + 1) / (n (n^2 - 1))."""
    ranks = np.arange(1.0, 50).reshape(1, 7, 7)
    swapped = ranks.copy()
    swapped[0, 0, :2] = 2, 1
    expected = 1 - 12 / (49 * (49**2 - 1))
    np.testing.assert_allclose(similarity(ranks, swapped).spearman_signed, expected)
    np.testing.assert_allclose(similarity(ranks, np.exp(ranks / 9)).spearman_signed, 1)


def test_ssim_of_one_window_by_hand():
    """Wang et al. (2004), eq. 13, with means and (sample) covariances over the 7 x 7 pixels."""
    first, second = RANDOM.normal(size=(2, 1, 7, 7))
    a, b = ((1 + m.ravel() / np.abs(m).max()) / 2 for m in (first, second))
    c1, c2 = 0.01**2, 0.03**2
    (va, vab), (_, vb) = np.cov(a, b)
    luminance = (2 * a.mean() * b.mean() + c1) / (a.mean() ** 2 + b.mean() ** 2 + c1)
    structure = (2 * vab + c2) / (va + vb + c2)
    np.testing.assert_allclose(similarity(first, second).ssim_signed, luminance * structure)


def test_independent_maps_are_not_alike():
    first, second = RANDOM.normal(size=(2, 4, 40, 40))
    found = similarity(first, second)
    for field in FIELDS[:3]:
        assert np.abs(getattr(found, field)).max() < 0.15, field


def test_a_constant_map_is_undefined():
    maps = MAPS.copy()
    maps[1] = 0
    for found in (similarity(maps, MAPS), similarity(MAPS, maps)):
        for field in FIELDS:
            assert np.isnan(getattr(found, field)).tolist() == [False, True, False]


def test_channels_are_reduced_first():
    maps = np.stack([MAPS, -MAPS, RANDOM.normal(size=MAPS.shape)], axis=-1)
    assert_similar(similarity(maps, maps[..., 2]), 1)
    with pytest.raises(AssertionError):
        assert_similar(similarity(maps, maps[..., 2], reduction="sum_absolute"), 1)


def test_bad_maps():
    with pytest.raises(InputError, match="at least 7 x 7"):
        similarity(MAPS[:, :6], MAPS[:, :6])
    with pytest.raises(InputError, match="resize the maps"):
        similarity(MAPS, MAPS[:, :8])
    with pytest.raises(InputError, match="NaN"):
        similarity(MAPS, MAPS * np.nan)


# --- parameter randomisation ---------------------------------------------------------------------


def tiny(seed, classes=CLASSES):
    model = DenseNet(num_classes=classes, blocks=(1, 1, 1, 1))
    initialise(model, jax.random.key(seed))
    return model


@pytest.fixture(scope="module")
def network():
    """A tiny network, and the same one fresh."""
    return tiny(0), tiny(1)


def saliency(fn, images=IMAGES, targets=TARGETS, **common):
    return explain.saliency(fn, images, targets, **common)


def leaves(fn):
    return {
        tuple(part.key for part in path if isinstance(part, jax.tree_util.DictKey)): leaf
        for path, leaf in jax.tree.leaves_with_path(as_pytree(fn))
    }


def randomise(network, method=saliency, **options):
    ours, theirs = network
    maps = method(ours, IMAGES, TARGETS)
    return parameter_randomisation(
        ours, IMAGES, TARGETS, maps, method=method, fresh=theirs, **options
    )


def test_replaced_stages_are_fresh_and_the_others_kept(network):
    ours, theirs = map(as_pytree, network)
    both = leaves(ours), leaves(theirs), leaves(replace_stages(ours, theirs, (2, 5)))
    assert both[0].keys() == both[2].keys()
    stages = set()
    for path, leaf in both[2].items():
        stage = stage_of(path)
        stages.add(stage)
        assert leaf is both[stage in (2, 5)][path]
    assert stages == set(range(6))


def test_what_is_no_number_stays(network):
    """The state of a dropout's generator belongs to no stage."""
    tree = {"drop": {"count": np.uint32(3), "key": jax.random.key(0)}, "stem": {"w": np.ones(2)}}
    other = {"drop": {"count": np.uint32(4), "key": jax.random.key(1)}, "stem": {"w": np.zeros(2)}}
    mixed = replace_stages(tree, other, (0,))
    assert mixed["drop"] == tree["drop"]
    assert mixed["stem"] is not tree["stem"]
    np.testing.assert_array_equal(mixed["stem"]["w"], 0)


def test_cascade_goes_from_the_head_alone_to_a_network_all_fresh(network):
    ours, theirs = network
    stages, found = randomise(network)
    assert stages == ("head", "stage4", "stage3", "stage2", "stage1", "stem") == tuple(STAGES)
    first = saliency(ours)
    head = replace_stages(as_pytree(ours), as_pytree(theirs), (5,))
    name = ("classifier", "kernel")
    assert not np.array_equal(leaves(head)[name], leaves(ours)[name])
    for row, fn in ((0, head), (-1, theirs)):
        expected = similarity(first, saliency(fn))
        for field in FIELDS:
            values = getattr(found, field)
            assert values.shape == (6, 2)
            np.testing.assert_allclose(values[row], getattr(expected, field), atol=1e-6)
    # Gradients of another network have nothing to do with those of this one.
    assert np.abs(found.spearman_signed[-1]).max() < 0.25


def test_functions_of_a_run_will_do(network):
    """Weights in nested dicts, as a run has them."""

    def logits(graphdef, variables, images):
        model = nnx.merge(graphdef, variables["params"], variables["stats"], copy=True)
        model.eval()
        return model(images)[0]

    fns = []
    for model in network:
        graphdef, params, stats = nnx.split(model, nnx.Param, ...)
        variables = {"params": nnx.to_pure_dict(params), "stats": nnx.to_pure_dict(stats)}
        fns.append(Partial(logits, graphdef, variables))
    _, expected = randomise(network)
    _, found = randomise(fns)
    np.testing.assert_allclose(found.spearman_signed, expected.spearman_signed, atol=1e-3)


def test_one_stage_at_a_time(network):
    ours, theirs = network
    _, cascading = randomise(network)
    _, single = randomise(network, cascading=False)
    np.testing.assert_allclose(single.ssim_signed[0], cascading.ssim_signed[0], atol=1e-6)
    stem = replace_stages(as_pytree(ours), as_pytree(theirs), (0,))
    expected = similarity(saliency(ours), saliency(stem))
    np.testing.assert_allclose(single.spearman_signed[-1], expected.spearman_signed, atol=1e-6)
    assert (single.spearman_signed[-1] != cascading.spearman_signed[-1]).all()


def test_a_map_of_the_image_alone_stays_as_it_is(network):
    """What an edge detector does: it passes for an explanation, and this finds it out."""
    _, found = randomise(network, lambda fn, images, targets, **common: images)
    assert_similar(found, 1)


def test_maps_that_vanish_are_undefined_from_there_on(network):
    stem = ("features", "conv0", "kernel")

    def method(fn, images, targets, **common):
        fresh = np.array_equal(leaves(fn)[stem], leaves(network[1])[stem])
        return images * (not fresh)

    _, found = randomise(network, method)
    assert np.isnan(found.ssim_signed).all(axis=1).tolist() == [False] * 5 + [True]


def test_fresh_variables_of_another_network_are_refused(network):
    ours, _ = network
    with pytest.raises(InputError, match=r"classifier/bias is \(4,\) in fresh, but \(3,\) in fn"):
        randomise((ours, tiny(2, CLASSES + 1)))

    def weighted(variables, images):
        return images.mean((1, 2)) * sum(jax.tree.leaves(variables))

    one = {"stem": {"w": np.ones(3, np.float32)}, "classifier": {"w": np.ones(3, np.float32)}}
    fewer, unknown = {"stem": one["stem"]}, {"mystery": one["stem"]}
    for trained, fresh, message in (
        (one, fewer, "classifier/w is missing"),
        (unknown, unknown, "mystery"),
    ):
        with pytest.raises(InputError, match=message):
            randomise((Partial(weighted, trained), Partial(weighted, fresh)))
    with pytest.raises(InputError, match="fresh has another structure than fn"):
        randomise((Partial(weighted, one), Partial(lambda *args: weighted(*args), one)))
    with pytest.raises(InputError, match="the variables of fn are not accessible"):
        randomise((lambda images: images.mean((1, 2)),) * 2)


# --- random logit --------------------------------------------------------------------------------

BY_CLASS = RANDOM.normal(size=(CLASSES, 8, 8, 3))
SMALL = RANDOM.normal(size=(6, 8, 8, 3)).astype(np.float32)
LABELS = np.array([0, 1, 2, 0, 1, 2])


def by_class(images):
    return images.mean((1, 2))


def other_logit(method, images=SMALL, targets=LABELS, fn=by_class, **options):
    maps = method(fn, images, targets)
    return random_logit(fn, images, targets, maps, method=method, **options)


def test_the_other_class_is_another_and_drawn_for_each_image():
    calls = []

    def method(fn, images, targets, **common):
        calls.append(targets)
        return BY_CLASS[targets] * (1 + images[:, :1, :1] ** 2)

    many = np.repeat(LABELS, 20), np.repeat(SMALL, 20, axis=0)
    found = other_logit(method, many[1], many[0])
    first, other = calls
    np.testing.assert_array_equal(first, many[0])
    assert (first != other).all()
    counts = np.bincount((other - first) % CLASSES, minlength=CLASSES)
    assert counts[0] == 0
    assert counts[1:].min() > 40  # of 120
    scale = (1 + many[1][:, :1, :1] ** 2).astype(np.float64)
    pairs = zip((BY_CLASS[first] * scale).sum(-1), (BY_CLASS[other] * scale).sum(-1), strict=True)
    expected = [spearmanr(a.ravel(), b.ravel()).statistic for a, b in pairs]
    np.testing.assert_allclose(found.spearman_signed, expected)


def test_a_map_that_ignores_the_class_fails():
    assert_similar(other_logit(lambda fn, images, targets, **common: images), 1)


def test_two_opposed_classes_differ_in_sign_only():
    found = other_logit(
        lambda fn, images, targets, **common: images * (2 * targets - 1)[:, None, None, None],
        targets=LABELS % 2,
        fn=lambda images: by_class(images)[:, :2],
    )
    np.testing.assert_allclose(found.spearman_signed, -1)
    np.testing.assert_allclose(found.spearman_absolute, 1)


def test_ids_name_the_draws():
    order = np.array([3, 1, 5, 0, 2, 4])

    def method(fn, images, targets, **common):
        return BY_CLASS[targets] + images

    first = other_logit(method, seed=4)
    again = other_logit(method, SMALL[order], LABELS[order], seed=4, ids=order)
    np.testing.assert_array_equal(again.ssim_signed, first.ssim_signed[order])


def test_a_single_class_has_no_other():
    with pytest.raises(InputError, match="at least 2 classes; this one has 1"):
        other_logit(
            lambda fn, images, targets, **common: images,
            targets=0 * LABELS,
            fn=lambda images: by_class(images)[:, :1],
        )


# --- the same map for every image ---------------------------------------------------------------


def test_maps_that_are_one_map_at_any_scale_are_like_their_average():
    one = RANDOM.normal(size=(1, 12, 9)).cumsum(axis=1)
    assert_similar(average_map_similarity(one * np.array([1, 0.1, 7])[:, None, None]), 1)


def test_independent_maps_are_not_like_their_average():
    found = average_map_similarity(RANDOM.normal(size=(20, 40, 40)))
    assert np.abs(found.spearman_signed).max() < 0.15


def test_each_map_is_compared_with_the_others_alone():
    maps = RANDOM.normal(size=(3, 8, 8, 3))
    reduced = maps.sum(-1)
    scaled = reduced / np.abs(reduced).max(axis=(1, 2), keepdims=True)
    expected = spearmanr(scaled[0].ravel(), (scaled[1] + scaled[2]).ravel()).statistic
    np.testing.assert_allclose(average_map_similarity(maps).spearman_signed[0], expected)
    with pytest.raises(InputError, match="needs 2 or more maps; given: 1"):
        average_map_similarity(maps[:1])
