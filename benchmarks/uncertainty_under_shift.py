r"""Calibration, conformal sets and energy when test images differ from validation images.

  python benchmarks/uncertainty_under_shift.py --runs=random=runs/random --runs=block=runs/block \
      --odd='block:2:Parabasal/0(5[7-9]|6[0-9]|7[0-2])$' --out=benchmarks/results/uncertainty.json

`--runs` names cross-validations of one model under different splits, `<folder>/seed<s>/fold<f>`.
The script reads only their predictions on the validation and test images of every fold. `evaluate
--split=val` of each run makes the validation predictions; a run with `split.refit` has none.

A temperature and conformal sets are fitted on the validation images of a fold, which are separated
from training in the same way as the test images, and are tested on its test images. Folds are
pooled, and seeds are averaged. `--odd=name:fold:pattern` measures how well energy and confidence
separate the test images whose group matches the pattern (a stain that is rare in training) from the
other test images.
"""

import argparse
import dataclasses
import re
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import binom
from sides import ROOT, in_one_line, write_json

sys.path.insert(0, str(ROOT))

from cervix_jax.errors import InputError
from cervix_jax.evaluate.sides import read_side
from cervix_jax.statistics.conformal import METHODS, prediction_sets
from cervix_jax.statistics.decisions import COVERAGES
from cervix_jax.statistics.intervals import by_group
from cervix_jax.statistics.outliers import SCORES, outlier_report
from cervix_jax.statistics.ranking import auroc_and_average_precision
from cervix_jax.statistics.resampling import Resamples
from cervix_jax.statistics.scores import (
    bin_confidences,
    calibration_error_by_chance,
    expected_calibration_error,
    negative_log_likelihood,
)
from cervix_jax.statistics.table import PredictionTable, concatenate
from cervix_jax.statistics.temperature import fit_temperature, scaled

LEAST = 5  # minimum number of images of a group that is reported separately
LOW = 0.1  # a group counts as low if its coverage is lower than the target by more than this
Pair = tuple[PredictionTable, PredictionTable]  # validation, test


@dataclasses.dataclass(frozen=True)
class Judged:
    """Test images of all folds of a seed, in the order of their names.

    Attributes:
      table: predictions before temperature scaling.
      calibrated: predictions after temperature scaling.
      folds: int [N], the fold that tests each image.
      temperatures: temperature by fold.
      sets: (method, target) to bool [N, C], conformal sets.
    """

    table: PredictionTable
    calibrated: PredictionTable
    folds: np.ndarray
    temperatures: dict[int, float]
    sets: dict[tuple[str, float], np.ndarray]

    @classmethod
    def of(cls, pairs: dict[int, Pair]) -> "Judged":
        """The result from validation and test predictions by fold."""
        temperatures = {fold: fit_temperature(val).value for fold, (val, _) in pairs.items()}
        table = concatenate([test for _, test in pairs.values()])
        cooled = [scaled(test, temperatures[fold]) for fold, (_, test) in pairs.items()]
        sets = {
            (method, target): np.concatenate([
                prediction_sets(method, (v.labels, v.probabilities), t.probabilities, target)[0]
                for v, t in pairs.values()
            ])
            for method in METHODS
            for target in COVERAGES
        }  # fmt: skip
        folds = np.repeat(list(pairs), [len(test.labels) for _, test in pairs.values()])
        order = np.argsort(table.filenames)
        return cls(
            table.take(order),
            concatenate(cooled).take(order),
            folds[order],
            temperatures,
            {key: found[order] for key, found in sets.items()},
        )


def read_pairs(folder: str) -> dict[int, dict[int, Pair]]:
    """Validation and test predictions by seed and fold, for the seeds with complete folds.

    Raises:
      InputError: predictions are missing.
    """
    val, test = read_side(folder, "val").tables, read_side(folder, "test").tables
    if lacking := sorted(test.keys() - val.keys()):
        seed, fold = lacking[0]
        raise InputError(
            f"{folder}/seed{seed}/fold{fold}: has no predictions of its validation images; run "
            f"python -m cervix_jax.evaluate --workdir={folder}/seed{seed}/fold{fold} --split=val."
        )
    folds = sorted({fold for _, fold in test})
    seeds = sorted({seed for seed, _ in test})
    whole = [seed for seed in seeds if all((seed, fold) in test for fold in folds)]
    if not whole:
        raise InputError(f"{folder}: no seed has all of the {len(folds)} folds.")
    return {s: {f: (val[s, f], test[s, f]) for f in folds} for s in whole}


def conformal(judged: Sequence[Judged], resamples: Resamples) -> dict[str, list[dict[str, Any]]]:
    """Coverage and size of the sets, over all images, by fold and by group."""
    labels, folds = judged[0].table.labels, judged[0].folds
    rows = np.arange(len(labels))
    report: dict[str, list[dict[str, Any]]] = {method: [] for method in METHODS}
    for method in METHODS:
        for target in COVERAGES:
            sets = [each.sets[method, target] for each in judged]
            covered = np.mean([found[rows, labels] for found in sets], axis=0)
            size = np.mean([found.sum(1) for found in sets], axis=0)
            single = np.mean([found.sum(1) == 1 for found in sets], axis=0)
            report[method].append({
                "target": target,
                "coverage": by_group(resamples.means(covered), resamples.num_groups),
                "coverage_by_fold": {
                    str(f): float(covered[folds == f].mean()) for f in np.unique(folds).tolist()
                },
                "mean_size": float(size.mean()),
                "single": float(single.mean()),
                "groups": _failing(covered, resamples.index, target),
            })  # fmt: skip
    return report


def _failing(covered: np.ndarray, index: np.ndarray, target: float) -> dict[str, float]:
    """Share of groups with low coverage, and the share expected by chance."""
    count = np.bincount(index)
    share = np.bincount(index, covered) / count
    large = count >= LEAST
    # Chance: independent images, each covered with the target probability.
    limit = np.ceil(count[large] * (target - LOW) - 1e-9) - 1
    return {
        "looked_at": int(large.sum()),
        "low": float((share[large] < target - LOW - 1e-9).mean()) if large.any() else np.nan,
        "low_by_chance": float(binom.cdf(limit, count[large], target).mean())
        if large.any()
        else np.nan,
    }


def calibration(judged: Sequence[Judged], resamples: Resamples) -> dict[str, Any]:
    """Calibration before and after temperature scaling, over all images, by fold and by group."""
    report: dict[str, Any] = {"temperatures": [list(each.temperatures.values()) for each in judged]}
    for when, name in (("before", "table"), ("after", "calibrated")):
        tables = [getattr(each, name) for each in judged]
        binned = [bin_confidences(t.labels, t.probabilities) for t in tables]
        errors = np.mean([expected_calibration_error(resamples, each) for each in binned], axis=0)
        losses = [negative_log_likelihood(t.labels, t.probabilities) for t in tables]
        gap = np.mean([each.confidence - each.correct for each in binned], axis=0)
        variance = np.mean([each.confidence * (1 - each.confidence) for each in binned], axis=0)
        report[when] = {
            "ece": by_group(errors, resamples.num_groups, basic=True),
            "ece_by_chance": float(np.mean([calibration_error_by_chance(b) for b in binned])),
            "nll": float(np.mean(losses)),
            "overconfidence": by_group(
                resamples.means(gap), resamples.num_groups, bounds=(-1.0, 1.0)
            ),
            "overconfidence_by_fold": {
                str(f): float(gap[judged[0].folds == f].mean())
                for f in np.unique(judged[0].folds).tolist()
            },
            "groups": _group_gap(gap, variance, resamples.index),
        }
    return report


def _group_gap(gap: np.ndarray, variance: np.ndarray, index: np.ndarray) -> dict[str, float]:
    """Root mean square over groups of confidence minus accuracy, and its value by chance."""
    count = np.bincount(index)
    large = count >= LEAST
    squared = (np.bincount(index, gap) / count)[large] ** 2
    expected = (np.bincount(index, variance) / count**2)[large]
    return {
        "looked_at": int(large.sum()),
        "rms": float(np.sqrt(squared.mean())),
        "rms_by_chance": float(np.sqrt(expected.mean())),
    }


def errors_found(pairs: dict[int, Pair]) -> dict[str, float | None]:
    """Mean over folds of the AUROC of a score for wrong against correct test images."""
    found: dict[str, list[float]] = {name: [] for name in SCORES}
    for _, test in pairs.values():
        alone = Resamples(test.groups, number=0)
        for name, score in SCORES.items():
            if name != "energy" or test.logits is not None:
                area, _ = auroc_and_average_precision(alone, score(test), ~test.correct)
                found[name].append(float(area[0]))
    return {name: float(np.nanmean(areas)) if areas else None for name, areas in found.items()}


def odd_groups(pairs: dict[int, Pair], fold: int, pattern: str) -> dict[str, Any]:
    """Separation of the test images of some groups of a fold from the others, by each score.

    Returns:
      As `outlier_report`, with the `accuracy` on both kinds and the number of `validation_odd`
      images; `covered`, the coverage of the 90 % sets (LAC); and for each score `flagged`: the
      share of odd images, and of `others`, above the 95th percentile of the validation images
      that are not odd.

    Raises:
      InputError: the fold or group does not exist.
    """
    if fold not in pairs:
        raise InputError(f"--odd: there is no fold {fold}, but {', '.join(map(str, pairs))}.")
    val, test = pairs[fold]
    odd, odd_val = (
        np.asarray([re.search(pattern, group) is not None for group in table.groups])
        for table in (test, val)
    )
    if odd.all() or not odd.any():
        raise InputError(
            f"--odd: {pattern} matches {'all' if odd.all() else 'none'} of the test groups of fold "
            f"{fold}, such as {test.groups[0]}."
        )
    known, strange = test.take(np.flatnonzero(~odd)), test.take(np.flatnonzero(odd))
    report = outlier_report(known, strange) | {"validation_odd": int(odd_val.sum())}
    report["accuracy"] = {
        "odd": float(strange.correct.mean()), "others": float(known.correct.mean())
    }  # fmt: skip
    sets, _ = prediction_sets(
        "lac", (val.labels, val.probabilities), test.probabilities, COVERAGES[0]
    )
    covered = sets[np.arange(len(odd)), test.labels]
    report["covered"] = {"odd": float(covered[odd].mean()), "others": float(covered[~odd].mean())}
    for name, score in SCORES.items():
        if name != "energy" or (val.logits is not None and test.logits is not None):
            limit = np.quantile(score(val)[~odd_val], 0.95)
            report[name] |= {
                "flagged": float((score(strange) > limit).mean()),
                "others": float((score(known) > limit).mean()),
            }
    return report


def measure(pairs: dict[int, dict[int, Pair]]) -> dict[str, Any]:
    """All results of one split, from `pairs` by seed and fold."""
    judged = [Judged.of(own) for own in pairs.values()]
    table = judged[0].table
    if any(each.table.filenames != table.filenames for each in judged):
        raise InputError("seeds were not tested on the same images; give one cross-validation.")
    resamples = Resamples(table.groups)
    right = np.mean([each.table.correct for each in judged], axis=0)
    return {
        "n": len(table.labels),
        "groups": resamples.num_groups,
        "seeds": sorted(pairs),
        "accuracy": by_group(resamples.means(right), resamples.num_groups),
        "accuracy_by_fold": {
            str(f): float(right[judged[0].folds == f].mean())
            for f in np.unique(judged[0].folds).tolist()
        },
        "conformal": conformal(judged, resamples),
        "calibration": calibration(judged, resamples),
        "errors_found": [errors_found(own) for own in pairs.values()],
    }


def main(arguments: list[str] | None = None) -> None:
    """Measure, print tables in Markdown and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--runs", action="append", required=True, metavar="NAME=FOLDER")
    parser.add_argument("--odd", action="append", default=[], metavar="NAME:FOLD:PATTERN")
    parser.add_argument("--out", help="JSON file to write")
    given = parser.parse_args(arguments)
    started, pairs = time.process_time(), {}
    report: dict[str, Any] = {"splits": {}, "odd": []}
    for text in given.runs:
        name, _, folder = text.partition("=")
        pairs[name] = read_pairs(folder)
        report["splits"][name] = {"folder": Path(folder).name} | measure(pairs[name])
    print_tables(report["splits"])
    for text in given.odd:
        name, fold, pattern = [*text.split(":", 2), "", ""][:3]
        if name not in pairs or not fold.isdigit():
            raise InputError(f"--odd={text}: give name:fold:pattern, with a name of --runs.")
        found = [odd_groups(own, int(fold), pattern) for own in pairs[name].values()]
        report["odd"].append({"name": name, "fold": int(fold), "pattern": pattern, "seeds": found})
        for each in found:
            print_odd(name, each)
    report["processor_seconds"] = round(time.process_time() - started, 1)
    write_json(given.out or "", report)


def _interval(entry: dict[str, Any], digits: int = 1, percent: int = 100) -> str:
    text = f"{percent * entry['estimate']:.{digits}f}"
    if entry["interval"] is None:
        return text
    low, high = (f"{percent * end:.{digits}f}" for end in entry["interval"])
    return f"{text} ({low} to {high})"


def print_tables(splits: dict[str, dict[str, Any]]) -> None:
    """Tables of conformal sets and calibration, with one row for each split."""
    print("| split | accuracy | 90 % sets cover | by fold | classes a set | groups below 80 % |")
    print("|---|---|---|---|---|---|")
    for name, found in splits.items():
        row = found["conformal"]["lac"][0]
        low, high = min(row["coverage_by_fold"].values()), max(row["coverage_by_fold"].values())
        print(
            f"| {name} | {_interval(found['accuracy'])} | {_interval(row['coverage'])} | "
            f"{100 * low:.1f} to {100 * high:.1f} | {row['mean_size']:.2f} | "
            f"{row['groups']['low']:.0%} (chance {row['groups']['low_by_chance']:.0%}) |"
        )
    print("| split | when | calibration error | chance | overconfident by | by fold | by group |")
    print("|---|---|---|---|---|---|---|")
    for name, found in splits.items():
        for when in ("before", "after"):
            row = found["calibration"][when]
            gaps, groups = row["overconfidence_by_fold"].values(), row["groups"]
            print(
                f"| {name} | {when} | {_interval(row['ece'])} | {100 * row['ece_by_chance']:.1f} | "
                f"{_interval(row['overconfidence'])} | {100 * min(gaps):.1f} to "
                f"{100 * max(gaps):.1f} | {100 * groups['rms']:.0f} (chance "
                f"{100 * groups['rms_by_chance']:.0f}) |"
            )


def print_odd(name: str, found: dict[str, Any]) -> None:
    """Table of the separation of odd groups by the scores."""
    print(
        f"{name}: {found['n_outliers']} odd images, right {found['accuracy']['odd']:.1%}, covered "
        f"{found['covered']['odd']:.1%}; "
        f"{found['n']} others, right {found['accuracy']['others']:.1%}, covered "
        f"{found['covered']['others']:.1%}; "
        f"{found['validation_odd']} odd in validation"
    )
    for score in SCORES:
        row = found[score]
        if row["estimate"] is None:
            print(f"  {score}: {row['why']}")
        else:
            print(
                f"  {score}: AUROC {_interval(row, 3, 1)}, flagged {row['flagged']:.1%} "
                f"(others {row['others']:.1%})"
            )


if __name__ == "__main__":
    in_one_line(main)
