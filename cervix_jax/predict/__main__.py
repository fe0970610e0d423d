"""`python -m cervix_jax.predict --workdir=DIR IMAGES... --out=FILE.csv`: what a run says of images.

IMAGES are files, folders, quoted patterns, or `-` for a list of paths on standard input. The table
has the class, the probabilities and two scores of strangeness of every image, and conformal sets
where the run was evaluated with validation images. `--field=window` and `--field=nuclei` look at
whole fields instead: a row, a heat map and a GeoJSON file for QuPath each.

A command that was stopped goes on with `--resume`; nothing is overwritten without `--overwrite`.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

from absl import flags

from cervix_jax import atomic, cli
from cervix_jax.cli import EXIT_PREEMPTED
from cervix_jax.errors import InputError
from cervix_jax.predict import inputs
from cervix_jax.predict.calibration import read_calibration
from cervix_jax.predict.groups import group_columns, group_rows, group_rule
from cervix_jax.predict.images import ImageSettings, predict_images
from cervix_jax.predict.network import Network
from cervix_jax.predict.output import Output, beside, check_path, csv_text
from cervix_jax.predict.overlays import METHODS, Overlays
from cervix_jax.predict.reading import check_max_pixels, own_pixel_limit
from cervix_jax.preemption import Preempted, StopRequest
from cervix_jax.run import Run, load_run
from cervix_jax.startup import cache_compilations, report_failures_once
from cervix_jax.statistics.aggregation import RULES
from tfds_builders.images import MAX_PIXELS

# Flags that change what a row holds; a command that goes on must have the same.
_DECIDING = ("group", "coverage", "calibrated", "overlay", "method", "max_pixels")


def main(argv: list[str]) -> int | None:
    """Command line."""
    args = flags.FLAGS
    for name in ("workdir", "out"):
        if not args[name].value:
            raise InputError(f"--{name} is missing; give --workdir=<run> and --out=<file.csv>.")
    check_path(Path(args.out), resume=args.resume, overwrite=args.overwrite)
    check_max_pixels(args.max_pixels)
    inputs.check_arguments(argv[1:])
    if args.group:
        group_rule(args.group)
    report_failures_once()
    cache_compilations()
    run = load_run(args.workdir, args.step)
    total = None
    if inputs.STDIN not in argv[1:]:
        total = sum(1 for _ in inputs.list_images(argv[1:]))
        if not total:
            raise InputError(f"{', '.join(argv[1:])}: no image in there; name one.")
    with own_pixel_limit(), StopRequest() as stop:
        return _run_images(run, args, _listed(argv[1:], args.null), total, stop)


def _listed(arguments: list[str], null: bool) -> Iterator[str]:
    return inputs.list_images(arguments, sys.stdin.buffer, b"\0" if null else b"\n")


def _run_images(
    run: Run, args: flags.FlagValues, paths: Iterator[str], total: int | None, stop: StopRequest
) -> int | None:
    calibration = read_calibration(args.workdir, run.step, args.coverage)
    if calibration.missing and args.calibrated:
        raise InputError(f"--calibrated: there is no temperature: {calibration.missing}.")
    if calibration.missing:
        print(f"no conformal sets: {calibration.missing}.", file=sys.stderr)
    temperature = calibration.temperature if args.calibrated else None
    network = Network(run, args.batch_size, temperature)
    overlays = None
    if args.overlay:
        overlays = Overlays(args.overlay, args.method, network, args.max_pixels)
    group_of = group_rule(args.group) if args.group else None
    settings = ImageSettings(group_of, calibration, overlays, args.strict, args.max_pixels)
    facts = network.facts() | {f"--{name}": args[name].value for name in _DECIDING}
    output = Output(
        args.out,
        settings.columns(run.class_names),
        facts | {"threshold": str(calibration.threshold)},
        resume=args.resume,
        overwrite=args.overwrite,
    )
    with output:
        try:
            predict_images(network, output.remaining(paths), output, settings, stop, total)
        except (Preempted, KeyboardInterrupt) as error:
            print(f"stopped after {output.images} images; {_way_on(output)}", file=sys.stderr)
            if isinstance(error, KeyboardInterrupt):
                raise
            return EXIT_PREEMPTED
        if group_of:
            _write_groups(output, run, args.aggregate)
        output.finish()
    _summary(output)
    return None


def _way_on(output: Output) -> str:
    if not output.images:
        return "nothing was done yet."
    return f"they are in {output.part}, and the same command with --resume goes on."


def _write_groups(output: Output, run: Run, rule: str) -> None:
    """Write the table of groups, before the table of images gets its name."""
    alone = 0

    def grouped():
        nonlocal alone
        for row in output.read():
            alone += not row["group"]
            yield row

    rows = group_rows(grouped(), run.class_names, rule)
    path = beside(output.path, "groups")
    with atomic.replacing(path) as temporary:
        temporary.write_bytes(csv_text([group_columns(run.class_names), *rows]))
    left = f"; {alone} images match no group" if alone else ""
    print(f"{len(rows)} groups by {rule}{left}: {path}")


def _summary(output: Output) -> None:
    print(f"{output.rows} of {output.images} images predicted: {output.path}")
    if output.skipped:
        print(
            f"{output.skipped} left out, with the reason of each in {output.skipped_path}",
            file=sys.stderr,
        )


def define_flags() -> None:
    """Flags of this command."""
    flags.DEFINE_string("workdir", "", "Folder of the run.")
    flags.DEFINE_string("out", "", "The table: a .csv or .jsonl file.")
    flags.DEFINE_string("step", "best", "Checkpoint: best, latest, or a step.")
    flags.DEFINE_integer("batch_size", 0, "Images at a time; 0 takes the run's eval_batch_size.")
    flags.DEFINE_bool("null", False, "Paths on standard input end with NUL (find -print0).")
    flags.DEFINE_bool("resume", False, "Go on with a command that was stopped.")
    flags.DEFINE_bool("overwrite", False, "Replace a table, or a part of one, that is there.")
    flags.DEFINE_bool("strict", False, "Fail at the first image that cannot be read.")
    flags.DEFINE_integer("max_pixels", MAX_PIXELS, "Images with more pixels are not decoded.")
    flags.DEFINE_float("coverage", 0.95, "How often a conformal set shall hold the true class.")
    flags.DEFINE_bool("calibrated", False, "Divide logits by the temperature of the evaluation.")
    flags.DEFINE_string(
        "group", "", "Also predict groups: parent, or a pattern whose first (group) names it."
    )
    flags.DEFINE_enum(
        "aggregate", "mean_log_probability", list(RULES), "How images make up their group."
    )
    flags.DEFINE_string("overlay", "", "Folder for a PNG of each image with its explanation.")
    flags.DEFINE_enum("method", "grad_cam", list(METHODS), "What explains.")


if __name__ == "__main__":
    define_flags()
    flags.FLAGS.set_gnu_getopt(True)  # IMAGES before and after the flags
    cli.run(main, positional=True)
