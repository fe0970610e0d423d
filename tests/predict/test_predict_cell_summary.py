"""A slide's row from its cells, against counts and orders that are known."""

import numpy as np
import pytest

from cervix_jax.errors import InputError
from cervix_jax.predict.cell_summary import columns, summarise, suspicious
from cervix_jax.predict.severity import severity_of
from cervix_jax.statistics.aggregation import RULES
from cervix_jax.statistics.intervals import wilson_interval

NAMES = ("NILM", "LSIL", "HSIL")
BETHESDA = severity_of(NAMES, order=NAMES, abnormal=NAMES[1:])
UNKNOWN = severity_of(("x", "y", "z"))
ORDERED = severity_of(("x", "y", "z"), order=("y", "z", "x"))
MARKED = severity_of(("x", "y", "z"), abnormal=("z",))
CELLS = np.array([[0.9, 0.1, 0.0], [0.2, 0.3, 0.5], [0.1, 0.6, 0.3], [0.6, 0.0, 0.4]])


def row_of(probabilities=CELLS, severity=BETHESDA, **given):
    given = {"size": (400, 300), "mpp": 0.25, "severity": severity} | given
    return summarise("a.svs", probabilities=np.asarray(probabilities, float), **given)


def test_the_row_counts_shares_and_names_the_worst():
    row = row_of()
    assert list(row) == columns(BETHESDA)
    low, high = wilson_interval(2, 4)
    mean = RULES["mean"](CELLS)
    assert row == {
        "path": "a.svs", "width": 400, "height": 300, "mpp": 0.25, "cells": 4,
        "cells_NILM": 2, "cells_LSIL": 1, "cells_HSIL": 1,
        "abnormal": 0.5, "abnormal_low": low, "abnormal_high": high,
        "worst": "HSIL", "worst_probability": 0.5, "worst_cell": 2, "min_probability": 0.5,
        "rule": "mean", "class": "NILM",
        "p_NILM": mean[0], "p_LSIL": mean[1], "p_HSIL": mean[2],
        "suspicious": "3|2|4|1",
    }  # fmt: skip


def test_the_worst_class_must_reach_the_least_probability():
    assert [row_of(min_probability=least)["worst"] for least in (0.5, 0.51, 0.61, 0.95)] == [
        "HSIL", "LSIL", "NILM", "",
    ]  # fmt: skip
    none = row_of(min_probability=0.95)
    assert (none["worst_probability"], none["worst_cell"]) == (None, None)


@pytest.mark.parametrize("rule", RULES)
def test_the_rule_makes_the_class(rule):
    row = row_of(rule=rule)
    joined = RULES[rule](CELLS)
    assert row["rule"] == rule
    assert row["class"] == NAMES[joined.argmax()]
    assert [row[f"p_{name}"] for name in NAMES] == joined.tolist()


def test_columns_of_what_is_unknown_are_absent():
    assert not {"abnormal", "abnormal_low", "worst", "min_probability"} & set(columns(UNKNOWN))
    assert "worst" in columns(ORDERED)
    assert "abnormal" not in columns(ORDERED)
    assert "worst" not in columns(MARKED)
    assert row_of(severity=MARKED)["abnormal"] == 0.25
    for severity in (UNKNOWN, ORDERED, MARKED):
        assert list(row_of(severity=severity)) == columns(severity)
    assert row_of(severity=UNKNOWN)["suspicious"] == ""


@pytest.mark.parametrize("severity", [BETHESDA, UNKNOWN, ORDERED, MARKED])
@pytest.mark.parametrize("rule", RULES)
def test_without_cells_nothing_is_claimed(severity, rule):
    row = row_of(np.zeros((0, 3)), severity, rule=rule)
    assert list(row) == columns(severity)
    assert row["cells"] == 0
    assert row["class"] == row["suspicious"] == ""
    empty = {name for name, value in row.items() if value is None}
    assert empty == {*columns(severity)} & {
        "abnormal", "abnormal_low", "abnormal_high", "worst_probability", "worst_cell",
        *(f"p_{name}" for name in severity.class_names),
    }  # fmt: skip


def test_one_class_has_a_row():
    row = row_of(np.ones((3, 1)), severity_of(("only",)))
    assert (row["cells_only"], row["class"], row["p_only"]) == (3, "only", 1.0)


def test_cells_rank_by_the_probability_of_an_abnormal_class():
    p = np.array([[0.5, 0.5, 0.0], [0.0, 1.0, 0.0], [0.0, 0.1, 0.9], [0.2, 0.4, 0.4]])
    # Cells 2 and 3 are surely abnormal, and cell 3 is the worse of them.
    assert suspicious(p, BETHESDA).tolist() == [2, 1, 3, 0]
    assert suspicious(p, BETHESDA, most=2).tolist() == [2, 1]
    # Without an order the earlier one comes first.
    assert suspicious(p[:, ::-1], MARKED).tolist() == [0, 3, 1, 2]


def test_cells_rank_by_the_worst_class_where_abnormal_ones_are_not_known():
    # From harmless to worst: y, z, x.
    p = np.array([[0.0, 0.9, 0.1], [0.6, 0.0, 0.4], [0.0, 0.4, 0.6], [0.9, 0.1, 0.0],
                  [0.1, 0.3, 0.6], [0.4, 0.3, 0.3]])  # fmt: skip
    # x reached: 4, 2; z reached: 5 (z or worse 0.7), 3 (0.6); none: 6 (worse than y 0.7), 1 (0.1).
    assert suspicious(p, ORDERED).tolist() == [3, 1, 4, 2, 5, 0]
    assert suspicious(p, ORDERED, min_probability=0.4).tolist() == [3, 1, 5, 4, 2, 0]


def test_many_cells_are_ranked_as_few_are_and_soon():
    rng = np.random.default_rng(0)
    p = rng.dirichlet([20, 1, 1], 200_000)
    found = suspicious(p, BETHESDA)
    assert len(found) == 16
    abnormal = p[:, 1:].sum(1)
    assert set(found) == set(np.argsort(-abnormal)[:16])
    assert (np.diff(abnormal[found]) <= 1e-6).all()
    assert row_of(p)["cells"] == 200_000


def test_equal_cells_stay_in_their_order():
    assert suspicious(np.tile([0.2, 0.5, 0.3], (50, 1)), BETHESDA).tolist() == list(range(16))


def test_what_cannot_be_used_is_named():
    with pytest.raises(InputError, match="--aggregate=median: choose one of mean_log_probability"):
        row_of(rule="median")
    with pytest.raises(InputError, match="--min_probability"):
        row_of(min_probability=1.5)
    with pytest.raises(ValueError, match="no probabilities of 3 classes"):
        row_of(np.ones((2, 2)))
