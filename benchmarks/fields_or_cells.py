r"""The worst lesion of a field: from the whole field, or from its cells.

  python benchmarks/fields_or_cells.py --cells=runs/cric_cell \
      --fields=resnet50=runs/cric_field_resnet50 --fields=rcan=runs/cric_field_rcan \
      --out=benchmarks/results/fields_or_cells.json

All are cross-validations with the same seeds, `<folder>/seed<s>/fold<f>`, of `cric/cell` and of
`cric/field`; only predictions of test folds are read. A field's label is its worst cell, so the
probabilities of cells need a rule before they say anything of a field. Every rule sees the sorted
probabilities of "at least this bad" of the cells of a field:

  worst      the worst class that is the most probable of some cell; nothing is fitted
  threshold  the worst class that k cells reach with a probability t; k and t are fitted
  thresholds as before with a t for each class
  logistic   multinomial logistic regression of the largest, the mean of the three largest and the
             mean log odds

For the fields of a test fold, a rule is fitted on the cells of the other folds, each predicted by
the network that did not train on it, and the kind of rule is chosen by cross-validation over those
folds by the quadratic kappa. (The networks of those folds did train on fields of the test fold;
what that gives away to one to six fitted numbers is taken for nothing.) A whole field is treated as
a field of one cell: once as it is predicted ("worst") and once with the rules fitted and chosen by
the same procedure, so that neither side has an advantage by tuning.

The cells are those that experts marked: cells know where to look and whole fields do not.
Differences are paired: metrics of all seeds are averaged in each resample of fields. AUROC and the
operating point pool the folds; its threshold holds a specificity of 0.9 on the other folds.
"""

import argparse
import dataclasses
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import logit
from sides import in_one_line, write_json
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from cervix_jax.data import classes  # noqa: E402
from cervix_jax.errors import InputError  # noqa: E402
from cervix_jax.evaluate.sides import read_side  # noqa: E402
from cervix_jax.statistics import confusion  # noqa: E402
from cervix_jax.statistics.comparison import confusions, paired_bootstrap  # noqa: E402
from cervix_jax.statistics.intervals import ANY, by_group  # noqa: E402
from cervix_jax.statistics.ranking import (  # noqa: E402
    auroc_and_average_precision,
    choose_threshold,
)
from cervix_jax.statistics.table import PredictionTable  # noqa: E402

DEPTH = 3  # how many of a field's cells a rule counts
GRID = np.arange(1, 20) / 20
SPECIFICITY = 0.9
SEVERITY = classes.CRIC.names
STEPS = confusion.squared_distances(SEVERITY, SEVERITY)


@dataclasses.dataclass(frozen=True)
class Fields:
    """What is known of F fields, from their cells or as a whole.

    Attributes:
      names: F names.
      labels: int [F], in the order of `SEVERITY`.
      folds: int [F], in which each was tested.
      worst: int [F], the worst class that is the most probable of some cell.
      reached: float [F, DEPTH, C - 1], the k-th largest probability of at least class 1, 2, ...; 0
        where a field has fewer cells.
      features: float [F, D], for the logistic regression.
    """

    names: tuple[str, ...]
    labels: np.ndarray
    folds: np.ndarray
    worst: np.ndarray
    reached: np.ndarray
    features: np.ndarray

    def take(self, rows: np.ndarray) -> "Fields":
        """Some of them."""
        return Fields(
            tuple(np.asarray(self.names)[rows]),
            *(getattr(self, f.name)[rows] for f in dataclasses.fields(self)[1:]),
        )


def gather(tables: Mapping[int, PredictionTable]) -> Fields:
    """Fields from the predictions of cells, or of fields, by fold.

    Raises:
      InputError: other classes, or a field in several folds.
    """
    rows: list[tuple[str, int, int, int, np.ndarray, np.ndarray]] = []
    for fold, table in tables.items():
        if sorted(table.class_names) != sorted(SEVERITY):
            raise InputError(
                f"fold {fold}: the classes are {', '.join(table.class_names)}, not CRIC's six; "
                "give runs of cric/cell and cric/field."
            )
        table = table.in_order_of(SEVERITY)
        for name in np.unique(table.groups).tolist():
            own = table.groups == name
            p = table.probabilities[own]
            at_least = np.clip(p[:, ::-1].cumsum(1)[:, ::-1][:, 1:], 1e-6, 1 - 1e-6)
            falling = -np.sort(-at_least, axis=0)
            reached = np.zeros((DEPTH, len(SEVERITY) - 1))
            reached[: len(falling)] = falling[:DEPTH]
            odds = logit(falling)
            features = np.concatenate([odds[0], odds[:DEPTH].mean(0), odds.mean(0)])
            worst = int(p.argmax(1).max())
            rows.append((name, int(table.labels[own].max()), fold, worst, reached, features))
    rows.sort(key=lambda row: row[0])
    names, labels, folds, worst, reached, features = zip(*rows, strict=True)
    if len(set(names)) < len(names):
        raise InputError("a field is in several folds; give one cross-validation by field.")
    return Fields(names, *map(np.asarray, (labels, folds, worst, reached, features)))


Rule = Callable[[Fields], tuple[np.ndarray, np.ndarray]]
"""Gives of F fields the class, int [F], and how abnormal each is, float [F]."""


def kappa(labels: np.ndarray, predicted: np.ndarray) -> float:
    """Quadratic kappa; -1 where it is undefined."""
    size = len(SEVERITY)
    matrix = np.bincount(labels * size + predicted, minlength=size * size).reshape(size, size)
    return float(np.nan_to_num(confusion.kappa(matrix[None], STEPS), nan=-1.0)[0])


def _passed(reached: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """The worst class that is reached, of float [F, C - 1]."""
    passed = reached >= thresholds
    return np.where(passed.any(1), passed.shape[1] - passed[:, ::-1].argmax(1), 0)


def worst_class(fields: Fields) -> Rule:
    """Nothing is fitted."""
    return lambda f: (f.worst, f.reached[:, 0, 0])


def one_threshold(fields: Fields) -> Rule:
    """The same probability for every class."""
    size = len(SEVERITY) - 1
    found = [
        (kappa(fields.labels, _passed(fields.reached[:, k], np.full(size, t))), -k, t)
        for k in range(DEPTH)
        for t in GRID
    ]
    _, k, t = max(found)
    return lambda f: (_passed(f.reached[:, -k], np.full(size, t)), f.reached[:, -k, 0])


def class_thresholds(fields: Fields) -> Rule:
    """A probability for each class: coordinate ascent from one threshold for all."""
    best = (-2.0, 0, GRID)
    for k in range(DEPTH):
        reached = fields.reached[:, k]

        def worth(t: np.ndarray, reached: np.ndarray = reached) -> float:
            return kappa(fields.labels, _passed(reached, t))

        start = max(GRID, key=lambda t: worth(np.full(reached.shape[1], t)))
        thresholds = np.full(reached.shape[1], start)
        for _ in range(3):
            for column in range(len(thresholds)):
                tried = np.repeat(thresholds[None], len(GRID) + 1, 0)
                tried[1:, column] = GRID
                thresholds = tried[int(np.argmax([worth(t) for t in tried]))]
        best = max(best, (worth(thresholds), -k, thresholds), key=lambda found: found[:2])
    _, k, chosen = best
    return lambda f: (_passed(f.reached[:, -k], chosen), f.reached[:, -k, 0])


def logistic(weight: str | None) -> Callable[[Fields], Rule]:
    """Multinomial logistic regression; classes weigh alike with "balanced"."""

    def fit(fields: Fields) -> Rule:
        model = make_pipeline(
            StandardScaler(), LogisticRegression(C=0.1, class_weight=weight, max_iter=2000)
        ).fit(fields.features, fields.labels)

        def rule(f: Fields) -> tuple[np.ndarray, np.ndarray]:
            p = model.predict_proba(f.features)
            return model.classes_[p.argmax(1)], 1 - p[:, model.classes_ == 0].sum(1)

        return rule

    return fit


RULES: dict[str, Callable[[Fields], Rule]] = {
    "worst": worst_class,
    "threshold": one_threshold,
    "thresholds": class_thresholds,
    "logistic": logistic(None),
    "balanced logistic": logistic("balanced"),
}


@dataclasses.dataclass(frozen=True)
class Judged:
    """Decisions on all fields, each by what was fitted on other folds.

    Attributes:
      tables: "class" (one-hot decisions), "score" and "called" (abnormal against normal).
      rules: which kind of rule was chosen for each fold.
    """

    tables: dict[str, PredictionTable]
    rules: dict[int, str]


def judge(fields: Fields, only: str = "") -> Judged:
    """Decide on every field.

    Args:
      fields: all of a seed.
      only: the one kind of rule to take; by default it is chosen.
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
        # What the rule says of the fields that it was fitted on would flatter it.
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


def crossed(fields: Fields, kind: str) -> tuple[np.ndarray, np.ndarray]:
    """Decisions and scores, each fold by a rule that was fitted on the others."""
    decided, score = np.zeros(len(fields.labels), int), np.zeros(len(fields.labels))
    for fold in np.unique(fields.folds):
        inside = np.flatnonzero(fields.folds == fold)
        rule = RULES[kind](fields.take(np.flatnonzero(fields.folds != fold)))
        decided[inside], score[inside] = rule(fields.take(inside))
    return decided, score


def choose(fields: Fields) -> str:
    """The kind of rule with the best quadratic kappa over folds that it was not fitted on."""
    return max(RULES, key=lambda kind: kappa(fields.labels, crossed(fields, kind)[0]))


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
    """Metrics of two ways on the same fields, averaged over seeds, and their difference.

    Returns:
      By metric `first`, `second` and `difference` (first minus second), each with `estimate` and
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
    """Fields by seed, of the seeds that have all folds that any seed has."""
    side = read_side(path)
    folds = {fold for _, fold in side.tables}
    whole = sorted({s for s, _ in side.tables if all((s, fold) in side.tables for fold in folds)})
    if not whole:
        raise InputError(f"{path}: no seed has all of the {len(folds)} folds.")
    return {s: gather({fold: side.tables[s, fold] for fold in sorted(folds)}) for s in whole}


def check_same(cells: Fields, whole: Fields, name: str) -> Fields:
    """The whole fields; their labels must be those of their worst cells.

    Raises:
      InputError: other fields, or another label.
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
    chosen = {seed: judge(found) for seed, found in cells.items()}
    report["cells"]["chosen"] = {str(seed): found.rules for seed, found in chosen.items()}
    for kind in RULES:
        alone = [judge(found, kind) for found in cells.values()]
        report["rules_of_cells"][kind] = compare(alone, list(chosen.values()))
        show(f"cells, {kind} - cells, chosen", report["rules_of_cells"][kind])
    for text in given.fields:
        name, _, folder = text.rpartition("=")
        whole = read(folder)
        seeds = sorted(whole.keys() & cells.keys())
        if not seeds:
            raise InputError(f"{folder} and {given.cells} have no seed in common.")
        checked = [check_same(cells[seed], whole[seed], folder) for seed in seeds]
        ours = [chosen[seed] for seed in seeds]
        tuned = [judge(found) for found in checked]
        rows = {
            "as predicted": compare([judge(found, "worst") for found in checked], ours),
            "rule chosen": compare(tuned, ours),
        }
        report["whole_fields"][name or folder] = {
            "folder": Path(folder).name, "seeds": seeds,
            "chosen": {str(s): each.rules for s, each in zip(seeds, tuned, strict=True)}, **rows,
        }  # fmt: skip
        for title, row in rows.items():
            show(f"{name or folder}, {title} - cells, chosen", row)
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
