"""Evaluation of runs and files of predictions: typed functions that write `evaluate/`.

run = load_run("runs/rcan")
report = evaluate_run(run, "test")
report["metrics"]["macro_auroc"]["interval_by_group"]
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cervix_jax import distributed
from cervix_jax.data.class_map import ClassMap
from cervix_jax.data.splits import SPLITS
from cervix_jax.errors import InputError, check_choice
from cervix_jax.evaluate.members import check_members
from cervix_jax.evaluate.predictions_file import SUFFIX, read_table, require_classes
from cervix_jax.evaluate.report_file import EvaluationReport
from cervix_jax.evaluate.runs_table import RunsTable, read_evaluated
from cervix_jax.evaluate.sides import read_reports, read_side
from cervix_jax.evaluate.stems import stem_of
from cervix_jax.evaluate.write import evaluate_split, stored, write_report
from cervix_jax.files.atomic import read_json, write_json
from cervix_jax.runs.adaptation import WAYS
from cervix_jax.runs.inference import make_forward, over_symmetries
from cervix_jax.runs.run import Run, as_run
from cervix_jax.statistics.aggregation import aggregate
from cervix_jax.statistics.ensemble import ensemble
from cervix_jax.statistics.outliers import outlier_report
from cervix_jax.statistics.side_by_side import Comparison, compare


def evaluate_run(
    run: Run | str | Path,
    split: str = "test",
    *,
    tta: bool = False,
    adapt: str = "",
    out: str | Path | None = None,
    manual_dir: str = "",
    data_dir: str = "",
    class_map: ClassMap | None = None,
    progress: bool = False,
) -> dict[str, Any]:
    """Predict and evaluate a split of the run's data.

        report = evaluate_run("runs/rcan", "test")

    Writes `<split>.json`, `<split>_predictions.csv` and pictures. Before a test split, an existing
    validation split is evaluated too; thresholds and calibration fitted on it go to
    `<split>_decisions.json`.

    Args:
      run: a trained run, or its folder.
      split: "train", "val" or "test".
      tta: average the probabilities over 8 rotated and mirrored views; the files are then named
        `<split>_tta...`.
      adapt: "all" or "group" computes the statistics of batch normalisation from the images of the
        split, or of each group (cluster, slide) in it, see `cervix_jax.runs.adaptation`; the files
        are then named `<split>_adapted...` or `<split>_group_adapted...`. A prediction then depends
        on the other images: compare it only with others made the same way.
      out: output folder; default `<workdir>/evaluate`.
      manual_dir: folder of the raw files, if they have moved.
      data_dir: folder of the prepared data, if they have moved.
      class_map: classes with another name in the present data, see
        `cervix_jax.data.class_map.match_classes`.
      progress: show a progress bar.

    Returns:
      The contents of `<split>.json`, see `cervix_jax.evaluate.report_file`.

    Raises:
      InputError: the data cannot be found, differ from those of the run or lack the split, or the
        results cannot be written.
    """
    check_choice("--split", split, SPLITS)
    if adapt:
        check_choice("--adapt", adapt, WAYS)
    run = as_run(run)
    if adapt and run.finds_nuclei:
        raise InputError("--adapt is for classifiers; leave it out for a nucleus detector.")
    if out is None and run.workdir is None:
        raise InputError("out: a run that was not loaded from a folder needs an output folder.")
    folder = Path(out) if out is not None else Path(run.workdir or "") / "evaluate"
    data = run.open_data(manual_dir, data_dir, class_map=class_map, progress=progress)
    mesh = distributed.make_mesh()
    forward = make_forward(run.graphdef, run.config.model.normalization, mesh)
    if tta:
        forward = over_symmetries(forward, run.model.views)
    splits = [split]
    if (
        split == "test"
        and "val" in data.splits
        and not stored(folder, "val", run.step, tta=tta, adapt=adapt)
    ):
        splits.insert(0, "val")
    report: dict[str, Any] = {}
    for name in splits:
        report = evaluate_split(
            folder, name, forward, run.variables, data, run.config, run.step,
            tta=tta, adapt=adapt, graphdef=run.graphdef, progress=progress,
        )  # fmt: skip
    return report


def evaluate_ensemble(
    paths: Sequence[str | Path],
    *,
    out: str | Path,
    split: str = "test",
    tta: bool = False,
    adapt: str = "",
) -> dict[str, Any]:
    """Evaluate several runs as one: predictions averaged over seeds and joined over folds.

    Args:
      paths: runs, cross-validations or files of predictions, all with the same folds.
      out: output folder.
      split: split of the predictions.
      tta: use predictions averaged over 8 symmetries.
      adapt: use predictions with adapted batch statistics, see `evaluate_run`.

    Returns:
      The contents of `<split>.json`.

    Raises:
      InputError: predictions cannot be read, are on different images, or a run was trained on them.
    """
    stem = stem_of(split, tta=tta, adapt=adapt)
    sides = [read_side(path, stem) for path in paths]
    check_members(paths, sides, stem)
    joined = ensemble(sides)
    facts = _common_facts([report for path in paths for report in read_reports(path, stem)])
    facts["members"] = joined.members
    if len(joined.folds) > 1:
        facts["fold"] = list(joined.folds)
    return write_report(Path(out), stem, joined.table, facts)


def compare_runs(
    first: str | Path,
    second: str | Path,
    *,
    split: str = "test",
    tta: bool = False,
    adapt: str = "",
) -> Comparison:
    """Compare two runs, cross-validations or files of predictions on the same images.

        print(compare_runs("runs/rcan", "runs/densenet121").text())

    Args:
      first: run A.
      second: run B.
      split: split of the predictions.
      tta: use predictions averaged over 8 symmetries.
      adapt: use predictions with adapted batch statistics, see `evaluate_run`.

    Raises:
      InputError: predictions cannot be read, are on different images, or a run was trained on them.
    """
    stem = stem_of(split, tta=tta, adapt=adapt)
    sides = (read_side(first, stem), read_side(second, stem))
    check_members((first, second), sides, stem)
    return compare(*sides)


def tabulate_runs(
    paths: Sequence[str | Path],
    *,
    split: str = "test",
    tta: bool = False,
    adapt: str = "",
    out: str | Path | None = None,
    must_pair: bool = True,
) -> RunsTable:
    """Make a table of several runs, and compare each with the first on the same images.

        tabulate_runs(["runs/a", "runs/b", "runs/c"], out="runs/compared")

    Args:
      paths: runs, cross-validations or files of predictions.
      split: split of the predictions.
      tta: use predictions averaged over 8 symmetries.
      adapt: use predictions with adapted batch statistics, see `evaluate_run`.
      out: a folder for `comparison.json`, `comparison.csv` and `comparison.md`; None writes none.
      must_pair: of two, whether not having the same test images is an error.

    Raises:
      InputError: predictions cannot be read; for two paths also the errors of `compare_runs`. More
        than two may have different images; the table then gives the reason for each missing
        comparison.
    """
    stem = stem_of(split, tta=tta, adapt=adapt)
    runs = [run for path in paths for run in read_evaluated(path, stem)]
    found: list[tuple[str, str, Comparison | str]] = []
    for other in paths[1:]:
        try:
            result: Comparison | str = compare_runs(
                paths[0], other, split=split, tta=tta, adapt=adapt
            )
        except InputError as error:
            if must_pair and len(paths) == 2:
                raise
            result = str(error)
        found.append((str(paths[0]), str(other), result))
    table = RunsTable(runs, found)
    if out is not None:
        table.write(out)
    return table


def evaluate_groups(folder: str | Path, name: str, rule: str) -> dict[str, Any]:
    """Evaluate groups (clusters, slides) by the predictions of their images.

    Args:
      folder: folder of an evaluation.
      name: stem of its files, such as "test".
      rule: one of `cervix_jax.statistics.aggregation.RULES`.

    Returns:
      The contents of `<name>_by_group.json`.

    Raises:
      InputError: there is no such evaluation, or no group whose images share a label.
    """
    folder = Path(folder)
    report = read_json(folder / f"{name}.json")
    if report is None:
        raise InputError(f"{folder / name}.json: there is no such evaluation; evaluate first.")
    groups, _ = aggregate(read_table(folder / f"{name}{SUFFIX}"), rule)
    if not len(groups.labels):
        raise InputError(f"--aggregate={rule}: there is no group whose images share a label.")
    kept = (
        "dataset",
        "data_title",
        "protocol",
        "fold",
        "folds",
        "refit",
        "leakage",
        "leakage_train",
        "step",
        "external",
    )
    facts = {key: report[key] for key in kept if key in report}
    facts |= {"split": f"{report['split']} by group", "rule": rule}
    return write_report(folder, f"{name}_by_group", groups, facts)


def evaluate_outliers(folder: str | Path, name: str, outliers: str | Path) -> dict[str, Any]:
    """Measure how well confidence and energy detect out-of-distribution images.

    Args:
      folder: folder of an evaluation.
      name: stem of its files, such as "test".
      outliers: a CSV of the same model's predictions on the other images; labels are not used.

    Returns:
      The contents of `<name>_outliers.json`: `n`, `n_outliers`, and an entry for each score.

    Raises:
      InputError: a file cannot be read, or the two have different classes.
    """
    table = read_table(Path(folder) / f"{name}{SUFFIX}")
    strange = read_table(outliers, labelled=False)
    require_classes(outliers, strange, table.class_names)
    found = outlier_report(table, strange) | {"outliers": str(outliers)}
    write_json(Path(folder) / f"{name}_outliers.json", found)
    return found


def _common_facts(reports: Sequence[EvaluationReport]) -> dict[str, Any]:
    """Facts on which the reports of all members agree; None if they differ.

    Leakage is averaged over images.

    Args:
      reports: the members' reports; empty for files of predictions.
    """
    facts: dict[str, Any] = {"dataset": "predictions", "split": "several runs"}
    facts |= {"protocol": None, "leakage": None}
    if not reports:
        return facts
    for name in (
        "dataset",
        "data_title",
        "split",
        "protocol",
        "fold",
        "folds",
        "refit",
        "tta",
        "adapt",
    ):
        values = [getattr(report, name) for report in reports]
        facts[name] = values[0] if values.count(values[0]) == len(values) else None
    total = sum(report.n for report in reports)
    for name in ("leakage", "leakage_train"):
        shares = [getattr(report, name) for report in reports]
        if None not in shares:
            counts = [report.n * share for report, share in zip(reports, shares, strict=True)]
            facts[name] = sum(counts) / total
    return facts
