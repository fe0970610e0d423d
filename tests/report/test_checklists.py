"""Reporting checklists: numbering, what a run answers with its own values, and what it does not."""

import csv
import json

import jax
import pytest

from cervix_jax.errors import InputError
from cervix_jax.report.checklist import table
from cervix_jax.report.checklist.facts import ABSENT, FACTS
from cervix_jax.report.contents import read_contents


def items_of(folder):
    """Item by checklist and number."""
    filled = read_contents(folder, "test")["checklists"]
    return {
        (name, item.number): item
        for name, found in zip(table.CHECKLISTS, filled, strict=True)
        for item in found.items
    }


def change(path, **values):
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_items_are_numbered_as_published_and_name_known_facts():
    rows = table._rows()
    letters = {"tripod": (27, 52), "stard": (40, 48), "claim": (44, 44)}
    for name, (items, lines) in letters.items():
        numbers = [row["item"] for row in rows if row["checklist"] == name]
        assert len(numbers) == len(set(numbers)) == lines
        main = [int(number.rstrip("abcdefg")) for number in numbers]
        assert main == sorted(main)
        assert set(main) == set(range(1, items + 1))
        assert items == table.CHECKLISTS[name].items
    named = {fact for row in rows for fact in row["facts"].split(";") if fact}
    assert named == set(FACTS)
    assert set(ABSENT) <= set(FACTS)
    assert all(row["facts"] or row["author"] for row in rows)


def test_without_facts_everything_is_for_the_author():
    filled = table.fill_in({})
    assert {item.status for each in filled for item in each.items} == {"author"}
    assert all(item.to_write and not item.answer for each in filled for item in each.items)
    assert filled[0].summary == (
        "CLAIM 2024 (44 items): 0 answered by the run, 0 partly, 44 for the author to write"
    )
    assert "27 items in 52 rows" in filled[1].summary


def test_answers_hold_the_values_of_the_run(small_run):
    items = items_of(small_run)
    report = json.loads((small_run / "evaluate" / "test.json").read_text())
    decisions = json.loads((small_run / "evaluate" / "test_decisions.json").read_text())
    counts = json.loads((small_run / "env.json").read_text())["dataset"]["examples"]
    assert f"jax {jax.__version__}" in items["claim", "23"].answer
    assert items["claim", "24"].answer == "Random weights, seed 0."
    training = items["claim", "25"].answer
    assert "optimizer.name adamw" in training
    assert "batch_size 8" in training
    assert "num_epochs 4" in training
    assert "flip True" in training
    assert items["claim", "20"].answer.startswith("Level: cluster_id. 0.0%")
    assert f"step {report['step']}" in items["claim", "26"].answer
    assert items["claim", "27"].answer == "One model, no ensemble."
    found = items["claim", "38"].answer
    low, high = report["accuracy_interval"]
    assert f"accuracy {report['accuracy']:.4f} ({low:.3f} to {high:.3f})" in found
    area = report["per_class"]["Parabasal"]["auroc"]["estimate"]
    assert f"AUROC {area:.4f}" in found
    split = items["tripod", "12a"].answer
    assert "Split protocol cluster, fold 0 of 4, split seed 0." in split
    assert f"{counts['train']} train, {counts['val']} val, {counts['test']} test" in split
    scaling = decisions["temperature"]
    assert f"Temperature {scaling['temperature']:.3f}" in items["tripod", "24"].answer
    assert f"fitted on {counts['val']} validation images" in items["tripod", "24"].answer
    chosen = decisions["operating_points"]["per_class"]["abnormal"][0]["threshold"]
    assert f"abnormal from a probability of {chosen:.4f}" in items["stard", "15c"].answer
    wrong = report["n"] - round(report["accuracy"] * report["n"])
    assert f"{wrong} of {report['n']} images" in items["claim", "39"].answer
    answered = {key for key, item in items.items() if item.status == "answered"}
    assert {("claim", n) for n in ("9", "20", "23", "24", "25", "26", "27", "29")} <= answered
    for item in items.values():
        assert (item.status == "answered") == bool(item.answer and not item.to_write)
        assert (item.status == "author") == (not item.answer)
    for number in ("8", "16", "44"):  # criteria, annotators, funding: no run stores them
        assert items["claim", number].status == "author"


def test_no_groups_no_claim_of_disjoint_partitions(copied):
    change(copied / "evaluate" / "test.json", leakage=None, leakage_train=None)
    items = items_of(copied)
    assert items["claim", "20"].status == "author"
    assert "groups of the images (cluster, slide, patient) are unknown" in (
        items["claim", "20"].to_write
    )
    assert items["tripod", "12a"].status == "partly"
    assert items["tripod", "12d"].status == "author"


def test_no_temperature_no_claim_of_calibration(copied):
    (copied / "evaluate" / "test_decisions.json").unlink()
    items = items_of(copied)
    assert items["tripod", "24"].status == "author"
    assert items["tripod", "24"].to_write.startswith("No temperature was fitted.")
    assert items["stard", "15c"].status == "author"
    assert items["tripod", "15"].status == "partly"


def test_what_is_not_stored_is_not_answered(copied):
    change(copied / "evaluate" / "test.json", refit=True)
    (copied / "env.json").unlink()
    (copied / "evaluate" / "test_predictions.csv").unlink()
    items = items_of(copied)
    for number in ("7", "13", "23", "26", "43"):
        assert items["claim", number].status == "author", number
    assert items["claim", "23"].to_write == "The run stores no software."
    assert "No validation images were left" in items["claim", "26"].to_write
    assert items["stard", "40b"].status == "author"
    for number in ("30", "31", "33"):  # not audited, explained or tested elsewhere
        assert items["claim", number].status == "author"


def test_the_page_has_a_folded_section_for_each(copied, report):
    report(workdir=str(copied), cases=0, checklists="md")
    text = (copied / "report.html").read_text(encoding="utf-8")
    assert text.count("<details>") == 3
    for checklist in table.CHECKLISTS.values():
        assert f"<summary>{checklist.title}</summary>" in text
    assert "<b>20. Level at which partitions are disjoint</b>" in text
    assert table.VERIFICATION.split(".")[0] in text
    written = (copied / "report_checklists.md").read_text(encoding="utf-8")
    assert "### 40b. Stored outputs for audit\n\nStatus: partly.\n" in written
    with pytest.raises(InputError, match=r"report_checklists\.md exists and may hold"):
        report(workdir=str(copied), cases=0, checklists="md")
    report(workdir=str(copied), cases=0, checklists="csv")
    with (copied / "report_checklists.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 44 + 52 + 48
    assert rows[-1]["item"] == "40b"
    assert {row["status"] for row in rows} == {"answered", "partly", "author"}
    with pytest.raises(InputError, match=r"leave out --external"):
        report(workdir=str(copied), cases=0, checklists="md", external="cells")
