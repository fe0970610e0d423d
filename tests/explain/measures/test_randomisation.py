import jax
import numpy as np
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr

from cervix_jax.errors import InputError
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


@settings(max_examples=20, deadline=None)
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
    with pytest.raises(InputError, match="resize them"):
        similarity(MAPS, MAPS[:, :8])
    with pytest.raises(InputError, match="NaN"):
        similarity(MAPS, MAPS * np.nan)


# --- parameter randomisation ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def network():
    """Variables of a tiny DenseNet from the seeds 0, 1 and 2 (which has 4 classes); gradients.

    The gradients are those of the target's logit, a function of variables, images and targets.
    """
    found = []
    for seed, classes in ((2, CLASSES + 1), (1, CLASSES), (0, CLASSES)):
        model = DenseNet(num_classes=classes, blocks=(1, 1, 1, 1))
        initialise(model, jax.random.key(seed))
        _, params, stats = nnx.split(model, nnx.Param, nnx.BatchStat)
        found.append({"params": nnx.to_pure_dict(params), "stats": nnx.to_pure_dict(stats)})
    graphdef = nnx.graphdef(model)

    def chosen(images, variables, targets):
        merged = nnx.merge(graphdef, variables["params"], variables["stats"])
        merged.eval()
        logits, _ = merged(images)
        return logits[np.arange(len(targets)), targets].sum()

    gradient = jax.jit(jax.grad(chosen))
    return *found[::-1], lambda variables, images, targets: gradient(images, variables, targets)


def leaves(variables):
    return {
        tuple(part.key for part in path): leaf
        for path, leaf in jax.tree.leaves_with_path(variables)
    }


def test_replaced_stages_are_fresh_and_the_others_kept(network):
    ours, theirs, *_ = network
    mixed = replace_stages(ours, theirs, (2, 5))
    both = leaves(ours), leaves(theirs), leaves(mixed)
    assert both[0].keys() == both[2].keys()
    stages = set()
    for path, leaf in both[2].items():
        stage = stage_of(path[1:])
        stages.add(stage)
        assert leaf is both[stage in (2, 5)][path]
    assert stages == set(range(6))


def test_cascade_goes_from_the_head_alone_to_a_network_all_fresh(network):
    ours, theirs, _, explain = network
    stages, found = parameter_randomisation(explain, ours, theirs, IMAGES, TARGETS)
    assert stages == ("head", "stage4", "stage3", "stage2", "stage1", "stem") == tuple(STAGES)
    first = explain(ours, IMAGES, TARGETS)
    head = replace_stages(ours, theirs, (5,))
    assert not np.array_equal(leaves(head)["params", "classifier", "kernel"],
                              leaves(ours)["params", "classifier", "kernel"])  # fmt: skip
    for row, variables in ((0, head), (-1, theirs)):
        expected = similarity(first, explain(variables, IMAGES, TARGETS))
        for field in FIELDS:
            values = getattr(found, field)
            assert values.shape == (6, 2)
            np.testing.assert_allclose(values[row], getattr(expected, field), atol=1e-6)
    # Gradients of another network have nothing to do with those of this one.
    assert np.abs(found.spearman_signed[-1]).max() < 0.25


def test_one_stage_at_a_time(network):
    ours, theirs, _, explain = network
    _, cascading = parameter_randomisation(explain, ours, theirs, IMAGES, TARGETS)
    _, single = parameter_randomisation(explain, ours, theirs, IMAGES, TARGETS, cascading=False)
    np.testing.assert_allclose(single.ssim_signed[0], cascading.ssim_signed[0], atol=1e-6)
    expected = explain(replace_stages(ours, theirs, (0,)), IMAGES, TARGETS)
    expected = similarity(explain(ours, IMAGES, TARGETS), expected)
    np.testing.assert_allclose(single.spearman_signed[-1], expected.spearman_signed, atol=1e-6)
    assert (single.spearman_signed[-1] != cascading.spearman_signed[-1]).all()


def test_a_map_of_the_image_alone_stays_as_it_is(network):
    """What an edge detector does: it passes for an explanation, and this finds it out."""
    ours, theirs, *_ = network
    _, found = parameter_randomisation(
        lambda variables, images, targets: images, ours, theirs, IMAGES, TARGETS
    )
    assert_similar(found, 1)


def test_maps_that_vanish_are_undefined_from_there_on(network):
    ours, theirs, *_ = network
    stem = ("params", "features", "conv0", "kernel")

    def explain(variables, images, targets):
        fresh = np.array_equal(leaves(variables)[stem], leaves(theirs)[stem])
        return images * (not fresh)

    _, found = parameter_randomisation(explain, ours, theirs, IMAGES, TARGETS)
    assert np.isnan(found.ssim_signed).all(axis=1).tolist() == [False] * 5 + [True]


def test_fresh_variables_of_another_network_are_refused(network):
    ours, theirs, other, explain = network
    with pytest.raises(InputError, match=r"params/classifier/bias is \(4,\), but \(3,\)"):
        parameter_randomisation(explain, ours, other, IMAGES, TARGETS)
    fewer = {"params": {**theirs["params"]}, "stats": theirs["stats"]}
    del fewer["params"]["classifier"]
    with pytest.raises(InputError, match="params/classifier/bias is missing"):
        parameter_randomisation(explain, ours, fewer, IMAGES, TARGETS)
    unknown = {"params": {"mystery": np.ones(3)}, "stats": {}}
    with pytest.raises(InputError, match="mystery"):
        parameter_randomisation(
            lambda variables, images, targets: images, unknown, unknown, IMAGES, TARGETS
        )


# --- random logit --------------------------------------------------------------------------------

BY_CLASS = RANDOM.normal(size=(CLASSES, 8, 8, 3))
SMALL = RANDOM.normal(size=(6, 8, 8, 3)).astype(np.float32)
LABELS = np.array([0, 1, 2, 0, 1, 2])


def test_the_other_class_is_another_and_drawn_for_each_image():
    calls = []

    def explain(images, targets):
        calls.append(targets)
        return BY_CLASS[targets] * (1 + images[:, :1, :1] ** 2)

    many = np.repeat(LABELS, 20), np.repeat(SMALL, 20, axis=0)
    found = random_logit(explain, many[1], many[0], num_classes=CLASSES)
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
    found = random_logit(lambda images, targets: images, SMALL, LABELS, num_classes=CLASSES)
    assert_similar(found, 1)


def test_two_opposed_classes_differ_in_sign_only():
    found = random_logit(
        lambda images, targets: images * (2 * targets - 1)[:, None, None, None],
        SMALL,
        LABELS % 2,
        num_classes=2,
    )
    np.testing.assert_allclose(found.spearman_signed, -1)
    np.testing.assert_allclose(found.spearman_absolute, 1)


def test_ids_name_the_draws():
    order = np.array([3, 1, 5, 0, 2, 4])

    def explain(images, targets):
        return BY_CLASS[targets] + images

    first = random_logit(explain, SMALL, LABELS, num_classes=CLASSES, seed=4)
    again = random_logit(
        explain, SMALL[order], LABELS[order], num_classes=CLASSES, seed=4, ids=order
    )
    np.testing.assert_array_equal(again.ssim_signed, first.ssim_signed[order])


@pytest.mark.parametrize("num_classes", [1, 2])
def test_too_few_classes(num_classes):
    with pytest.raises(InputError, match="num_classes"):
        random_logit(lambda images, targets: images, SMALL, LABELS, num_classes=num_classes)


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
    with pytest.raises(InputError, match="1 maps have no others"):
        average_map_similarity(maps[:1])
