import dataclasses

import numpy as np
import pytest
from random_tables import random_table
from sklearn.metrics import roc_auc_score

from cervix_jax.errors import InputError
from cervix_jax.statistics.outliers import energy, max_softmax, outlier_report


def test_scores_by_hand():
    table = random_table(0, n=1, num_classes=2)
    table = dataclasses.replace(
        table, logits=np.array([[1.0, 3.0]]), probabilities=np.array([[0.2, 0.8]])
    )
    assert max_softmax(table)[0] == pytest.approx(0.2)
    assert energy(table)[0] == pytest.approx(-np.log(np.e + np.e**3))
    # A common rise of the logits is strength that the softmax does not see.
    stronger = dataclasses.replace(table, logits=table.logits + 5)
    assert energy(stronger)[0] == pytest.approx(energy(table)[0] - 5)


def test_auroc_of_strange_images():
    known, strange = random_table(1), random_table(2, n=40)
    flat = dataclasses.replace(
        strange, logits=strange.logits * 0.2, labels=np.full(40, -1)
    ).with_probabilities(np.full((40, 3), 1 / 3) + 0.01 * (strange.probabilities - 1 / 3))
    flat = dataclasses.replace(flat, logits=strange.logits * 0.2)
    report = outlier_report(known, flat)
    scores = np.concatenate([max_softmax(known), max_softmax(flat)])
    truth = np.repeat([0, 1], [60, 40])
    assert report["max_softmax"]["estimate"] == pytest.approx(roc_auc_score(truth, scores))
    scores = np.concatenate([energy(known), energy(flat)])
    assert report["energy"]["estimate"] == pytest.approx(roc_auc_score(truth, scores))
    low, high = report["energy"]["interval"]
    assert 0.5 < low < report["energy"]["estimate"] < high <= 1
    assert (report["n"], report["n_outliers"]) == (60, 40)


def test_groups_of_the_two_sets_are_not_the_same_groups():
    """Both tables name their groups g0, g1, ...; strange g0 is not known g0."""
    first, second = random_table(3), random_table(4)
    renamed = dataclasses.replace(second, groups=np.char.add("other ", second.groups))
    assert outlier_report(first, second) == outlier_report(first, renamed)


def test_energy_needs_logits():
    table = random_table(5)
    without = table.with_probabilities(table.probabilities)
    with pytest.raises(InputError, match="logits"):
        energy(without)
    report = outlier_report(table, without)
    assert report["energy"]["estimate"] is None
    assert report["max_softmax"]["estimate"] == pytest.approx(0.5)
