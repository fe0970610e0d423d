"""Evaluate a run: metrics with 95 % intervals, and what a reader must know of them.

  python -m cervix_jax.evaluate --workdir=runs/rcan
  python -m cervix_jax.evaluate --workdir=runs/rcan --split=val --tta
  python -m cervix_jax.evaluate --predictions=predictions.csv
  python -m cervix_jax.evaluate --compare runs/rcan runs/densenet121
  python -m cervix_jax.evaluate --ensemble runs/a runs/b --out=runs/joined

Writes `evaluate/<split>.json`, `<split>_predictions.csv` and pictures; where validation predictions
of the same weights lie there, also `<split>_decisions.json`. With `--compare` it compares two runs,
with `--ensemble` it makes several one.
"""

import json
from pathlib import Path

from absl import flags

from cervix_jax import distributed
from cervix_jax.command.run import run_command
from cervix_jax.data.experiment import open_data
from cervix_jax.data.splits import SPLITS
from cervix_jax.errors import InputError
from cervix_jax.evaluate.predictions_file import SUFFIX, read_table
from cervix_jax.evaluate.sides import read_reports, read_side
from cervix_jax.evaluate.write import TTA, stored, write_evaluation, write_report
from cervix_jax.files.atomic import write_json
from cervix_jax.runs.inference import (
    make_forward,
    over_symmetries,
    predict_split,
)
from cervix_jax.runs.run import load_run
from cervix_jax.statistics import side_by_side
from cervix_jax.statistics.aggregation import RULES, aggregate
from cervix_jax.statistics.ensemble import common_facts, ensemble
from cervix_jax.statistics.outliers import outlier_report
from cervix_jax.statistics.summary import (
    aggregation_summary,
    decisions_summary,
    shown,
    summary,
)
from cervix_jax.statistics.table import PredictionTable

SOURCES = ("workdir", "predictions", "compare", "ensemble")
GROUPS = {
    "What to evaluate": [*SOURCES, "split", "step", "out"],
    "How": ["tta", "aggregate", "outliers", "validation"],
    "Data": ["manual_dir", "data_dir"],
}


def main(argv: list[str]) -> None:
    """Command line."""
    args = flags.FLAGS
    stem = f"{args.split}{TTA if args.tta else ''}"
    given = [name for name in SOURCES if args[name].value]
    if len(given) != 1:
        raise InputError(
            "give one of --workdir=DIR (a run), --predictions=FILE (a CSV), --compare A B and "
            "--ensemble A B."
        )
    others = argv[1:]
    if args.compare:
        paths = _paths(args.compare, others)
        if len(paths) != 2:
            raise InputError(f"--compare takes two runs or files, not {len(paths)}: --compare A B.")
        sides = [read_side(path, stem) for path in paths]
        print(side_by_side.text(side_by_side.compare(*sides), *sides))
        return
    if others and not args.ensemble:
        raise InputError(f"unexpected argument {others[0]!r}; options are written --name=value.")
    # Before anything is evaluated and written.
    strange = read_table(args.outliers, labelled=False) if args.outliers else None
    if args.ensemble:
        folder, name = _evaluate_ensemble(_paths(args.ensemble, others), stem, args.out), stem
    elif args.predictions:
        folder, name = _evaluate_file(args, strange)
    else:
        folder, name = _evaluate_run(args), stem
    report = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
    print(summary(report))
    decisions = folder / f"{name}_decisions.json"
    if decisions.is_file():
        print(decisions_summary(json.loads(decisions.read_text(encoding="utf-8"))))
    table = read_table(folder / f"{name}{SUFFIX}")
    if args.aggregate:
        print(aggregation_summary(report))
        _write_groups(folder, name, table, args.aggregate, report)
    if strange is not None:
        _require_classes(args.outliers, strange, table)
        found = outlier_report(table, strange)
        write_json(folder / f"{name}_outliers.json", found | {"outliers": args.outliers})
        for score in ("max_softmax", "energy"):
            print(f"AUROC against {args.outliers} by {score}: {shown(found[score])}")
    print(f"written to {folder}")


def _paths(first: str, others: list[str]) -> list[str]:
    return [part for part in [*first.split(","), *others] if part]


def _evaluate_ensemble(paths: list[str], stem: str, out: str) -> Path:
    """Evaluate several runs as one."""
    if not out:
        raise InputError("--ensemble needs --out=DIR, where its evaluation goes.")
    sides = [read_side(path, stem) for path in paths]
    joined = ensemble(sides)
    reports = [report for path in paths for report in read_reports(path, stem)]
    facts = common_facts(reports) | {
        "members": joined.members,
        "groups": len(set(joined.table.groups.tolist())),
    }
    if len(joined.folds) > 1:
        facts |= {"fold": list(joined.folds)}
    write_report(Path(out), stem, joined.table, facts)
    return Path(out)


def _evaluate_run(args: flags.FlagValues) -> Path:
    """Predict and evaluate a split; for a test also validation, which decisions are made on."""
    run = load_run(args.workdir, args.step)
    mesh = distributed.make_mesh()
    data = open_data(run.config, mesh, manual_dir=args.manual_dir, data_dir=args.data_dir)
    forward = make_forward(run.graphdef, run.config.model.normalization, mesh)
    folder = Path(args.workdir) / "evaluate"
    ending = ""
    if args.tta:
        forward, ending = over_symmetries(forward), TTA
    splits = [args.split]
    known = stored(folder, f"val{ending}", run.step)
    if args.split == "test" and "val" in data.splits and not known:
        splits.insert(0, "val")
    for split in splits:
        predictions = predict_split(
            forward,
            run.variables,
            data.pipeline,
            data.indices(split),
            run.config.eval_batch_size,
            progress=split,
        )
        write_evaluation(folder, split, predictions, data, run.config, run.step, tta=args.tta)
    return folder


def _require_classes(path: str, table: PredictionTable, evaluated: PredictionTable) -> None:
    if table.class_names != evaluated.class_names:
        raise InputError(
            f"{path}: its classes are not those of the predictions evaluated, in their order."
        )


def _evaluate_file(args: flags.FlagValues, strange: PredictionTable | None) -> tuple[Path, str]:
    """Evaluate predictions of whatever model, into a folder beside their file."""
    path = Path(args.predictions)
    table = read_table(path)
    name = path.name.removesuffix(".csv").removesuffix("_predictions")
    facts = {"dataset": path.name, "split": "predictions", "protocol": None, "leakage": None}
    facts["groups"] = len(set(table.groups.tolist()))
    known = read_table(args.validation) if args.validation else None
    if known is not None:
        _require_classes(args.validation, known, table)
    if strange is not None:
        _require_classes(args.outliers, strange, table)
    folder = path.with_name(f"{path.name.removesuffix('.csv')}_evaluation")
    write_report(folder, name, table, facts, known)
    return folder, name


def _write_groups(folder: Path, name: str, table: PredictionTable, rule: str, report: dict) -> None:
    groups, _ = aggregate(table, rule)
    if not len(groups.labels):
        raise InputError(f"--aggregate={rule}: there is no group whose images share a label.")
    kept = ("dataset", "protocol", "fold", "folds", "refit", "leakage", "leakage_train", "step")
    facts = {key: report[key] for key in kept if key in report}
    facts |= {"split": f"{report['split']} by group", "rule": rule, "groups": len(groups.labels)}
    write_report(folder, f"{name}_by_group", groups, facts)


def define_flags() -> None:
    """Flags of this command."""
    flags.DEFINE_string("workdir", None, "Folder of the run.")
    flags.DEFINE_enum("split", "test", SPLITS, "Which split to evaluate.")
    flags.DEFINE_bool("tta", False, "Mean of the probabilities over 8 turned and mirrored views.")
    flags.DEFINE_string("step", "best", "Checkpoint: best, latest, or a step.")
    flags.DEFINE_string("manual_dir", "", "Where the raw data lies, if it moved since training.")
    flags.DEFINE_string("data_dir", "", "Where prepared data lies, if it moved since training.")
    flags.DEFINE_string(
        "predictions", None, "Evaluate this CSV (filename, group, label, p_<class>...), not a run."
    )
    flags.DEFINE_string(
        "validation",
        "",
        "With --predictions: the CSV that temperature and thresholds are fitted on.",
    )
    flags.DEFINE_string(
        "compare", None, "Compare two runs, cross-validations or CSV files: --compare A B."
    )
    flags.DEFINE_string(
        "ensemble",
        None,
        "Average runs of the same folds, e.g. seeds, and put folds together: --ensemble A B C.",
    )
    flags.DEFINE_string("out", "", "With --ensemble: the folder that is written.")
    flags.DEFINE_enum(
        "aggregate",
        None,
        list(RULES),
        "Also evaluate groups (clusters, slides), joined by this rule.",
    )
    flags.DEFINE_string(
        "outliers", "", "CSV of this model's predictions on other images, to be told apart."
    )


if __name__ == "__main__":
    define_flags()
    flags.FLAGS.set_gnu_getopt(True)  # --compare A B --split=val
    run_command(main, positional=True, groups=GROUPS)
