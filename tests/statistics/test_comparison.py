import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from random_tables import random_table
from scipy.stats import binom, t
from selection import tries
from sklearn.metrics import accuracy_score, balanced_accuracy_score, log_loss

from cervix_jax.statistics.comparison import fold_test, mcnemar, paired_bootstrap
from cervix_jax.statistics.resampling import Resamples


def test_mcnemar_of_the_papers_two_images():
    """92 and 90 of 101 right, 7 and 5 of them alone: p is the binomial's two tails from 5 of 12."""
    first = np.repeat([True, True, False, False], [85, 7, 5, 4])
    second = np.repeat([True, False, True, False], [85, 7, 5, 4])
    found = mcnemar(first, second)
    assert (found.only_first, found.only_second) == (7, 5)
    assert found.p_value == pytest.approx(2 * binom.cdf(5, 12, 0.5))
    assert round(found.p_value, 2) == 0.77


@given(st.integers(0, 2**31))
@settings(max_examples=tries(30))
def test_mcnemar_takes_no_side_and_ignores_agreement(seed):
    first, second = np.random.default_rng(seed).random((2, 30)) < 0.7
    found, swapped = mcnemar(first, second), mcnemar(second, first)
    assert (found.only_first, found.only_second) == (swapped.only_second, swapped.only_first)
    assert found.p_value == pytest.approx(swapped.p_value)
    apart = first != second
    assert mcnemar(first[apart], second[apart]) == found
    assert 0 < found.p_value <= 1


def test_mcnemar_without_any_difference():
    same = np.array([True, False, True])
    assert mcnemar(same, same).p_value == 1


def test_paired_bootstrap_equals_copying_both_alike():
    first, second = random_table(0), random_table(1)
    second = first.with_probabilities(np.roll(second.probabilities, 7, axis=0))
    found = paired_bootstrap([(first, second)], seed=5)
    resamples = Resamples(first.groups, seed=5)
    for row in (0, 1, 17, 1999):
        copies = np.repeat(np.arange(60), resamples.weights[row][resamples.index].astype(int))
        for side, table in enumerate((first, second)):
            labels, predicted = table.labels[copies], table.predicted[copies]
            nll = log_loss(labels, table.probabilities[copies], labels=[0, 1, 2])
            assert found["accuracy"][side][row] == accuracy_score(labels, predicted)
            assert found["NLL"][side][row] == pytest.approx(nll)
            assert found["balanced accuracy"][side][row] == pytest.approx(
                balanced_accuracy_score(labels, predicted)
            )


def test_pairing_makes_differences_surer():
    table = random_table(2, n=300, num_groups=60)
    other = table.with_probabilities(np.roll(table.probabilities, 1, axis=1))
    nearly = table.with_probabilities(
        np.where(np.arange(300)[:, None] < 6, other.probabilities, table.probabilities)
    )
    a, b = paired_bootstrap([(table, nearly)])["accuracy"]
    assert np.std(a[1:] - b[1:]) < 0.4 * np.std(a[1:])


def test_several_seeds_are_averaged_in_every_resample():
    first = random_table(0)
    tables = [first.with_probabilities(random_table(s).probabilities) for s in (0, 1, 2)]
    alone = [paired_bootstrap([(table, table)])["NLL"][0] for table in tables]
    both = paired_bootstrap([(tables[0], tables[1]), (tables[1], tables[2])])["NLL"]
    np.testing.assert_allclose(both[0], (alone[0] + alone[1]) / 2)
    np.testing.assert_allclose(both[1], (alone[1] + alone[2]) / 2)


def test_corrected_t_by_hand():
    differences = np.array([0.02, 0.01, 0.03, 0.00, 0.04])
    found = fold_test(differences, test_per_train=0.2 / 0.7)
    variance = 0.001 / 4  # of 0.02 -+ 0.01 -+ 0.02
    error = np.sqrt((1 / 5 + 0.2 / 0.7) * variance)
    assert found.mean == pytest.approx(0.02)
    assert found.p_t == pytest.approx(2 * t.sf(0.02 / error, 4))
    half = 2.7764451051977987 * error
    assert found.interval == pytest.approx((0.02 - half, 0.02 + half))
    uncorrected = 2 * t.sf(0.02 / np.sqrt(variance / 5), 4)
    assert found.p_t > 2 * uncorrected


def test_wilcoxon_of_five_folds_is_never_below_a_sixteenth():
    assert fold_test(np.arange(1, 6) / 100, 0.25).p_wilcoxon == pytest.approx(2 / 2**5)
    # Ranks of -1, 2, 3, 4, 5: one negative rank, 1. P(W <= 1) = 2 / 32.
    mixed = fold_test(np.array([-0.01, 0.02, 0.03, 0.04, 0.05]), 0.25)
    assert mixed.p_wilcoxon == pytest.approx(2 * 2 / 32)


def test_folds_that_do_not_differ_and_one_fold():
    same = fold_test(np.zeros(4), 0.25)
    assert (same.mean, same.interval, same.p_t, same.p_wilcoxon) == (0, None, 1, 1)
    one = fold_test(np.array([0.1]), 0.25)
    assert (one.mean, one.interval, one.p_t, one.p_wilcoxon) == (0.1, None, None, None)
    constant = fold_test(np.full(4, 0.25), 0.25)
    assert (constant.interval, constant.p_t) == (None, None)


def test_correction_keeps_the_level_where_folds_share_training_data():
    """Differences with the correlation that Nadeau and Bengio assume, n_test / (n_test + n_train).

    Without the correction one in five of these nulls would be taken for a difference.
    """
    random, folds, ratio = np.random.default_rng(0), 10, 0.25
    correlation = ratio / (1 + ratio)
    rejected = plain = 0
    for _ in range(1500):
        d = np.sqrt(correlation) * random.normal() + np.sqrt(1 - correlation) * random.normal(
            size=folds
        )
        rejected += fold_test(d, ratio).p_t < 0.05
        plain += 2 * t.sf(abs(d.mean()) / np.sqrt(d.var(ddof=1) / folds), folds - 1) < 0.05
    assert rejected / 1500 == pytest.approx(0.05, abs=0.018)
    assert plain / 1500 > 0.2
