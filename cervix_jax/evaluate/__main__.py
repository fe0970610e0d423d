"""Evaluate a run: metrics with 95 % confidence intervals, leakage and calibration.

  python -m cervix_jax.evaluate --workdir=runs/rcan
  python -m cervix_jax.evaluate --workdir=runs/rcan --split=val --tta
  python -m cervix_jax.evaluate --workdir=runs/rcan --on=hospital_b/
  python -m cervix_jax.evaluate --predictions=predicted.csv --labels=labels.csv
  python -m cervix_jax.evaluate --predictions=predicted.csv --split_file=splits.csv
  python -m cervix_jax.evaluate --compare runs/rcan runs/densenet121
  python -m cervix_jax.evaluate --ensemble runs/a runs/b --out=runs/joined

The command writes `<split>.json`, `<split>_predictions.csv` and pictures to `<workdir>/evaluate`.
It reports leakage: the share of images whose group (field, slide, patient) also occurs in the
training or validation images. For a test split, it also evaluates the validation images if that is
not yet done, and writes `test_decisions.json`: calibration, conformal sets and decision thresholds,
fitted on the validation images and measured on the test images. `--on` evaluates a run on other
images, reports which of them the run was trained or validated on, and writes to
`<workdir>/external/<name>`.
`--compare` compares runs. `--ensemble` evaluates several runs as one.
"""

from pathlib import Path

from absl import flags

from cervix_jax.command.flags import class_map_flag, dataset_flags, run_flags
from cervix_jax.command.run import run_command
from cervix_jax.data.catalog import parse_data_settings
from cervix_jax.data.class_map import parse_class_map
from cervix_jax.data.splits import SPLITS
from cervix_jax.errors import InputError, shell_command
from cervix_jax.evaluate import workflow
from cervix_jax.evaluate.any_model import evaluate_file, file_place
from cervix_jax.evaluate.external import SPLIT, evaluate_on, place_of_external
from cervix_jax.evaluate.labelled_images import FOLDERS, is_data_set
from cervix_jax.evaluate.predictions_file import read_table, require_classes
from cervix_jax.evaluate.report_file import Metric
from cervix_jax.evaluate.stems import stem_of
from cervix_jax.evaluate.summary_text import aggregation_summary, decisions_summary, summary
from cervix_jax.files.atomic import mark_for_excel, read_json
from cervix_jax.runs.adaptation import WAYS
from cervix_jax.runs.run import load_run
from cervix_jax.statistics.aggregation import RULES
from cervix_jax.statistics.outliers import SCORES

SOURCES = ("workdir", "predictions", "compare", "ensemble")
GROUPS = {
    "What to evaluate": [*SOURCES, "on", "name", "labels", "split", "step"],
    "How to evaluate": ["tta", "adapt", "aggregate", "outliers", "validation", "split_file"],
    "Output": ["out", "excel", "progress"],
    "Data": ["class_map", "manual_dir", "data_dir", "setting", "check_counts"],
}


def main(argv: list[str]) -> None:
    """Command line."""
    args = flags.FLAGS
    given = [name for name in SOURCES if args[name].value]
    if len(given) != 1:
        raise InputError(
            "give one of --workdir (folder of a run), --predictions (a CSV file), --compare "
            "(two or more runs or CSV files) and --ensemble (several runs); e.g. python -m "
            "cervix_jax.evaluate --workdir=runs/rcan"
        )
    _refuse_misplaced(given[0])
    others = argv[1:]
    if args.compare:
        paths = _paths(args.compare, others)
        if len(paths) < 2:
            raise InputError(
                f"--compare needs two or more runs or files, not {len(paths)}, e.g. python -m "
                "cervix_jax.evaluate --compare runs/rcan runs/densenet121"
            )
        out = args.out or None
        print(
            workflow.tabulate_runs(
                paths, split=args.split, tta=args.tta, adapt=args.adapt or "", out=out
            ).text()
        )
        if out:
            if args.excel:
                mark_for_excel(Path(out) / "comparison.csv")
            print(f"written to {out}")
        return
    if others and not args.ensemble:
        raise InputError(f"unexpected argument {others[0]!r}; write options as --name=value.")
    # Read first: a faulty file must stop the command before anything is evaluated and written.
    strange = read_table(args.outliers, labelled=False) if args.outliers else None
    adapt = args.adapt or ""
    name = stem_of(args.split, tta=args.tta, adapt=adapt)
    if args.ensemble:
        if not args.out:
            raise InputError(
                "--ensemble needs --out, the folder to write its evaluation to, e.g. "
                "--out=runs/joined."
            )
        folder = Path(args.out)
        report = workflow.evaluate_ensemble(
            _paths(args.ensemble, others), out=folder, split=args.split, tta=args.tta, adapt=adapt
        )
    elif args.predictions:
        if strange is not None:
            labelled = not (args.labels or args.split_file)
            known = read_table(args.predictions, labelled=labelled).class_names
            require_classes(args.outliers, strange, known)
        folder, name = file_place(args.predictions)
        report = evaluate_file(
            args.predictions,
            labels=args.labels,
            validation=args.validation,
            split_file=args.split_file,
        )
    else:
        run = load_run(args.workdir, args.step)
        if strange is not None:
            require_classes(args.outliers, strange, run.class_names)
        class_map = parse_class_map(args.class_map, run.class_names)
        if args.on:
            folder, name = place_of_external(run, args.on, args.name), stem_of(SPLIT, tta=args.tta)
            report = evaluate_on(
                run, args.on, name=args.name, labels=args.labels, class_map=class_map,
                tta=args.tta, manual_dir=args.manual_dir, data_dir=args.data_dir,
                settings=parse_data_settings(
                    args.on if is_data_set(args.on) else FOLDERS, args.setting
                ),
                check_counts=args.check_counts, progress=True,
            )  # fmt: skip
        else:
            folder = Path(args.workdir) / "evaluate"
            report = workflow.evaluate_run(
                run, args.split, tta=args.tta, adapt=adapt, manual_dir=args.manual_dir,
                data_dir=args.data_dir,
                class_map=class_map, progress=True,
            )  # fmt: skip
    print(summary(report))
    decisions = read_json(folder / f"{name}_decisions.json")
    if decisions is not None:
        print(decisions_summary(decisions))
    elif args.on:
        step = "" if args.step == "best" else args.step
        hint = shell_command("evaluate", workdir=args.workdir, split="val", tta=args.tta, step=step)
        print(
            "no temperature, conformal sets or thresholds: these weights have no validation "
            f"predictions; run {hint} to make them"
        )
    if args.aggregate:
        print(aggregation_summary(report))
        workflow.evaluate_groups(folder, name, args.aggregate)
    if args.outliers:
        found = workflow.evaluate_outliers(folder, name, args.outliers)
        for score in SCORES:
            print(f"AUROC of {score} for detecting {args.outliers}: {Metric.of(found[score])}")
    if args.excel:
        for path in sorted(folder.glob("*.csv")):
            mark_for_excel(path)
    print(f"written to {folder}")


def _refuse_misplaced(source: str) -> None:
    """Refuse flags that have no effect with the chosen source.

    Raises:
      InputError: such a flag was given; the message names the flags that it needs.
    """
    args = flags.FLAGS
    run, table = source == "workdir", source == "predictions"
    on = run and bool(args.on)
    for name, fits, others in (
        ("on", run, "--workdir"),
        ("name", on, "--on"),
        ("setting", on, "--on"),
        ("labels", on or table, "--on or --predictions"),
        ("validation", table, "--predictions"),
        ("split_file", table, "--predictions"),
        ("adapt", not on and not table, "--workdir without --on, --compare or --ensemble"),
    ):
        if args[name].value and not fits:
            raise InputError(
                f"--{name} needs {others}; with --{source} alone it has no effect. Leave it out."
            )
    if on and args.split != "test":
        raise InputError(
            f"--split={args.split}: --on always evaluates all images; leave --split out."
        )


def _paths(first: str, others: list[str]) -> list[str]:
    return [part for part in [*first.split(","), *others] if part]


def define_flags() -> None:
    """Flags of this command."""
    run_flags()
    class_map_flag()
    dataset_flags(
        "With --workdir: labelled images to evaluate the run on: a data set, a folder of class "
        "folders, a CSV of path, label and group, or a table that `predict` wrote, with --labels.",
        name="on",
    )
    flags.DEFINE_string(
        "name", "", "With --on: name of the evaluation; default: the last part of --on."
    )
    flags.DEFINE_string(
        "labels", "", "Labels for a table of predictions: a CSV of path, label and optional group."
    )
    flags.DEFINE_bool(
        "excel",
        False,
        "Start CSV files with a byte order mark, so that Excel shows special characters.",
    )
    flags.DEFINE_enum("split", "test", SPLITS, "Split to evaluate.")
    flags.DEFINE_bool(
        "tta", False, "Test-time augmentation: average over 8 rotated and mirrored views."
    )
    flags.DEFINE_enum(
        "adapt",
        None,
        list(WAYS),
        "Adaptation to the stain of the evaluated images: batch normalisation statistics from all "
        "of them, or from each group; default none.",
    )
    flags.DEFINE_string(
        "predictions",
        None,
        "CSV of predictions to evaluate instead of a run (filename, group, label, p_<class>...).",
    )
    flags.DEFINE_string(
        "validation",
        "",
        "With --predictions: CSV of validation predictions, to fit the calibration temperature and "
        "decision thresholds.",
    )
    flags.DEFINE_string(
        "split_file",
        "",
        "With --predictions: split file that lists the test images, e.g. "
        "benchmarks/splits/sipakmed_cells-block.csv, see docs/benchmark.md.",
    )
    flags.DEFINE_string(
        "compare", None, "Runs, cross-validations or CSV files to compare: --compare A B C."
    )
    flags.DEFINE_string(
        "ensemble",
        None,
        "Runs to combine: predictions are averaged over runs of the same fold (e.g. seeds), and "
        "the test images of all folds are pooled in one table: --ensemble A B C.",
    )
    flags.DEFINE_string(
        "out", "", "Output folder; required with --ensemble; with --compare default none."
    )
    flags.DEFINE_enum(
        "aggregate",
        None,
        list(RULES),
        "Also evaluate groups of images, e.g. the cells of a field: rule that combines the images "
        "of a group; default none.",
    )
    flags.DEFINE_string(
        "outliers",
        "",
        "CSV of this model's predictions on out-of-distribution images, to measure how well "
        "confidence and energy detect them.",
    )


if __name__ == "__main__":
    define_flags()
    flags.FLAGS.set_gnu_getopt(True)  # --compare A B --split=val
    run_command(main, positional=True, groups=GROUPS)
