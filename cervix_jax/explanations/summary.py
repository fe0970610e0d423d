"""From values of images to what is reported: measures.json, measures.csv and tables."""

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from cervix_jax.command.columns import aligned
from cervix_jax.explain import measures
from cervix_jax.explain.registry import METHODS, REFERENCES
from cervix_jax.explanations.measuring import Values
from cervix_jax.explanations.selection import Selection
from cervix_jax.files.atomic import write_json, write_text

HIGHER, LOWER, NEITHER = "higher", "lower", "neither"


class Description(NamedTuple):
    """Of a measure.

    Attributes:
      better: "higher", "lower" or "neither".
      description: what it is.
    """

    better: str
    description: str


DESCRIPTIONS: Mapping[str, Description] = {
    "insertion": Description(
        HIGHER, "area under the probability while the most relevant pixels come in"
    ),
    "deletion": Description(LOWER, "area under the probability while the most relevant pixels go"),
    "road": Description(
        HIGHER, "(LeRF - MoRF) / 2 of the probability, pixels imputed; 0 is chance"
    ),
    "infidelity": Description(
        LOWER,
        "share of the score's response to noise that the map at its best scale leaves unexplained; "
        "1 is a map of zeros",
    ),
    "completeness": Description(
        LOWER, "|sum of the map - rise of the score| / |rise of the score|"
    ),
    "sensitivity_max": Description(
        LOWER, "largest relative change of the map for hardly changed images"
    ),
    "randomisation_head": Description(
        LOWER,
        "rank correlation of |map| with that of the network whose head is random",
    ),
    "randomisation_stem": Description(
        LOWER,
        "rank correlation of |map| with that of a wholly random network; near 1 the map does not "
        "depend on what was learnt",
    ),
    "random_logit": Description(
        LOWER,
        "rank correlation of the map with that of another class; near 1 it does not depend on the "
        "class",
    ),
    "average_map": Description(
        LOWER,
        "rank correlation of the map with the mean map of the other images; near 1 it does not "
        "depend on the image",
    ),
    "sparseness": Description(
        NEITHER, "Gini index: 0 all pixels alike, 1 one pixel; no sign of faithfulness"
    ),
    "complexity": Description(NEITHER, "entropy in nats; no sign of faithfulness"),
}
LOCALISED = {
    "mass": "share of the positive relevance in the {region}",
    "rank": "share of the most relevant pixels, as many as its own, in the {region}",
    "pointing": "how often the most relevant pixel lies in the {region}",
}
# Shown together; regions are added to the last.
FAMILIES: Mapping[str, tuple[str, ...]] = {
    "Faithfulness": ("insertion", "deletion", "road", "infidelity", "completeness"),
    "Robustness and sanity checks": (
        "sensitivity_max", "randomisation_head", "randomisation_stem", "random_logit",
        "average_map",
    ),
    "Spread (says nothing of faithfulness)": ("sparseness", "complexity"),
    "Localisation": (),
}  # fmt: skip
CSV_FIELDS = (
    "method", "measure", "better", "subset", "estimate", "low", "high", "n", "groups", "undefined",
    "chance", "times_chance",
)  # fmt: skip


def describe(name: str) -> Description:
    """Which way a measure is better, and what it is."""
    if name in DESCRIPTIONS:
        return DESCRIPTIONS[name]
    kind, _, region = name.partition("_")
    if kind == "randomisation":
        return Description(LOWER, f"as randomisation_stem, from the head down to {region}")
    better, where = HIGHER if region == "nucleus" else NEITHER, region.replace("_", " ")
    return Description(better, f"{LOCALISED[kind].format(region=where)}; chance is its area")


def summarise_methods(values: Mapping[str, Values], selection: Selection) -> dict[str, dict]:
    """Every measure of every method with its interval.

    Args:
      values: method to measure to float64 [n], of the first n images.
      selection: those images.

    Returns:
      Method to measure to what `measures.summarise` gives, and besides: `better`; `right` and
      `wrong`, the same of the images that are predicted rightly and wrongly; `minus`, the
      difference to each reference over the same images; where maps lie also `by_class`, the same
      of the images of each class of the data set (of CRIC, lesions).
    """
    found = {}
    for method, measured in values.items():
        found[method] = {
            name: _summarise(name, method, values, selection)
            for name in measured
            if not name.startswith("area_")
        }
    return found


def _summarise(name: str, method: str, values: Mapping[str, Values], selection: Selection) -> dict:
    own = values[method][name]
    kind, _, region = name.partition("_")
    chance = values[method].get(f"area_{region}") if kind in LOCALISED else None

    def of(given: np.ndarray, rows: np.ndarray, by: np.ndarray | None = None) -> dict:
        groups = selection.groups[: len(own)][rows]
        return measures.summarise(given[rows], groups, chance=None if by is None else by[rows])

    everything = np.ones(len(own), bool)
    summary = of(own, everything, chance) | {"better": describe(name).better}
    if selection.right is not None:
        for outcome, wanted in (("right", True), ("wrong", False)):
            rows = selection.right[: len(own)] == wanted
            if rows.any():
                summary[outcome] = of(own, rows, chance)
    if kind in LOCALISED:
        summary["by_class"] = measures.summarise_by_class(
            own, selection.groups[: len(own)], selection.labels[: len(own)],
            selection.dataset.class_names, chance=chance,
        )  # fmt: skip
    summary["minus"] = {
        reference: of(own - values[reference][name], everything)
        for reference in REFERENCES
        if reference != method and name in values.get(reference, {})
    }
    return summary


def write_summary(folder: Path, report: dict) -> None:
    """Write `measures.json` and `measures.csv`."""
    buffer = io.StringIO()
    rows = csv.writer(buffer, lineterminator="\n")
    rows.writerow(CSV_FIELDS)
    for method, found in report["methods"].items():
        for name, summary in found["measures"].items():
            for subset, each in _subsets(summary).items():
                rows.writerow(_csv_row(method, name, summary["better"], subset, each))
    write_text(folder / "measures.csv", buffer.getvalue())
    write_json(folder / "measures.json", report)


def _subsets(summary: dict) -> dict[str, dict]:
    found = {"all": summary}
    found |= {outcome: summary[outcome] for outcome in ("right", "wrong") if outcome in summary}
    by_class = summary.get("by_class", {})
    return found | {f"class {name}": each for name, each in by_class.items()}


def _csv_row(method: str, name: str, better: str, subset: str, each: dict) -> list:
    def number(value: float | None) -> str:
        return "" if value is None else f"{value:.6g}"

    times = each.get("times_chance", {}).get("estimate")
    return [
        method, name, better, subset, number(each["estimate"]),
        *map(number, each["interval"] or (None, None)),
        each["n"], each["groups"], each["undefined"], number(each.get("chance")), number(times),
    ]  # fmt: skip


def tables(report: dict) -> list[dict[str, Any]]:
    """The measures as tables of text, one a family.

    Args:
      report: what `measures.json` holds.

    Returns:
      `title, notes` (one for each column), `columns` and `rows` (method, cells).
    """
    described, methods = report["measures"], report["methods"]
    localised = tuple(name for name in described if name.partition("_")[0] in LOCALISED)
    found = []
    for title, names in FAMILIES.items():
        wanted = [name for name in names or localised if name in described]
        if not wanted:
            continue
        columns = [_heading(name, described[name]["better"]) for name in wanted]
        rows = []
        for method, each in methods.items():
            cells = [cell(each["measures"].get(name)) for name in wanted]
            if any(cells):
                label = METHODS[method].label if method in METHODS else method
                label = f"({label})" if each["reference"] else label
                rows.append((label, [cell or "-" for cell in cells]))
        notes = [
            f"{column}: {described[name]['description']}"
            for column, name in zip(columns, wanted, strict=True)
        ]
        found.append({"title": title, "notes": notes, "columns": columns, "rows": rows})
    return found


def headline(report: dict) -> str:
    """Which images were explained, in a sentence or two."""
    facts = report["selection"]
    wrong = "" if facts["wrong"] is None else f", {facts['wrong']} predicted wrongly"
    return (
        f"{report.get('data_title', report['dataset'])}, {report['split']}: {facts['n']} images of "
        f"{facts['groups']} "
        f"groups{wrong}; explained is the {report['target']} class. Mean (95 % by resampling "
        "groups); methods in brackets know nothing of the network."
    )


def text(report: dict) -> str:
    """The tables for the terminal."""
    lines = [headline(report)]
    for each in tables(report):
        rows = [["", *each["columns"]], *([name, *cells] for name, cells in each["rows"])]
        lines += ["", each["title"], aligned(rows)]
    return "\n".join(lines)


def _heading(name: str, better: str) -> str:
    arrow = {HIGHER: " ↑", LOWER: " ↓", NEITHER: ""}[better]
    return name.replace("_", " ").strip() + arrow


def cell(summary: dict | None) -> str:
    """What `measures.summarise` gives as a cell of a table; "" for None."""
    if summary is None:
        return ""
    if summary["estimate"] is None:
        return "undefined"
    text = f"{summary['estimate']:.3g}"
    if summary["interval"] is not None:
        low, high = summary["interval"]
        text += f" ({low:.3g} to {high:.3g})"
    if "chance" in summary:
        times = summary["times_chance"]["estimate"]
        text += f", area {summary['chance']:.2g}"
        text += "" if times is None else f", x{times:.2g}"
    return text
