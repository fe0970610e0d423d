import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from selection import tries
from sklearn.metrics import average_precision_score, roc_auc_score

from cervix_jax.statistics.ranking import auroc_and_average_precision, choose_threshold
from cervix_jax.statistics.resampling import Resamples


def case(seed, n=40, decimals=1):
    random = np.random.default_rng(seed)
    positive = random.random(n) < 0.4
    positive[:2] = True, False
    scores = np.round(random.normal(size=n) + positive, decimals)  # with ties
    return scores, positive, random.integers(0, 8, n).astype(str)


@given(st.integers(0, 2**31), st.integers(4, 60), st.sampled_from([0, 1, 6]))
@settings(max_examples=tries(60))
def test_equal_to_scikit_learn_in_the_data_and_in_every_resample(seed, n, decimals):
    scores, positive, groups = case(seed, n, decimals)
    resamples = Resamples(groups, number=6, seed=seed)
    auroc, precision = auroc_and_average_precision(resamples, scores, positive)
    for row in range(7):
        weight = resamples.weights[row][resamples.index]
        both = weight[positive].sum() > 0 and weight[~positive].sum() > 0
        if both:
            keep = weight > 0
            given = positive[keep], scores[keep]
            assert auroc[row] == pytest.approx(
                roc_auc_score(*given, sample_weight=weight[keep]), abs=1e-12
            )
            assert precision[row] == pytest.approx(
                average_precision_score(*given, sample_weight=weight[keep]), abs=1e-12
            )
        else:
            assert np.isnan(auroc[row])
    assert 0 <= auroc[0] <= 1
    assert 0 < precision[0] <= 1


def test_auroc_is_the_share_of_pairs_in_order():
    scores, positive, groups = case(5)
    auroc, _ = auroc_and_average_precision(Resamples(groups, number=1), scores, positive)
    pairs = [(p > n) + 0.5 * (p == n) for p in scores[positive] for n in scores[~positive]]
    assert auroc[0] == pytest.approx(np.mean(pairs))


def test_pieces_do_not_change_it(monkeypatch):
    scores, positive, groups = case(6)
    resamples = Resamples(groups, number=50)
    whole = auroc_and_average_precision(resamples, scores, positive)
    monkeypatch.setattr("cervix_jax.statistics.resampling.CHUNK", 130)
    np.testing.assert_array_equal(whole, auroc_and_average_precision(resamples, scores, positive))


@pytest.mark.parametrize("only", [True, False])
def test_one_side_alone_is_undefined(only):
    scores, _, groups = case(7)
    auroc, precision = auroc_and_average_precision(
        Resamples(groups, number=5), scores, np.full(40, only)
    )
    assert np.isnan(auroc).all()
    assert (precision == pytest.approx(1.0)) if only else np.isnan(precision).all()


@given(st.integers(0, 2**31), st.sampled_from(["specificity", "sensitivity"]),
       st.sampled_from([0.5, 0.9, 0.95]))  # fmt: skip
@settings(max_examples=tries(60))
def test_threshold_is_the_best_of_all_that_hold(seed, held, target):
    scores, positive, _ = case(seed)
    point = choose_threshold(scores, positive, held, target)

    def rates(threshold):
        called = scores >= threshold
        rate = {"sensitivity": called[positive].mean(), "specificity": 1 - called[~positive].mean()}
        other = "sensitivity" if held == "specificity" else "specificity"
        return rate[held], rate[other]

    holding = [rates(t)[1] for t in [*scores, np.inf] if rates(t)[0] >= target - 1e-9]
    assert rates(point.threshold)[0] >= target - 1e-9
    assert rates(point.threshold)[1] == max(holding)


def test_nine_of_ten_is_nine_tenths():
    """0.9 and 1 - 0.1 differ in floating point."""
    scores = np.arange(20.0)
    positive = np.repeat([False, True], 10)
    swapped = scores.copy()
    swapped[[9, 10]] = swapped[[10, 9]]  # one negative above one positive
    point = choose_threshold(swapped, positive, "specificity", 0.9)
    assert point.threshold == 9.0


def test_a_threshold_needs_both_sides():
    assert choose_threshold(np.arange(3.0), np.ones(3, bool), "specificity", 0.9) is None
