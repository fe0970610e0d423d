"""Outcome of a finished experiment, JSON-ready, computed from the predictions of its runs."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cervix_jax.data import classes
from cervix_jax.evaluate.predictions_file import SUFFIX
from cervix_jax.evaluate.sides import read_reports, read_side
from cervix_jax.files.atomic import read_json
from cervix_jax.reproduce.experiments import Experiment
from cervix_jax.statistics import confusion
from cervix_jax.statistics.aggregation import RULES, aggregate
from cervix_jax.statistics.comparison import confusions
from cervix_jax.statistics.ensemble import average
from cervix_jax.statistics.intervals import group_interval, listed, wilson_interval
from cervix_jax.statistics.performance import quick_metrics
from cervix_jax.statistics.resampling import Resamples
from cervix_jax.statistics.side_by_side import Side
from cervix_jax.statistics.table import PredictionTable, align, concatenate

METRICS = {
    "accuracy": confusion.accuracy,
    "balanced_accuracy": confusion.balanced_accuracy,
    "macro_f1": confusion.macro_f1,
}


def measure(experiment: Experiment) -> dict[str, Any]:
    """The outcome of a finished experiment, JSON-ready.

    Returns:
      `row, protocol, config, init, image_size, resize, epochs, refit, seeds, folds, n, groups`;
      `leakage` (None if the groups are unknown);
      `accuracy` (mean over seeds, all folds together), `sd` (between seeds; None for one seed),
      `interval` (Wilson), `interval_by_group` (bootstrap over groups of the accuracy averaged over
      seeds), `folds_accuracy` (mean over seeds, by fold), `f1` (by class, mean over seeds),
      `clusters` (by rule of aggregation [right, total], of the first seed; None if every image is
      its own group); the result of `measured` for the seeds; `by_level`, the same for joined
      classes, by number of classes; `ensemble`, the same for probabilities averaged over seeds
      (None for one seed); `variants`, both by name for other ways of predicting, such as `tta`;
      `runs` (seed, fold, n and metrics of each); `training_hours` (of all runs together, without
      evaluation; None if it was not logged) and `environment`.
    """
    config = experiment.config
    side = read_side(experiment.folder)
    seeds = sorted({seed for seed, _ in side.tables})
    folds = sorted({fold for _, fold in side.tables})
    whole = whole_tables(side)
    first = whole[0]
    right = np.mean([table.correct for table in whole], axis=0)
    by_seed = [float(table.correct.mean()) for table in whole]
    resamples = Resamples(first.groups)
    reports = read_reports(experiment.folder)
    counts = [report.n for report in reports]
    leaked = [report.leakage for report in reports if report.leakage is not None]
    leakage = float(np.average(leaked, weights=counts)) if len(leaked) == len(counts) else None
    return {
        "row": experiment.row.id,
        "protocol": experiment.protocol,
        "config": experiment.row.config,
        "init": experiment.init,
        "image_size": config.image_size,
        "resize": config.data.resize,
        "epochs": config.num_epochs,
        "refit": config.split.refit,
        "seeds": len(seeds),
        "folds": len(folds),
        "n": len(first.labels),
        "groups": resamples.num_groups,
        "leakage": leakage,
        "accuracy": float(right.mean()),
        "sd": float(np.std(by_seed, ddof=1)) if len(seeds) > 1 else None,
        "interval": list(wilson_interval(round(float(right.sum())), len(right))),
        "interval_by_group": group_interval(resamples.means(right), resamples.num_groups),
        "folds_accuracy": [
            float(np.mean([side.tables[seed, fold].correct.mean() for seed in seeds]))
            for fold in folds
        ],
        "f1": dict(zip(first.class_names, np.mean([_f1(t) for t in whole], axis=0), strict=True)),
        "clusters": _clusters(first),
        **measured(whole, resamples),
        "by_level": {
            str(level): measured([table.coarsen(level) for table in whole], resamples)
            for level in classes.levels(first.class_names)
        },
        "ensemble": _ensemble(whole, resamples),
        "variants": {
            name: _variant(read_side(experiment.folder, f"test_{name}"), first, resamples)
            for name in variants(experiment)
        },
        "runs": [
            {"seed": seed, "fold": fold, "n": len(table.labels)}
            | quick_metrics(table.labels, table.probabilities)
            for (seed, fold), table in sorted(side.tables.items())
        ],
        "training_hours": _training_hours(experiment),
        "environment": _environment(experiment),
    }


def variants(experiment: Experiment) -> tuple[str, ...]:
    """Names of further predictions on test images that every run has, such as `tta`."""
    pattern = re.compile(rf"test_(\w+){re.escape(SUFFIX)}")
    found = [
        {
            match[1]
            for path in (run / "evaluate").glob("test_*")
            if (match := pattern.fullmatch(path.name))
        }
        for run in experiment.runs
    ]
    return tuple(sorted(set.intersection(*found)))


def whole_tables(side: Side) -> list[PredictionTable]:
    """Predictions of each seed on the test images of all folds, in the order of the first seed."""
    whole = []
    for seed in sorted({seed for seed, _ in side.tables}):
        own = [side.tables[key] for key in sorted(side.tables) if key[0] == seed]
        whole.append(own[0] if len(own) == 1 else concatenate(own))
    return [align(whole[0], table, ("the first seed", "another seed")) for table in whole]


def measured(whole: Sequence[PredictionTable], resamples: Resamples) -> dict[str, Any]:
    """Metrics averaged over seeds.

    Args:
      whole: predictions of each seed on the same images.
      resamples: resamples of their groups.

    Returns:
      `metrics` (by name) and `sensitivity` (by class), each with `estimate` (None if undefined),
      `sd` (between seeds; None for one seed) and `interval_by_group` (None if there is none).
    """
    matrices = np.stack([confusions(resamples, table) for table in whole])
    found = {name: function(matrices) for name, function in METRICS.items()}
    names = whole[0].class_names
    if order := classes.order_of(names):
        found["quadratic_kappa"] = confusion.kappa(
            matrices, confusion.squared_distances(names, order)
        )
    counts = confusion.one_v_rest(matrices)
    sensitivity = confusion.quotient(counts["tp"], counts["tp"] + counts["fn"])
    return {
        "metrics": {name: _entry(values, resamples) for name, values in found.items()},
        "sensitivity": {
            name: _entry(sensitivity[..., number], resamples) for number, name in enumerate(names)
        },
    }


def _entry(values: np.ndarray, resamples: Resamples) -> dict[str, Any]:
    """An entry from float [seeds, 1 + R]: values in the data and in every resample."""
    mean, own = values.mean(0), values[:, 0]
    if np.isnan(mean[0]):
        return {"estimate": None, "sd": None, "interval_by_group": None}
    bounds = (-1.0, 1.0) if mean.min() < 0 else (0.0, 1.0)
    return {
        "estimate": float(mean[0]),
        "sd": float(own.std(ddof=1)) if len(own) > 1 else None,
        "interval_by_group": listed(group_interval(mean, resamples.num_groups, bounds)),
    }


def _ensemble(whole: Sequence[PredictionTable], resamples: Resamples) -> dict[str, Any] | None:
    if len(whole) == 1:
        return None
    return measured([average(whole, ["a seed"] * len(whole))], resamples)


def _variant(side: Side, first: PredictionTable, resamples: Resamples) -> dict[str, Any]:
    whole = [align(first, table, ("the runs", side.name)) for table in whole_tables(side)]
    return measured(whole, resamples) | {"ensemble": _ensemble(whole, resamples)}


def _f1(table: PredictionTable) -> np.ndarray:
    return confusion.f1(confusions(Resamples(table.groups, number=0), table))[0]


def _clusters(table: PredictionTable) -> dict[str, list[int]] | None:
    if len(set(table.groups.tolist())) == len(table.groups):
        return None
    found = {}
    for rule in RULES:
        groups, _ = aggregate(table, rule)
        found[rule] = [int(groups.correct.sum()), len(groups.labels)]
    return found


def _training_hours(experiment: Experiment) -> float | None:
    """Training images, by the number of them that each epoch had twice."""
    seconds = 0.0
    for run in experiment.runs:
        before = 0
        try:
            for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines():
                values = json.loads(line)
                images = (values["step"] - before) * experiment.config.batch_size
                seconds += images / values["images_per_second"]
                before = values["step"]
        except (OSError, ValueError, LookupError, TypeError, ZeroDivisionError):
            return None
    return round(seconds / 3600, 3)


def _environment(experiment: Experiment) -> dict[str, Any]:
    """`env.json` of the run that started last, without its data."""
    found = [run / "env.json" for run in experiment.runs if (run / "env.json").is_file()]
    newest: Path | None = max(found, key=lambda path: path.stat().st_mtime, default=None)
    known = (read_json(newest) if newest else None) or {}
    return {name: value for name, value in known.items() if name not in ("dataset", "placement")}
