import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from random_tables import random_table
from selection import tries
from sklearn import metrics

from cervix_jax.statistics.decisions import decisions_report
from cervix_jax.statistics.outliers import outlier_report
from cervix_jax.statistics.performance import operating_points, performance, quick_metrics
from cervix_jax.statistics.resampling import Resamples
from cervix_jax.statistics.table import PredictionTable

SIPAKMED = ("Dyskeratotic", "Koilocytotic", "Metaplastic", "Parabasal", "Superficial-Intermediate")
HERLEV = (
    "normal_superficiel", "normal_intermediate", "normal_columnar", "light_dysplastic",
    "moderate_dysplastic", "severe_dysplastic", "carcinoma_in_situ",
)  # fmt: skip


def named(seed, names, **given):
    table = random_table(seed, num_classes=len(names), **given)
    return dataclasses.replace(table, class_names=names)


def report_of(table, number=200):
    return performance(table, Resamples(table.groups, number=number))


def estimates(value):
    """All estimates in a report."""
    if isinstance(value, dict):
        if "estimate" in value:
            yield value
        for each in value.values():
            yield from estimates(each)
    elif isinstance(value, list):
        for each in value:
            yield from estimates(each)


def test_estimates_are_scikit_learns():
    table = named(0, SIPAKMED, n=120)
    labels, predicted, p = table.labels, table.predicted, table.probabilities
    report = report_of(table)
    for name, value in {
        "accuracy": metrics.accuracy_score(labels, predicted),
        "balanced_accuracy": metrics.balanced_accuracy_score(labels, predicted),
        "macro_f1": metrics.f1_score(labels, predicted, average="macro"),
        "weighted_f1": metrics.f1_score(labels, predicted, average="weighted"),
        "matthews": metrics.matthews_corrcoef(labels, predicted),
        "cohen_kappa": metrics.cohen_kappa_score(labels, predicted),
        "macro_auroc": metrics.roc_auc_score(labels, p, multi_class="ovr"),
        "macro_average_precision": metrics.average_precision_score(np.eye(5)[labels], p),
    }.items():
        assert report["metrics"][name]["estimate"] == pytest.approx(value), name
    assert report["metrics"]["nll"]["estimate"] == pytest.approx(metrics.log_loss(labels, p))
    for number, name in enumerate(SIPAKMED):
        row = report["per_class"][name]
        truth, said = labels == number, predicted == number
        for rate, value in {
            "sensitivity": metrics.recall_score(truth, said),
            "specificity": metrics.recall_score(~truth, ~said),
            "ppv": metrics.precision_score(truth, said),
            "npv": metrics.precision_score(~truth, ~said),
            "f1": metrics.f1_score(truth, said),
            "auroc": metrics.roc_auc_score(truth, p[:, number]),
            "average_precision": metrics.average_precision_score(truth, p[:, number]),
        }.items():
            assert row[rate]["estimate"] == pytest.approx(value), (name, rate)
        assert row["sensitivity"]["n"] == truth.sum()
    assert report["confusion_matrix"] == metrics.confusion_matrix(labels, predicted).tolist()
    for name, value in quick_metrics(labels, p).items():
        assert value == pytest.approx(report["metrics"][name]["estimate"])


@given(st.integers(1, 40), st.integers(2, 6), st.integers(0, 2**31))
@settings(max_examples=tries(40))
def test_quick_metrics_agree_with_counting(n, num_classes, seed):
    random = np.random.default_rng(seed)
    labels = random.integers(0, num_classes, n)
    probabilities = random.dirichlet(np.ones(num_classes), n)
    found, predicted = quick_metrics(labels, probabilities), probabilities.argmax(-1)
    assert found["accuracy"] == (predicted == labels).mean()
    assert found["balanced_accuracy"] == pytest.approx(
        np.mean([np.mean(predicted[labels == c] == c) for c in np.unique(labels)])
    )
    assert found["nll"] == pytest.approx(-np.log(probabilities[np.arange(n), labels]).mean())


def test_every_entry_has_the_same_keys():
    """Also where classes are joined, groups evaluated, and decisions judged."""
    table = named(14, SIPAKMED, n=200)
    resamples = Resamples(table.groups, number=50)
    report = performance(table, resamples) | {"d": decisions_report(table, table, resamples)}
    report["outliers"] = outlier_report(table, table.with_probabilities(table.probabilities))
    keys = {"estimate", "interval", "interval_by_group", "method", "n"}
    extra = {"successes", "why", "by_chance_below", "order"}
    found = list(estimates(report))
    assert len(found) > 90
    for each in found:
        assert keys <= set(each) <= keys | extra
        assert ("successes" in each) == (each["method"] == "wilson")
        if "successes" in each and each["n"]:
            assert each["estimate"] == each["successes"] / each["n"]
        elif "successes" not in each:
            assert each["interval"] == each["interval_by_group"]


def test_every_estimate_is_in_range_and_inside_its_percentile_interval():
    report = report_of(named(1, HERLEV, n=300, num_groups=60))
    found = list(estimates(report))
    assert len(found) > 60
    for each in found:
        low, high = each["interval"]
        assert -1 <= low <= high
        assert each["method"] in ("wilson", "bootstrap over groups", "basic bootstrap over groups")
        assert low <= each["estimate"] <= high


def test_quadratic_kappa_says_its_order_and_only_where_there_is_one():
    table = named(2, HERLEV, n=200)
    report = report_of(table)
    kappa = report["metrics"]["quadratic_kappa"]
    expected = metrics.cohen_kappa_score(table.labels, table.predicted, weights="quadratic")
    assert kappa["estimate"] == pytest.approx(expected)
    assert kappa["order"] == list(HERLEV)
    joined = report["hierarchy"]["4"]["metrics"]["quadratic_kappa"]
    assert joined["order"] == ["NILM", "LSIL", "HSIL", "CIS"]
    assert "quadratic_kappa" not in report_of(named(2, SIPAKMED))["metrics"]


def test_joined_classes_by_hand():
    """Abnormal are the classes 0 and 1; their probabilities add up."""
    p = np.array([
        [0.30, 0.25, 0.25, 0.10, 0.10],  # abnormal 0.55
        [0.20, 0.15, 0.45, 0.10, 0.10],  # 0.35
        [0.10, 0.30, 0.10, 0.25, 0.25],  # 0.40, though class 1 is the likeliest of five
        [0.05, 0.05, 0.30, 0.30, 0.30],  # 0.10
    ])  # fmt: skip
    labels = np.array([0, 1, 3, 2])
    table = PredictionTable(tuple("wxyz"), np.array(list("wxyz")), labels, p, SIPAKMED)
    two = report_of(table)["hierarchy"]["2"]
    assert two["class_names"] == ["normal", "abnormal"]
    assert two["confusion_matrix"] == [[2, 0], [1, 1]]
    assert two["per_class"]["abnormal"]["sensitivity"]["successes"] == 1
    assert two["per_class"]["abnormal"]["sensitivity"]["n"] == 2
    assert two["per_class"]["abnormal"]["specificity"]["successes"] == 2
    assert two["per_class"]["abnormal"]["auroc"]["estimate"] == 0.75
    assert two["metrics"]["accuracy"]["estimate"] == 0.75
    assert report_of(random_table(0))["hierarchy"] == {}


def test_an_absent_class_is_null_with_the_reason():
    table = named(3, SIPAKMED)
    table = table.take(np.flatnonzero(table.labels != 2))
    report = report_of(table)
    absent = report["per_class"]["Metaplastic"]
    for name in ("sensitivity", "auroc", "average_precision"):
        assert absent[name]["estimate"] is None
        assert absent[name]["interval"] is None
        assert "no example of this class" in absent[name]["why"]
    assert absent["specificity"]["estimate"] is not None
    others = [name for name in SIPAKMED if name != "Metaplastic"]
    aurocs = [report["per_class"][name]["auroc"]["estimate"] for name in others]
    assert report["metrics"]["macro_auroc"]["estimate"] == pytest.approx(np.mean(aurocs))


@pytest.mark.parametrize("case", ["one image", "one group", "one class", "perfect"])
def test_degenerate_predictions_give_json_and_no_false_certainty(case):
    table = named(4, SIPAKMED)
    if case == "one image":
        table = table.take(np.array([0]))
    elif case == "one group":
        table = dataclasses.replace(table, groups=np.full(60, "only"))
    elif case == "one class":
        table = table.take(np.flatnonzero(table.labels == 1))
    else:
        table = table.with_probabilities(np.eye(5)[table.labels])
    report = report_of(table) | {
        "decisions": decisions_report(table, table, Resamples(table.groups, number=50))
    }
    json.dumps(report, allow_nan=False)
    for each in estimates(report):
        if each["interval"] is None:
            assert each["why"]
        else:
            assert each["interval"][0] < each["interval"][1]
    if case == "perfect":
        assert report["metrics"]["accuracy"]["estimate"] == 1
        assert report["metrics"]["accuracy"]["interval_by_group"] is None
        assert report["metrics"]["accuracy"]["why"]
        assert (
            report["metrics"]["matthews"]["why"]
            == "all resamples are equal, so they show no spread"
        )
    if case in ("one group", "one image"):
        assert "only 1 group:" in report["intervals"]["warning"]


def test_order_of_the_images_changes_nothing():
    table = named(5, SIPAKMED)
    shuffled = table.take(np.random.default_rng(0).permutation(60))
    first, second = (list(estimates(report_of(t))) for t in (table, shuffled))
    for a, b in zip(first, second, strict=True):
        assert a["estimate"] == pytest.approx(b["estimate"])
        assert a["interval"] == pytest.approx(b["interval"], abs=2e-6)


def test_operating_points_are_chosen_on_validation_and_measured_on_test():
    validation, table = (random_table(s, n=200, num_classes=2) for s in (6, 7))
    resamples = Resamples(table.groups, number=50)
    report = operating_points(table, resamples, validation)
    assert report["chosen_on"] == "val"
    point = report["per_class"]["b"][0]
    assert (point["held"], point["target"]) == ("specificity", 0.9)
    called = table.probabilities[:, 1] >= point["threshold"]
    sick = table.labels == 1
    for name, hit, of in (
        ("sensitivity", called & sick, sick),
        ("specificity", ~called & ~sick, ~sick),
    ):
        assert (point[name]["successes"], point[name]["n"]) == (hit.sum(), of.sum())
    negatives = validation.probabilities[validation.labels == 0, 1]
    assert (negatives < point["threshold"]).mean() >= 0.9
    same = operating_points(table, resamples)
    assert same["chosen_on"] == "the same data"
    assert same["per_class"]["b"][0]["specificity"]["estimate"] >= 0.9
    assert set(report["per_class"]) == {"a", "b"}
    joined = named(8, SIPAKMED)
    found = operating_points(joined, Resamples(joined.groups, number=9))
    assert set(found["per_class"]) == {"abnormal"}


def test_decisions_never_see_the_labels_they_are_judged_by():
    validation, table = random_table(9, n=150), random_table(10, n=150)
    relabelled = dataclasses.replace(table, labels=(table.labels + 1) % 3)
    resamples = Resamples(table.groups, number=50)
    first, second = (decisions_report(t, validation, resamples) for t in (table, relabelled))
    assert first["temperature"]["temperature"] == second["temperature"]["temperature"]
    for method in ("lac", "aps"):
        for a, b in zip(first["conformal"][method], second["conformal"][method], strict=True):
            assert (a["threshold"], a["mean_size"]) == (b["threshold"], b["mean_size"])
            assert a["coverage"] != b["coverage"]
    for a, b in zip(
        *(each["operating_points"]["per_class"]["a"] for each in (first, second)), strict=True
    ):
        assert a["threshold"] == b["threshold"]


def test_temperature_helps_the_overconfident():
    validation, table = random_table(11, n=400), random_table(12, n=400)
    sure = [
        dataclasses.replace(t, logits=5 * t.logits).with_probabilities(
            np.exp(5 * t.logits) / np.exp(5 * t.logits).sum(1, keepdims=True)
        )
        for t in (table, validation)
    ]
    report = decisions_report(*sure, Resamples(table.groups, number=50))["temperature"]
    assert report["temperature"] > 2
    for name in ("nll", "ece_equal_width"):
        assert report["after"][name]["estimate"] < report["before"][name]["estimate"]
    assert report["before"]["nll"]["estimate"] == pytest.approx(
        metrics.log_loss(table.labels, sure[0].probabilities), rel=1e-6
    )
