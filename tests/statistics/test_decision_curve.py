import dataclasses

import numpy as np
import pytest
from random_tables import random_table

from cervix_jax.statistics.decision_curve import THRESHOLDS, decision_curve
from cervix_jax.statistics.decisions import decisions_report
from cervix_jax.statistics.performance import performance
from cervix_jax.statistics.resampling import Resamples
from cervix_jax.statistics.table import PredictionTable

NAMES = ("normal", "abnormal")


def screening_table(abnormal, probability, groups=None, names=NAMES):
    labels, p = np.asarray(abnormal, int), np.asarray(probability, float)
    files = tuple(f"{i}.png" for i in range(len(labels)))
    groups = np.asarray(files if groups is None else groups)
    return PredictionTable(files, groups, labels, np.stack([1 - p, p], 1), names)


def curve_of(table, number=100):
    return decision_curve(table, Resamples(table.groups, number=number))


def at(curve, name, threshold):
    return curve[name][curve["thresholds"].index(threshold)]


def test_net_benefit_counted_by_hand():
    # Of 20 abnormal of 100 images 16 reach 0.2, with 20 normal ones: 0.16 - 0.2 * 0.2 / 0.8.
    table = screening_table([1] * 20 + [0] * 80, [0.3] * 16 + [0.1] * 4 + [0.3] * 20 + [0.05] * 60)
    curve = curve_of(table)
    assert (curve["positive"], curve["n"], curve["prevalence"]) == ("abnormal", 100, 0.2)
    assert at(curve, "net_benefit", 0.2) == pytest.approx(0.11)
    assert at(curve, "treat_all", 0.2) == pytest.approx(0, abs=1e-12)  # at the prevalence
    assert at(curve, "gain", 0.2) == pytest.approx(0.11)
    assert at(curve, "net_benefit", 0.1) == pytest.approx(0.2 - 0.2 / 9)  # 0.1 reaches 0.1
    assert at(curve, "treat_all", 0.5) == pytest.approx(0.2 - 0.8)
    assert at(curve, "net_benefit", 0.5) == 0 == at(curve, "gain", 0.5)
    assert at(curve, "interval_by_group", 0.5) is None  # nobody is called in any resample
    low, high = at(curve, "gain_interval_by_group", 0.2)
    assert 0 < low < 0.11 < high


def test_every_threshold_and_resample_as_defined():
    table = random_table(0, n=150, num_classes=6)
    order = ("SCC", "NILM", "LSIL", "ASC-H", "ASC-US", "HSIL")
    table = dataclasses.replace(table, class_names=order)
    resamples = Resamples(table.groups, number=30)
    sick, score = table.labels != 1, 1 - table.probabilities[:, 1]
    weights = resamples.weights[:, resamples.index].astype(float)
    curve = decision_curve(table, resamples)
    for number, t in enumerate(THRESHOLDS):
        called, odds = score >= t, t / (1 - t)
        n = weights.sum(1)
        model = (weights @ (called & sick) - weights @ (called & ~sick) * odds) / n
        treated = (weights @ sick - weights @ ~sick * odds) / n
        assert curve["net_benefit"][number] == pytest.approx(model[0])
        assert curve["treat_all"][number] == pytest.approx(treated[0])
        gain = model - np.maximum(treated, 0)
        assert curve["gain"][number] == pytest.approx(gain[0])
        interval = curve["gain_interval_by_group"][number]
        if interval:  # symmetric; its reach grows with the spread of these very resamples
            spread = gain[1:].std(ddof=1)
            assert sum(interval) / 2 == pytest.approx(gain[0], abs=2e-6)
            assert np.diff(interval)[0] / 2 == pytest.approx(
                2.200985 * spread * np.sqrt(12 / 11), rel=1e-3, abs=2e-6
            )


def test_what_knows_all_and_what_knows_nothing():
    sick = np.arange(50) % 5 == 0
    perfect = curve_of(screening_table(sick, sick))
    assert perfect["net_benefit"] == pytest.approx([0.2] * len(THRESHOLDS))
    ignorant = curve_of(screening_table(sick, np.full(50, 0.2)))
    for t, value, treated in zip(
        THRESHOLDS, ignorant["net_benefit"], ignorant["treat_all"], strict=True
    ):
        assert value == pytest.approx(treated if t <= 0.2 else 0, abs=1e-12)
    assert max(ignorant["gain"]) == pytest.approx(0, abs=1e-12)


def test_names_decide_and_their_order_does_not():
    table = random_table(1, num_classes=3)
    assert curve_of(table) is None
    assert performance(table, Resamples(table.groups, number=9))["decision_curve"] is None
    bethesda = dataclasses.replace(table, class_names=("HSIL", "NILM", "SCC"))
    expected = curve_of(bethesda)
    assert expected["prevalence"] == pytest.approx((table.labels != 1).mean())
    turned = bethesda.in_order_of(("NILM", "SCC", "HSIL"))
    assert curve_of(turned)["net_benefit"] == pytest.approx(expected["net_benefit"])


def test_decisions_have_the_curve_of_calibrated_probabilities():
    validation, table = (
        dataclasses.replace(random_table(seed, n=200, num_classes=2), class_names=NAMES)
        for seed in (2, 3)
    )
    resamples = Resamples(table.groups, number=20)
    found = decisions_report(table, validation, resamples)
    cool = found["temperature"]["temperature"]
    logits = table.logits / cool
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    expected = decision_curve(table.with_probabilities(p), resamples)
    assert found["decision_curve"]["net_benefit"] == pytest.approx(expected["net_benefit"])
    assert set(found["operating_points"]["per_class"]) == {"abnormal"}
