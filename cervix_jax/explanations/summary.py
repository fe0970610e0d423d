"""Summaries of the values of single images: measures.json, measures.csv and tables."""

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
    """Direction and definition of a measure.

    Attributes:
      better: "higher", "lower" or "neither".
      description: definition for readers, without a full stop.
    """

    better: str
    description: str


DESCRIPTIONS: Mapping[str, Description] = {
    "insertion": Description(
        HIGHER,
        "area under the curve of the class probability while pixels are inserted into the mean "
        "colour, the most relevant first",
    ),
    "deletion": Description(
        LOWER,
        "area under the curve of the class probability while pixels are replaced by the mean "
        "colour, the most relevant first",
    ),
    "road": Description(
        HIGHER,
        "half the difference of the probability between removing the least and the most relevant "
        "pixels first; removed pixels are imputed; 0 is chance",
    ),
    "infidelity": Description(
        LOWER,
        "share of the score's change under noise that the map, scaled by one fitted factor, leaves "
        "unexplained; a map of zeros has 1",
    ),
    "completeness": Description(
        LOWER,
        "|sum of the map - rise of the score| / |rise of the score|, where the rise is from the "
        "baseline to the image",
    ),
    "sensitivity_max": Description(
        LOWER, "largest relative change of the map when the image changes very little"
    ),
    "randomisation_head": Description(
        LOWER,
        "rank correlation of |map| with the |map| of the network with a random head",
    ),
    "randomisation_stem": Description(
        LOWER,
        "rank correlation of |map| with the |map| of a network whose weights are all random; near "
        "1 the map does not depend on the training",
    ),
    "random_logit": Description(
        LOWER,
        "rank correlation of the map with the map of another, randomly drawn class; near 1 the map "
        "does not depend on the class",
    ),
    "average_map": Description(
        LOWER,
        "rank correlation of the map with the mean map of the other images; near 1 the map does "
        "not depend on the image",
    ),
    "sparseness": Description(
        NEITHER,
        "Gini index: 0 if all pixels are equal, 1 if one pixel has all relevance; does not measure "
        "faithfulness",
    ),
    "complexity": Description(NEITHER, "entropy of the map in nats; does not measure faithfulness"),
}
LOCALISED = {
    "mass": "share of the positive relevance in the {region}",
    "rank": "share of the most relevant pixels, as many as the region has, in the {region}",
    "pointing": "share of images whose most relevant pixel lies in the {region}",
}
# Each family is one table; measures of regions are added to the last.
FAMILIES: Mapping[str, tuple[str, ...]] = {
    "Faithfulness": ("insertion", "deletion", "road", "infidelity", "completeness"),
    "Robustness and sanity checks": (
        "sensitivity_max", "randomisation_head", "randomisation_stem", "random_logit",
        "average_map",
    ),
    "Spread (does not measure faithfulness)": ("sparseness", "complexity"),
    "Localisation": (),
}  # fmt: skip
CSV_FIELDS = (
    "method", "measure", "better", "subset", "estimate", "low", "high", "n", "groups", "undefined",
    "chance", "times_chance",
)  # fmt: skip


def describe(name: str) -> Description:
    """Direction and definition of a measure."""
    if name in DESCRIPTIONS:
        return DESCRIPTIONS[name]
    kind, _, region = name.partition("_")
    if kind == "randomisation":
        return Description(
            LOWER, f"as randomisation_stem, with random weights from the head down to {region}"
        )
    better, where = HIGHER if region == "nucleus" else NEITHER, region.replace("_", " ")
    return Description(
        better, f"{LOCALISED[kind].format(region=where)}; chance is the region's share of the area"
    )


def summarise_methods(values: Mapping[str, Values], selection: Selection) -> dict[str, dict]:
    """Every measure of every method with its interval.

    Args:
      values: method to measure to float64 [n], values of the first n images.
      selection: the images.

    Returns:
      Method to measure to the result of `measures.summarise`, with these keys in addition:
      `better`; `right` and `wrong`, the same for the correctly and the wrongly classified images;
      `minus`, the difference to each control map over the same images; and, for measures of
      location, `by_class`, the same for the images of each class of the data set (lesions in CRIC).
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
      report: the contents of `measures.json`.

    Returns:
      Dicts with `title`, `notes` (one for each column), `columns` and `rows` (method, cells).
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
    """One paragraph: the explained images, the class, and how to read the tables."""
    facts = report["selection"]
    wrong = "" if facts["wrong"] is None else f", {facts['wrong']} wrongly classified"
    target = "true" if report["target"] == "label" else report["target"]
    return (
        f"{report.get('data_title', report['dataset'])}, {report['split']}: {facts['n']} images of "
        f"{facts['groups']} "
        f"groups{wrong}. The maps explain the {target} class. Values are means with a 95 % "
        "bootstrap interval over groups. Brackets mark control maps, which ignore the model."
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
    """A result of `measures.summarise` as a table cell; "" for None."""
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
