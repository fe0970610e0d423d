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
    } | changes  # fmt: skip


def markdown(*outcomes):
    return results.markdown(
        {"outcomes": outcomes, "skipped": {}, "shortcuts": None, "command": "c", "environment": {}}
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
    assert "| unknown | 409 | 409 |" in text


def test_the_published_table_is_that_of_the_published_numbers():
    """RESULTS.md has words of its own before the tables, which come from the numbers."""
    published = (ROOT / "RESULTS.md").read_text(encoding="utf-8")
    numbers = json.loads((ROOT / "benchmarks/results/reproduce.json").read_text(encoding="utf-8"))
    made = results.markdown(numbers)
    assert published.endswith(made[made.index("## On the paper's splits") :])
    configs = {row.id: row.config for row in ROWS}
    assert all(each["config"] == configs[each["row"]] for each in numbers["outcomes"]), (
        "a row that was run with another recipe has another name"
    )
