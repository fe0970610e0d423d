r"""The worst finding of a field, predicted from the whole field or from its cells.

  python benchmarks/fields_or_cells.py --cells=runs/cric_cell \
      --fields=resnet50=runs/cric_field_resnet50 --fields=rcan=runs/cric_field_rcan \
      --out=benchmarks/results/fields_or_cells.json

All folders are cross-validations with the same seeds, `<folder>/seed<s>/fold<f>`, of `cric/cell`
and of `cric/field`. The script reads predictions of test folds only. A field's label is the class
of its worst cell, so a rule is needed to combine the probabilities of the cells. Every rule uses
the sorted probabilities of "at least this severe" over the cells of a field:

  worst      the worst of the predicted classes of the cells; nothing is fitted
  threshold  the worst class that k cells reach with a probability t; k and t are fitted
  thresholds as before, with a t for each class
  logistic   multinomial logistic regression on the largest, the mean of the three largest and the
             mean log odds

For the fields of a test fold, a rule is fitted on the cells of the other folds, each predicted by
a network that was not trained on it. The kind of rule is chosen by cross-validation over those
folds, by the quadratic kappa. (The networks of those folds were trained on fields of the test fold;
the resulting leakage into one to six fitted numbers is neglected.) A whole field is treated as a
field of one cell: once as predicted ("worst"), and once with rules fitted and chosen by the same
procedure, so that tuning favours neither side. A third comparison uses both sides as predicted.

The cells are those that experts marked, so models of cells receive the positions of the cells and
models of whole fields do not. Differences are paired: metrics of all seeds are averaged in each
resample of fields. AUROC and the operating point pool the folds; the threshold of the operating
point has a specificity of 0.9 on the other folds.
"""

import argparse
import dataclasses
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from field_rules import RULES, SEVERITY, STEPS, Fields, choose, crossed, gather
from sides import ROOT, in_one_line, write_json

sys.path.insert(0, str(ROOT))

from cervix_jax.data import classes
from cervix_jax.errors import InputError
from cervix_jax.evaluate.sides import read_side
from cervix_jax.statistics import confusion
from cervix_jax.statistics.comparison import confusions, paired_bootstrap
from cervix_jax.statistics.intervals import ANY, by_group
from cervix_jax.statistics.ranking import auroc_and_average_precision, choose_threshold
from cervix_jax.statistics.table import PredictionTable

SPECIFICITY = 0.9
CHOSEN = "chosen"  # in addition to the kinds of rules: the kind chosen on the other folds


@dataclasses.dataclass(frozen=True)
class Judged:
    """Decisions on all fields by rules that were fitted on other folds.

    Attributes:
      tables: "class" (one-hot decisions), "score" and "called" (abnormal against normal).
      rules: kind of rule chosen for each fold.
    """

    tables: dict[str, PredictionTable]
    rules: dict[int, str]


def judge(fields: Fields, only: str = "") -> Judged:
    """Decide on every field.

    Args:
      fields: all fields of a seed.
      only: the kind of rule to use; default chosen by cross-validation.
    """
    decided = np.zeros(len(fields.labels), int)
    score, called, chosen = decided * 0.0, decided > 0, {}
    for fold in np.unique(fields.folds).tolist():
        test = np.flatnonzero(fields.folds == fold)
        train = fields.take(np.flatnonzero(fields.folds != fold))
        kind = only or choose(train)
        chosen[fold] = kind
        rule = RULES[kind](train)
        decided[test], score[test] = rule(fields.take(test))
        # Scores on the fields that the rule was fitted on would be too optimistic.
        point = choose_threshold(
            crossed(train, kind)[1], train.labels > 0, "specificity", SPECIFICITY
        )
        called[test] = score[test] >= (point.threshold if point else np.inf)
    sick = (fields.labels > 0).astype(int)
    two = classes.NORMAL_ABNORMAL.names

    def table(labels: np.ndarray, p: np.ndarray, names: tuple[str, ...]) -> PredictionTable:
        return PredictionTable(fields.names, np.asarray(fields.names), labels, p, names)

    return Judged(
        {
            "class": table(fields.labels, np.eye(len(SEVERITY))[decided], SEVERITY),
            "score": table(sick, np.stack([1 - score, score], 1), two),
            "called": table(sick, np.eye(2)[called.astype(int)], two),
        },
        chosen,
    )


def _rate(column: int) -> Callable[..., np.ndarray]:
    def rate(resamples: Any, table: PredictionTable) -> np.ndarray:
        cells = confusions(resamples, table)[:, column]
        return confusion.quotient(cells[:, column], cells.sum(1))

    return rate


METRICS: dict[str, dict[str, Callable[..., np.ndarray]]] = {
    "class": {
        "accuracy": lambda r, t: confusion.accuracy(confusions(r, t)),
        "balanced_accuracy": lambda r, t: confusion.balanced_accuracy(confusions(r, t)),
        "quadratic_kappa": lambda r, t: confusion.kappa(confusions(r, t), STEPS),
    },
    "score": {
        "auroc_abnormal": lambda r, t: auroc_and_average_precision(
            r, t.probabilities[:, 1], t.labels == 1
        )[0]
    },
    "called": {"sensitivity": _rate(1), "specificity": _rate(0)},
}


def compare(first: list[Judged], second: list[Judged]) -> dict[str, Any]:
    """Metrics of two sides on the same fields, averaged over seeds, and their difference.

    Returns:
      Metric to `first`, `second` and `difference` (first minus second), each with `estimate` and
      `interval` (95 %, fields resampled), and `seeds`: both values of each seed.
    """
    found = {}
    groups = len(first[0].tables["class"].labels)
    for part, metrics in METRICS.items():
        pairs = [(a.tables[part], b.tables[part]) for a, b in zip(first, second, strict=True)]
        alone = [paired_bootstrap([pair], metrics) for pair in pairs]
        for name, (a, b) in paired_bootstrap(pairs, metrics).items():
            bounds = (-1.0, 1.0) if name == "quadratic_kappa" else (0.0, 1.0)
            entries = {
                "first": by_group(a, groups, bounds=bounds),
                "second": by_group(b, groups, bounds=bounds),
                "difference": by_group(a - b, groups, bounds=ANY),
            }
            found[name] = {
                side: {key: entry[key] for key in ("estimate", "interval")}
                for side, entry in entries.items()
            } | {"seeds": [[float(x[0]) for x in each[name]] for each in alone]}
    return found


def read(path: str) -> dict[int, Fields]:
    """Fields by seed, for the seeds with complete folds."""
    side = read_side(path)
    folds = {fold for _, fold in side.tables}
    whole = sorted({s for s, _ in side.tables if all((s, fold) in side.tables for fold in folds)})
    if not whole:
        raise InputError(f"{path}: no seed has all of the {len(folds)} folds.")
    return {s: gather({fold: side.tables[s, fold] for fold in sorted(folds)}) for s in whole}


def check_same(cells: Fields, whole: Fields, name: str) -> Fields:
    """The whole fields; each label must be the class of the worst cell.

    Raises:
      InputError: fields or labels differ from those of the cells.
    """
    if cells.names != whole.names:
        alone = sorted({*cells.names} ^ {*whole.names})[0]
        raise InputError(f"{name}: field {alone} is on one side only; use one copy of CRIC.")
    apart = np.flatnonzero(cells.labels != whole.labels)
    if len(apart):
        raise InputError(
            f"{name}: field {cells.names[apart[0]]} is {SEVERITY[whole.labels[apart[0]]]} and its "
            f"worst cell {SEVERITY[cells.labels[apart[0]]]}; use one copy of CRIC."
        )
    return whole


def main(arguments: list[str] | None = None) -> None:
    """Compare, print a table and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--cells", required=True, help="cross-validation of cric/cell")
    parser.add_argument(
        "--fields", action="append", default=[], metavar="NAME=FOLDER",
        help="cross-validation of cric/field; may be repeated",
    )  # fmt: skip
    parser.add_argument("--out", help="JSON file to write")
    given = parser.parse_args(arguments)
    started = time.process_time()
    cells = read(given.cells)
    first = next(iter(cells.values()))
    report: dict[str, Any] = {
        "fields": len(first.names),
        "labels": {
            name: int((first.labels == number).sum()) for number, name in enumerate(SEVERITY)
        },
        "specificity_held": SPECIFICITY,
        "cells": {"folder": Path(given.cells).name, "seeds": sorted(cells)},
        "rules_of_cells": {},
        "whole_fields": {},
    }
    judged = {CHOSEN: {seed: judge(found) for seed, found in cells.items()}}
    chosen = judged[CHOSEN]
    report["cells"]["chosen"] = {str(seed): found.rules for seed, found in chosen.items()}
    for kind in RULES:
        judged[kind] = {seed: judge(found, kind) for seed, found in cells.items()}
        row = compare(list(judged[kind].values()), list(chosen.values()))
        report["rules_of_cells"][kind] = row
        show(f"cells, {kind} - cells, {CHOSEN}", row)
    for text in given.fields:
        name, _, folder = text.rpartition("=")
        whole = read(folder)
        seeds = sorted(whole.keys() & cells.keys())
        if not seeds:
            raise InputError(f"{folder} and {given.cells} have no seed in common.")
        checked = [check_same(cells[seed], whole[seed], folder) for seed in seeds]
        tuned = [judge(found) for found in checked]
        predicted = [judge(found, "worst") for found in checked]
        report["whole_fields"][name or folder] = found = {
            "folder": Path(folder).name, "seeds": seeds,
            "chosen": {str(s): each.rules for s, each in zip(seeds, tuned, strict=True)},
        }  # fmt: skip
        for title, fields, kind in (
            ("as predicted", predicted, CHOSEN),
            ("rule chosen", tuned, CHOSEN),
            ("both as predicted", predicted, "worst"),
        ):
            found[title] = compare(fields, [judged[kind][seed] for seed in seeds])
            show(f"{name or folder}, {title} - cells, {kind}", found[title])
    report["processor_seconds"] = round(time.process_time() - started, 1)
    if given.out:
        write_json(given.out, report)


def show(title: str, found: Mapping[str, Any]) -> None:
    """Print a comparison."""
    print(title)
    for name, row in found.items():
        ends = row["difference"]["interval"]
        interval = f"{ends[0]:+.3f} to {ends[1]:+.3f}" if ends else "no interval"
        print(
            f"  {name:18} {row['first']['estimate']:.3f}  {row['second']['estimate']:.3f}  "
            f"{row['difference']['estimate']:+.3f} ({interval})"
        )


if __name__ == "__main__":
    in_one_line(main)
