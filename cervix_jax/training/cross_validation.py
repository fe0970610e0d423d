"""Cross-validation over all folds with several seeds: `--config.cross_validation.seeds=3`.

The runs share one process, its decoded images and its compiled programs. Each run has its own
folder `seed<s>/fold<f>` in the workdir, with the same files as a single run.
"""

from collections.abc import Sequence
from pathlib import Path

import ml_collections
import numpy as np
from absl import logging
from jax.sharding import Mesh

from cervix_jax import distributed, progress
from cervix_jax.command.preemption import StopRequest
from cervix_jax.data.experiment import (
    ExperimentData,
    divide,
    open_data,
    with_absolute_folders,
    with_batches,
)
from cervix_jax.data.identity import DataIdentity
from cervix_jax.data.splits import ONE_SPLIT
from cervix_jax.errors import InputError
from cervix_jax.evaluate.report_file import EvaluationReport, read_report
from cervix_jax.files.atomic import write_json
from cervix_jax.files.paths import user_path
from cervix_jax.jax_settings import as_in_every_run
from cervix_jax.runs import workdir
from cervix_jax.statistics.intervals import wilson_interval
from cervix_jax.training.check import check_config
from cervix_jax.training.hooks import EpochHook
from cervix_jax.training.run import alone, train_and_evaluate, training_mesh
from cervix_jax.training.same_data import common_identity, require_same_images

SUMMARISED = ("accuracy", "balanced_accuracy", "macro_f1", "nll")


def members(config: ml_collections.ConfigDict) -> list[ml_collections.ConfigDict]:
    """Return the configs of all runs, seed by seed.

    The seed of a run determines its weights, batches and augmentation; the division into folds
    keeps the seed `split.seed`. The paper's protocols have one split, so only their seeds vary.
    """
    folds = 1 if config.split.protocol in ONE_SPLIT else config.split.folds
    configs = []
    for seed in range(config.seed, config.seed + config.cross_validation.seeds):
        for fold in range(folds):
            member = config.copy_and_resolve_references()
            member.seed, member.split.fold, member.cross_validation.seeds = seed, fold, 0
            configs.append(member)
    return configs


def folder_of(folder: Path, member: ml_collections.ConfigDict) -> Path:
    """Return the folder of one of the `members` below the common workdir."""
    return folder / f"seed{member.seed}" / f"fold{member.split.fold}"


@as_in_every_run()
def cross_validate(
    config: ml_collections.ConfigDict,
    folder: str | Path,
    *,
    on_epoch: EpochHook | None = None,
) -> dict:
    """Train and evaluate every fold with every seed; skips finished runs.

    Args:
      config: a config with `cross_validation.seeds` of at least 1.
      folder: the common workdir; created if it does not exist.
      on_epoch: see `train_and_evaluate`; its values contain the `seed` and `fold` of the run.

    Returns:
      The content of `summary.json`, see `summarise`.

    Raises:
      InputError, Preempted, NonFiniteLossError: as `train_and_evaluate`; finished runs are kept,
        and the same command continues with the rest.
    """
    folder = user_path(folder, "folder")
    with StopRequest() as stop, alone(folder):
        return _cross_validate(config, folder, stop, on_epoch)


def _cross_validate(
    config: ml_collections.ConfigDict,
    folder: Path,
    stop: StopRequest,
    on_epoch: EpochHook | None,
) -> dict:
    check_config(config)
    mesh = training_mesh(config)
    config = with_absolute_folders(config)
    configs = members(config)
    if (folder / "config.json").is_file():
        workdir.claim(folder, config)  # checks that it is the same experiment
    began = common_identity([folder_of(folder, member) for member in configs])
    data: ExperimentData | None = None
    reports: list[tuple[int, EvaluationReport]] = []
    summary = {}
    for number, member in enumerate(progress.counted(configs, "runs", "run"), 1):
        own = folder_of(folder, member)
        path = own / "evaluate" / "test.json"
        report = read_report(path)
        if report is None:
            with stop.at_once("the preparation of the data"), distributed.all_or_none():
                show = distributed.is_main_process()
                if data is None:
                    data = _open(member, began, folder, mesh, progress=show)
                data = data.divided_by(member)
            workdir.claim(folder, config)
            logging.info("Run %d of %d: seed %d, fold %d", number, len(configs), member.seed,
                         member.split.fold)  # fmt: skip
            report = EvaluationReport.of(
                train_and_evaluate(member, own, data, on_epoch=on_epoch), path
            )
        reports.append((member.seed, report))
        summary = summarise(reports)
        if distributed.is_main_process():
            write_json(folder / "summary.json", summary)
    return summary


def _open(
    config: ml_collections.ConfigDict,
    began: DataIdentity | None,
    folder: Path,
    mesh: Mesh,
    *,
    progress: bool,
) -> ExperimentData:
    """Return the images of the finished runs, so that the remaining runs divide them identically.

    Raises:
      InputError: the images, their labels or their groups have changed.
    """
    data = open_data(config, mesh, progress=progress)
    if began is None:
        return data
    name = f"--workdir={folder}"
    dataset, found = require_same_images(data, began, name)
    if found.regrouped:
        raise InputError(
            f"{name}: {found.text()}, so the remaining folds would not match the finished ones. "
            "Restore the groups, or give another --workdir."
        )
    # The names of groups matter too: the division draws them in order of their names.
    same = dataset.described(groups=began.groups)
    return with_batches(config, same, divide(same, config), mesh, progress=progress)


def summarise(reports: Sequence[tuple[int, EvaluationReport]]) -> dict:
    """Return means and spreads over runs, and each seed's accuracy over all folds' test images.

    Args:
      reports: seed and test report of each run.

    Returns:
      `dataset, protocol, folds, runs` (seed, fold and metrics of each), `metrics` (name to `mean,
      sd, min, max` over the runs; sd with n - 1, None for one run) and `pooled` (for each seed
      `accuracy, accuracy_interval` (Wilson, 95 %) and `n`; folds of one seed share no test image).
    """
    first = reports[0][1]
    runs = [
        {"seed": seed}
        | {name: getattr(report, name) for name in ("fold", "n", "groups", "leakage", "step")}
        | {name: report.metric(name).estimate for name in SUMMARISED}
        for seed, report in reports
    ]
    metrics = {}
    for name in SUMMARISED:
        values = np.array([run[name] for run in runs])
        sd = float(values.std(ddof=1)) if len(values) > 1 else None
        metrics[name] = {"mean": float(values.mean()), "sd": sd}
        metrics[name] |= {"min": float(values.min()), "max": float(values.max())}
    pooled = []
    for seed in sorted({seed for seed, _ in reports}):
        matrices = [report.confusion_matrix for own, report in reports if own == seed]
        total = np.sum(matrices, axis=0)
        correct, n = int(np.trace(total)), int(total.sum())
        interval = list(wilson_interval(correct, n))
        pooled.append(
            {"seed": seed, "accuracy": correct / n, "accuracy_interval": interval, "n": n}
        )
    return {
        "dataset": first.dataset,
        "protocol": first.protocol,
        "folds": first.folds,
        "runs": runs,
        "metrics": metrics,
        "pooled": pooled,
    }


def table(summary: dict) -> str:
    """Return the summary as lines of text."""
    lines = [f"{summary['dataset']}, protocol {summary['protocol']}", "seed  fold  accuracy     n"]
    lines += [
        f"{run['seed']:4d}  {run['fold']:4d}  {run['accuracy']:8.4f}  {run['n']:4d}"
        for run in summary["runs"]
    ]
    accuracy = summary["metrics"]["accuracy"]
    spread = "" if accuracy["sd"] is None else f" ± {accuracy['sd']:.4f} (sd between runs)"
    lines.append(f"mean accuracy {accuracy['mean']:.4f}{spread}")
    for row in summary["pooled"]:
        low, high = row["accuracy_interval"]
        lines.append(
            f"seed {row['seed']}, all folds: {row['accuracy']:.4f} "
            f"(95 % {low:.3f} to {high:.3f}, n = {row['n']})"
        )
    return "\n".join(lines)
