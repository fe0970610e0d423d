"""Evaluation of any model's predictions against a split file: each test image once, no others.

report = evaluate_file("mine.csv", split_file="benchmarks/splits/sipakmed_cells-block.csv")
report["metrics"]["accuracy"]                   # over all folds
report["benchmark"]["by_fold"][0]["accuracy"]
"""

from pathlib import Path
from typing import Any

import numpy as np

from cervix_jax.data.split_file import Names, SplitFile, file_digest, read_split_file
from cervix_jax.errors import InputError
from cervix_jax.evaluate.write import write_report
from cervix_jax.files import tables
from cervix_jax.statistics.side_by_side import Side
from cervix_jax.statistics.table import UNKNOWN, PredictionTable, concatenate

SUMMARISED = ("accuracy", "balanced_accuracy", "macro_f1", "macro_auroc", "nll")


def evaluate_on_splits(
    table: PredictionTable,
    path: str | Path,
    split_file: str | Path,
    out: Path,
    name: str,
    validation: PredictionTable | None = None,
    members: Side | None = None,
) -> dict[str, Any]:
    """Evaluate predictions on the test images of a split file, over all folds and for each fold.

    Args:
      table: the predictions; labels and groups are taken from the split file.
      path: CSV file of the predictions. Its optional column `fold` names the fold whose model
        predicted the image.
      split_file: see `data.split_file`.
      out: output folder; with several folds it also gets a folder `fold<k>` for each.
      name: stem of the file names.
      validation: predictions to fit a temperature, conformal sets and thresholds on.
      members: the predictions of each seed, if `table` is the mean over several.

    Returns:
      The contents of `<name>.json`, with an entry `benchmark`.

    Raises:
      InputError: a file cannot be read, or the predictions do not match the test images.
    """
    splits = read_split_file(split_file)
    table, fold_of = match(table, splits, path)
    facts = {
        "dataset": splits.facts.get("dataset") or splits.path.name,
        "split": "test",
        "protocol": splits.facts.get("protocol") or splits.path.name,
        "folds": splits.folds,
    }
    leaks = splits.leakage()
    reports = []
    if splits.folds > 1:
        for fold, leak in enumerate(leaks):
            own = facts | {
                "fold": fold,
                "leakage": leak.share,
                "leakage_train": leak.share_in_train,
            }
            rows = np.flatnonzero(fold_of == fold)
            reports.append(write_report(out / f"fold{fold}", name, table.take(rows), own))
    tested = sum(leak.num_test for leak in leaks)
    known = all(leak.known for leak in leaks)
    facts |= {
        "fold": list(range(splits.folds)) if splits.folds > 1 else 0,
        "leakage": sum(leak.num_seen for leak in leaks) / tested if known else None,
        "leakage_train": sum(leak.num_seen_in_train for leak in leaks) / tested if known else None,
        "benchmark": {
            "splits": splits.path.name,
            "sha256": file_digest(splits.path),
            "version": splits.facts.get("version"),
            "folds_checked": "fold" in tables.Table(path, ("fold",)).columns,
            "by_fold": [_row(report) for report in reports],
            "over_folds": _spread(reports),
            "by_seed": _by_seed(members, splits, path),
        },
    }
    facts |= members_of_seeds(members)
    return write_report(out, name, table, facts, validation)


def members_of_seeds(members: Side | None) -> dict[str, int]:
    """Facts for a report on predictions averaged over several seeds; {} for other predictions."""
    return {} if members is None else {"members": len({seed for seed, _ in members.tables})}


def _by_seed(
    members: Side | None, splits: SplitFile, where: str | Path
) -> list[dict[str, float | int]]:
    """Results of each seed over all folds, JSON-ready."""
    if members is None:
        return []
    found = []
    for seed in sorted({seed for seed, _ in members.tables}):
        own = [table for (each, _), table in sorted(members.tables.items()) if each == seed]
        table, _ = match(concatenate(own), splits, where)
        sensitivities = [table.correct[table.labels == k].mean() for k in np.unique(table.labels)]
        found.append(
            {
                "seed": seed,
                "accuracy": float(table.correct.mean()),
                "balanced_accuracy": float(np.mean(sensitivities)),
            }
        )
    return found


def match(
    table: PredictionTable, splits: SplitFile, where: str | Path
) -> tuple[PredictionTable, np.ndarray]:
    """Join predictions with a split file.

    Args:
      table: the predictions; their labels, if any, must agree with the split file.
      splits: the split.
      where: file of the predictions.

    Returns:
      The table in the order of the split with its labels and groups, and int [n], the fold that
      tests each image.

    Raises:
      InputError: a test image is missing or occurs twice, an image is not a test image, a class has
        no column, a label differs, or the column `fold` names another fold.
    """
    title = splits.path.name
    names, given = Names(splits.filenames), {}
    for row, filename in enumerate(table.filenames):
        place = names.find(filename)
        if place is None:
            raise InputError(
                f"{where}: {filename!r} is not an image of {title} (an example of its names: "
                f"{splits.filenames[0]!r}); name images as the split file does, or by their paths."
            )
        if place in given:
            raise InputError(
                f"{where}: {filename!r} and {table.filenames[given[place]]!r} are the same image "
                f"of {title}, {splits.filenames[place]!r}; keep one of the two rows."
            )
        given[place] = row
    test_fold = splits.test_fold
    if strange := [place for place in given if test_fold[place] < 0]:
        part = splits.splits[strange[0], 0]
        raise InputError(
            f"{where}: {len(strange)} images are not test images of {title}, e.g. "
            f"{splits.filenames[strange[0]]!r} ({part}); give predictions of test images only."
        )
    tested = np.flatnonzero(test_fold >= 0)
    if missing := [int(place) for place in tested if place not in given]:
        raise InputError(
            f"{where}: {len(missing)} of {len(tested)} test images of {title} have no prediction, "
            f"e.g. {splits.filenames[missing[0]]!r} (fold {test_fold[missing[0]]}); predict all "
            "test images."
        )
    rows = np.asarray([given[int(place)] for place in tested])
    number = {label: index for index, label in enumerate(table.class_names)}
    wanted = [splits.labels[place] for place in tested]
    if absent := sorted(set(wanted) - set(number)):
        raise InputError(
            f"{where}: has no column p_{absent[0]}, but {title} has images of that class; add a "
            f"column for each of the classes {', '.join(sorted(set(wanted)))}."
        )
    labels = np.asarray([number[label] for label in wanted], np.int64)
    taken = table.take(rows)
    if len(other := np.flatnonzero((taken.labels != UNKNOWN) & (taken.labels != labels))):
        first = int(other[0])
        raise InputError(
            f"{where}: the label of {taken.filenames[first]!r} is "
            f"{table.class_names[taken.labels[first]]!r}, but {wanted[first]!r} in {title} "
            f"({len(other)} images differ); correct the labels or leave the column out."
        )
    _check_folds(where, taken, test_fold[tested])
    filenames = tuple(splits.filenames[place] for place in tested)
    groups = np.asarray([splits.groups[place] for place in tested], str)
    matched = PredictionTable(
        filenames, groups, labels, taken.probabilities, taken.class_names, taken.logits
    )
    return matched, test_fold[tested]


def _check_folds(where: str | Path, table: PredictionTable, fold_of: np.ndarray) -> None:
    """Check that the optional column `fold` names the fold that tests each image."""
    read = tables.Table(where, ("filename", "path", "fold"))
    if "fold" not in read.columns:
        return
    name = "filename" if "filename" in read.columns else "path"
    fold = dict(zip(table.filenames, fold_of.tolist(), strict=True))
    for row in read:
        if row.number("fold") != fold[row[name]]:
            raise InputError(
                f"{row.where}: the prediction of {row[name]!r} is of fold {row['fold']}, but it is "
                f"a test image of fold {fold[row[name]]}, and the models of other folds may be "
                "trained on it; give the prediction of that fold."
            )


def _row(report: dict[str, Any]) -> dict[str, Any]:
    """Results of one fold, JSON-ready."""
    metrics = {name: report["metrics"][name]["estimate"] for name in SUMMARISED}
    return {"fold": report["fold"], "n": report["n"], "groups": report["groups"]} | metrics


def _spread(reports: list[dict[str, Any]]) -> dict[str, dict[str, float | None]]:
    """Mean and standard deviation (n - 1) between folds; None where a fold has no value."""
    found: dict[str, dict[str, float | None]] = {}
    for name in SUMMARISED if reports else ():
        values = [report["metrics"][name]["estimate"] for report in reports]
        whole = None not in values
        found[name] = {
            "mean": float(np.mean(values)) if whole else None,
            "sd": float(np.std(values, ddof=1)) if whole else None,
        }
    return found
