import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from random_tables import random_table
from selection import tries
from sklearn import metrics

from cervix_jax.statistics import confusion
from cervix_jax.statistics.comparison import confusions
from cervix_jax.statistics.resampling import Resamples


def matrix(labels, predicted, size):
    return metrics.confusion_matrix(labels, predicted, labels=range(size)).astype(float)


@given(st.integers(2, 6), st.integers(2, 60), st.integers(0, 2**31))
@settings(max_examples=tries(60))
def test_equal_to_scikit_learn(size, n, seed):
    random = np.random.default_rng(seed)
    labels, predicted = random.integers(0, size, (2, n))
    assume(len(set(labels)) > 1 and len(set(predicted)) > 1)
    m = matrix(labels, predicted, size)
    every = {"labels": range(size), "zero_division": 0}
    for ours, theirs in (
        (confusion.accuracy(m), metrics.accuracy_score(labels, predicted)),
        (confusion.macro_f1(m), metrics.f1_score(labels, predicted, average="macro")),
        (confusion.weighted_f1(m),
         metrics.f1_score(labels, predicted, average="weighted", **every)),
        (confusion.matthews(m), metrics.matthews_corrcoef(labels, predicted)),
        (confusion.kappa(m), metrics.cohen_kappa_score(labels, predicted)),
        (confusion.kappa(m, confusion.squared_distances("abcdef"[:size], "abcdef"[:size])),
         metrics.cohen_kappa_score(labels, predicted, weights="quadratic", labels=range(size))),
    ):  # fmt: skip
        assert float(ours) == pytest.approx(float(theirs), abs=1e-12)
    recalls = metrics.recall_score(labels, predicted, average=None, **every)
    assert float(confusion.balanced_accuracy(m)) == pytest.approx(recalls[np.unique(labels)].mean())
    counts = confusion.one_v_rest(m)
    theirs = metrics.multilabel_confusion_matrix(labels, predicted, labels=range(size))
    for name, (row, column) in {"tn": (0, 0), "fp": (0, 1), "fn": (1, 0), "tp": (1, 1)}.items():
        np.testing.assert_array_equal(counts[name], theirs[:, row, column])
    assert -1 <= confusion.matthews(m) <= 1
    assert -1 <= confusion.kappa(m) <= 1


def test_every_resample_equals_scikit_learn_with_weights():
    table = random_table(0)
    resamples = Resamples(table.groups, number=25)
    matrices = confusions(resamples, table)
    for row in range(26):
        weight = resamples.weights[row][resamples.index]
        given = (table.labels, table.predicted)
        np.testing.assert_allclose(
            matrices[row], metrics.confusion_matrix(*given, sample_weight=weight)
        )
        assert confusion.matthews(matrices)[row] == pytest.approx(
            metrics.matthews_corrcoef(*given, sample_weight=weight)
        )
        assert confusion.kappa(matrices)[row] == pytest.approx(
            metrics.cohen_kappa_score(*given, sample_weight=weight)
        )


def test_by_hand():
    """Of 10 diseased 8 are found; of 20 others 3 are called diseased."""
    m = np.array([[17.0, 3], [2, 8]])
    counts = {name: float(value[1]) for name, value in confusion.one_v_rest(m).items()}
    assert counts == {"tp": 8, "fp": 3, "fn": 2, "tn": 17}
    assert confusion.balanced_accuracy(m) == pytest.approx((17 / 20 + 8 / 10) / 2)
    assert confusion.matthews(m) == pytest.approx((8 * 17 - 3 * 2) / np.sqrt(11 * 10 * 20 * 19))
    chance = (20 * 19 + 10 * 11) / 900
    assert confusion.kappa(m) == pytest.approx((25 / 30 - chance) / (1 - chance))


def test_undefined_where_there_is_one_class():
    m = np.array([[5.0, 0], [0, 0]])
    assert confusion.accuracy(m) == confusion.balanced_accuracy(m) == 1
    assert np.isnan(confusion.matthews(m))
    assert np.isnan(confusion.kappa(m))
    assert np.isnan(confusion.accuracy(np.zeros((2, 2))))
    assert confusion.f1(m)[0] == confusion.macro_f1(m) == confusion.weighted_f1(m) == 1
    assert np.isnan(confusion.f1(m)[1])


def test_an_error_of_two_grades_costs_four_times_one_of_one():
    names = ("HSIL", "NILM", "LSIL", "CIS")  # in another order than their grades
    order = ("NILM", "LSIL", "HSIL", "CIS")
    distance = confusion.squared_distances(names, order)
    assert distance[1, 2] == 1  # NILM to LSIL
    assert distance[1, 0] == 4  # NILM to HSIL
    assert distance[3, 1] == 9  # CIS to NILM
    assert (distance == distance.T).all()
