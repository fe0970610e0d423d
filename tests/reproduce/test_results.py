"""RESULTS.md from outcomes: whose intervals these are, and what is not known."""

import json
from pathlib import Path

import pytest

from cervix_jax.reproduce import results
from cervix_jax.reproduce.rows import ROWS

ROOT = Path(__file__).parents[2]


def outcome(**changes):
    return {
        "row": "baseline2", "protocol": "paper", "config": "c", "init": "scratch",
        "image_size": 64, "epochs": 15, "refit": False, "seeds": 1, "folds": 1, "n": 409,
        "groups": 315, "leakage": 0.912, "accuracy": 0.88, "sd": None, "interval": [0.845, 0.908],
        "interval_by_group": [0.81, 0.93], "folds_accuracy": [0.88],
        "f1": dict.fromkeys(ROWS[1].f1, 0.5), "clusters": None,
        "command": "python -m cervix_jax.reproduce", "environment": {},
    } | changes  # fmt: skip


def markdown(*outcomes):
    return results.markdown(
        {"outcomes": outcomes, "skipped": {}, "shortcuts": None, "note": "What to know.\n"}
    )


def test_our_intervals_are_by_group_wherever_groups_are_known():
    text = markdown(outcome(), outcome(protocol="cluster"))
    assert "| paper (95 %, Wilson) | ours (95 %, by group) |" in text
    assert "| 95.11 % (92.6 to 96.8) | 88.00 % (81.0 to 93.0) | scratch |" in text
    assert "| baseline2 | `cluster` | 88.00 % (81.0 to 93.0) |" in text
    assert "84.5" not in text


@pytest.mark.parametrize("unknown", [{"groups": 409}, {"interval_by_group": None}])
def test_an_interval_that_is_wilsons_says_so(unknown):
    text = markdown(outcome(protocol="random", **unknown))
    assert "| baseline2 | `random` | 88.00 % (84.5 to 90.8, Wilson) |" in text
    drawn = results.intervals_to_draw({"outcomes": [outcome(**unknown)], "shortcuts": None})
    assert drawn["baseline2: ResNet-50, sipakmed/single_cell"]["split paper"] == (
        0.88,
        0.845,
        0.908,
    )


def test_leakage_that_is_not_known_is_not_0():
    text = markdown(outcome(protocol="random", groups=409, leakage=None))
    assert "| unknown | 64 | 15 | 409 | 409 |" in text


def test_the_head_has_commands_machines_and_the_note():
    other = {"processor": "a chip", "devices": ["tpu"], "versions": {"jax": "1"}}
    text = markdown(
        outcome(), outcome(protocol="block", command="another", environment=other, predictions={})
    )
    assert "    python -m cervix_jax.reproduce\n    another\n" in text
    assert "- a chip (tpu), jax 1, cervix_jax ?: baseline2 (block)" in text
    assert "\n\nWhat to know.\n\n![paper and ours" in text
    assert "(results.json).\n\n" in text


def test_the_head_says_how_many_lines_have_their_predictions():
    kept = outcome(predictions={"test": "predictions/a.csv.gz"})
    assert "; the predictions are in [`predictions`]" in markdown(kept)
    text = markdown(kept, outcome(protocol="block"), outcome(protocol="cluster"))
    assert "; the predictions of 1 of 3 lines are in [`predictions`]" in text


def test_seeds_variants_and_joined_classes_have_their_columns():
    metrics = {"accuracy": entry(0.9), "balanced_accuracy": entry(0.8)}
    measured = {"metrics": metrics | {"quadratic_kappa": entry(0.7)}, "sensitivity": {}}
    joined = {"metrics": metrics, "sensitivity": {"normal": entry(0.95), "abnormal": entry(None)}}
    row = "cric_cell_efficientnet_lite0"
    text = markdown(
        outcome(protocol="cluster"),
        outcome(row=row, protocol="cluster", seeds=3, sd=0.0123, by_level={"2": joined},
                ensemble={"metrics": {"accuracy": entry(0.91)}},
                variants={"tta": {"metrics": metrics, "ensemble": None}}, **measured),
    )  # fmt: skip
    assert (
        "| row | protocol | accuracy (95 %, by group) | balanced accuracy | seeds, sd | ensemble "
        "of the seeds | mean of 8 symmetries | by fold |"
    ) in text
    assert "| baseline2 | `cluster` | 88.00 % (81.0 to 93.0) |  | 1 |  |  |  |" in text
    assert (
        "| 80.00 % (75.0 to 85.0) | 3, ± 1.23 | 91.00 % (86.0 to 96.0) | 90.00 % (85.0 to 95.0) |"
    ) in text
    assert (
        f"| {row} | `cluster` | 2 | 90.00 % (85.0 to 95.0) | 80.00 % (75.0 to 85.0) |  | normal 95 "
        "(90 to 100); abnormal undefined |"
    ) in text


def entry(value):
    ends = None if value is None else [value - 0.05, value + 0.05]
    return {"estimate": value, "sd": None, "interval_by_group": ends}


def test_the_published_page_is_that_of_the_published_numbers():
    numbers = json.loads((ROOT / "benchmarks/results/reproduce.json").read_text(encoding="utf-8"))
    assert (ROOT / "RESULTS.md").read_text(encoding="utf-8") == results.markdown(
        numbers,
        numbers="benchmarks/results/reproduce.json",
        picture="docs/results.png",
        predictions="benchmarks/results/predictions",
    )
    configs = {row.id: row.config for row in ROWS}
    assert all(each["config"] == configs[each["row"]] for each in numbers["outcomes"]), (
        "a row that was run with another recipe has another name"
    )
