"""Predict images: the class and probabilities that a run gives them, as a table.

  python -m cervix_jax.predict --workdir=runs/rcan cells/ --out=predictions.csv
  python -m cervix_jax.predict --workdir=runs/rcan field.png --field=window --out=fields.csv

IMAGES are files, folders, quoted patterns, or `-` for a list of paths on standard input. The table
has the class, the probabilities and two scores of strangeness of every image, and conformal sets
where the run was evaluated with validation images. `--field=window` and `--field=nuclei` look at
whole fields instead: a row, a heat map and a GeoJSON file for QuPath each.

A command that was stopped goes on with `--resume`; nothing is overwritten without `--overwrite`.
"""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from absl import flags

from cervix_jax.command.run import EXIT_PREEMPTED, run_command
from cervix_jax.command.startup import cache_compilations, report_failures_once
from cervix_jax.data.cric_nuclei import DEFAULT_SIDE, PUBLISHED_WIDTH
from cervix_jax.errors import InputError
from cervix_jax.files import atomic
from cervix_jax.files.images import MAX_PIXELS, only_our_checks
from cervix_jax.predict import inputs
from cervix_jax.predict.calibration import Calibration, read_calibration
from cervix_jax.predict.fields import HEATMAPS, KINDS, FieldSettings, predict_fields
from cervix_jax.predict.groups import group_columns, group_rows, group_rule
from cervix_jax.predict.images import ImageSettings, predict_images
from cervix_jax.predict.network import Network
from cervix_jax.predict.output import Output, beside, check_path, csv_text
from cervix_jax.predict.overlays import OVERLAY_METHODS, Overlays
from cervix_jax.predict.positions import Positions
from cervix_jax.predict.severity import severity_of
from cervix_jax.predict.windows import check_window
from cervix_jax.runs.run import Run, load_run
from cervix_jax.statistics.aggregation import RULES
from cervix_jax.training.preemption import Preempted, StopRequest

# Flags that change what a row holds; a command that goes on must have the same.
GROUPS = {
    "The run": ["workdir", "step", "batch_size"],
    "Output": ["out", "resume", "overwrite", "strict", "null"],
    "Images": [
        "coverage", "calibrated", "group", "aggregate", "overlay", "method", "max_pixels",
    ],
    "Whole fields": [
        "field", "window", "overlap", "min_contrast", "positions", "positions_width", "crop",
        "severity", "abnormal", "min_probability", "heatmap", "maps",
    ],
}  # fmt: skip
_OF_IMAGES = ("group", "coverage", "calibrated", "overlay", "method", "max_pixels")
_OF_FIELDS = (
    "field", "window", "overlap", "min_contrast", "crop", "positions", "positions_width",
    "severity", "abnormal", "min_probability", "heatmap", "maps", "calibrated", "max_pixels",
)  # fmt: skip


def main(argv: list[str]) -> int | None:
    """Command line."""
    args = flags.FLAGS
    for name in ("workdir", "out"):
        if not args[name].value:
            raise InputError(f"--{name} is missing; give --workdir=<run> and --out=<file.csv>.")
    check_path(Path(args.out), resume=args.resume, overwrite=args.overwrite)
    _check_flags(args)
    inputs.check_arguments(argv[1:])
    report_failures_once()
    cache_compilations()
    with only_our_checks(), StopRequest() as stop:
        total = None
        if inputs.STDIN not in argv[1:]:
            total = sum(1 for _ in inputs.list_images(argv[1:]))
            if not total:
                raise InputError(f"{', '.join(argv[1:])}: there is no image in it; name one.")
        separator = b"\0" if args.null else b"\n"
        stdin = sys.stdin.buffer if sys.stdin else None  # None where it was closed (`<&-`)
        paths = inputs.list_images(argv[1:], stdin, separator)
        run = load_run(args.workdir, args.step)
        predict = _predict_fields if args.field else _predict_images
        return predict(run, args, paths, total, stop)


def _check_flags(args: flags.FlagValues) -> None:
    """Refuse flags that make no sense, alone or together, before any work."""
    if args.max_pixels < 1:
        raise InputError(f"--max_pixels={args.max_pixels}: give a positive number of pixels.")
    if not 0 < args.coverage < 1:
        raise InputError(f"--coverage={args.coverage:g}: give a share, e.g. 0.95.")
    if args.field:
        for name in ("group", "overlay"):
            if args[name].value:
                raise InputError(f"--{name} is for images, --field for fields; give one of them.")
        if not 0 <= args.min_probability <= 1:
            raise InputError(f"--min_probability={args.min_probability:g}: give 0 to 1.")
        if not args.min_contrast >= 0:
            raise InputError(f"--min_contrast={args.min_contrast:g}: give 0 (keep all) or more.")
    elif args.group:
        group_rule(args.group)
    for name, field in (("window", "window"), ("positions", "nuclei"), ("crop", "nuclei")):
        if args[name].value and args.field != field:
            raise InputError(f"--{name} goes with --field={field}; add that.")
    if args.field == "window":
        check_window(args.window, args.overlap)
    if args.field == "nuclei" and not args.positions:
        raise InputError("--field=nuclei needs --positions=FILE, a CSV with image, x and y.")
    if args.crop < 0:
        raise InputError(f"--crop={args.crop}: give a side in pixels.")


def _predict_images(
    run: Run, args: flags.FlagValues, paths: Iterator[str], total: int | None, stop: StopRequest
) -> int | None:
    calibration = read_calibration(args.workdir, run.step, args.coverage)
    network = _network(run, args, calibration)
    if calibration.missing:
        print(f"no conformal sets: {calibration.missing}.", file=sys.stderr)
    overlays = None
    if args.overlay:
        overlays = Overlays(args.overlay, args.method, network, args.max_pixels)
    group_of = group_rule(args.group) if args.group else None
    settings = ImageSettings(group_of, calibration, overlays, args.strict, args.max_pixels)
    facts = {"threshold": str(calibration.threshold)}
    output = _open(args, network, settings.columns(run.class_names), _OF_IMAGES, facts)

    def work() -> None:
        predict_images(network, output.remaining(paths), output, settings, stop, total)
        if group_of and output.rows:
            _write_groups(output, run, args.aggregate)

    return _see_through(output, work)


def _predict_fields(
    run: Run, args: flags.FlagValues, paths: Iterator[str], total: int | None, stop: StopRequest
) -> int | None:
    positions = None
    side, reference = args.window, 0
    if args.field == "nuclei":
        positions = Positions(args.positions, args.positions_width)
        listed = list(paths)
        paths, total = iter(listed), len(listed)
        if absent := positions.check(listed, args.max_pixels):
            print(
                f"{len(absent)} images with positions are not among those given, e.g. {absent[0]}.",
                file=sys.stderr,
            )
        side, reference = _square_about_nuclei(run, args.crop)
    severity = severity_of(run.class_names, args.severity, args.abnormal)
    print(f"severity ({severity.source}): {severity.text()}", file=sys.stderr)
    if args.heatmap == "abnormal" and severity.abnormal is None:
        raise InputError("--heatmap=abnormal: say with --abnormal=a,b which classes are.")
    kind = "classes" if args.heatmap == "classes" or severity.abnormal is None else "abnormal"
    folder = Path(args.maps) if args.maps else Path(args.out).with_suffix("")
    network = _network(run, args, read_calibration(args.workdir, run.step, args.coverage))
    settings = FieldSettings(
        args.field, side, reference, args.overlap, args.min_contrast, positions, severity,
        args.min_probability, kind, folder, args.strict, args.max_pixels,
    )  # fmt: skip
    output = _open(args, network, settings.columns(run.class_names), _OF_FIELDS, {})

    def work() -> None:
        predict_fields(network, output.remaining(paths), output, settings, stop, total)

    code = _see_through(output, work)
    if code is None:
        print(f"heat maps and GeoJSON: {folder}")
    return code


def _square_about_nuclei(run: Run, crop: int) -> tuple[int, int]:
    """Side of the square about a nucleus, and the width of the field it belongs to, or 0."""
    if crop:
        return crop, 0
    if run.config.data.dataset == "cric/cell":  # as the network was trained
        return run.config.data.settings.get("side") or DEFAULT_SIDE, PUBLISHED_WIDTH
    raise InputError(
        "--crop is missing: give the side of the square about each nucleus in pixels; it should "
        "show as much of a cell as the images that the network was trained on."
    )


def _network(run: Run, args: flags.FlagValues, calibration: Calibration) -> Network:
    if args.calibrated and calibration.temperature is None:
        raise InputError(f"--calibrated: there is no temperature: {calibration.missing}.")
    return Network(run, args.batch_size, calibration.temperature if args.calibrated else None)


def _open(
    args: flags.FlagValues,
    network: Network,
    columns: Sequence[str],
    deciding: Sequence[str],
    facts: Mapping[str, object],
) -> Output:
    given = {f"--{name}": args[name].value for name in deciding}
    return Output(
        args.out,
        columns,
        {**network.facts(), **given, **facts},
        resume=args.resume,
        overwrite=args.overwrite,
    )


def _see_through(output: Output, work: Callable[[], None]) -> int | None:
    """Do the work, then give the table its name; where it is stopped, say how to go on."""
    with atomic.storage_named(output.path), output:
        try:
            work()
        except (Preempted, KeyboardInterrupt) as error:
            print(f"stopped after {output.images} images; {_way_on(output)}", file=sys.stderr)
            if isinstance(error, KeyboardInterrupt):
                raise
            return EXIT_PREEMPTED
        output.finish()
    print(f"{output.rows} of {output.images} images predicted: {output.path}")
    if output.skipped:
        print(
            f"{output.skipped} left out, with the reason of each in {output.skipped_path}",
            file=sys.stderr,
        )
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
    flags.DEFINE_enum("method", "grad_cam", list(OVERLAY_METHODS), "What explains.")
    flags.DEFINE_enum("field", None, KINDS, "Whole fields: a sliding window, or known nuclei.")
    flags.DEFINE_integer("window", 0, "Side of the window in pixels of the field.")
    flags.DEFINE_float("overlap", 0.5, "Share of a window that the next one covers too, 0 to 0.9.")
    flags.DEFINE_float(
        "min_contrast", 0.0,
        "Windows with a smaller standard deviation of grey (0 to 255) are left out as empty.",
    )  # fmt: skip
    flags.DEFINE_string("positions", "", "Nuclei: a CSV of image, x, y, or CRIC's own file.")
    flags.DEFINE_integer(
        "positions_width", 0, "Width of the fields that positions are given in, if not as here."
    )
    flags.DEFINE_integer("crop", 0, "Side of the square about a nucleus, in pixels of the field.")
    flags.DEFINE_list("severity", [], "All classes from harmless to worst, with commas.")
    flags.DEFINE_list("abnormal", [], "Classes that the heat map counts as abnormal.")
    flags.DEFINE_float(
        "min_probability", 0.5, "What a class needs somewhere in a field to count as its worst."
    )
    flags.DEFINE_enum("heatmap", "auto", HEATMAPS, "What heat maps show; classes: one a class.")
    flags.DEFINE_string("maps", "", "Folder of heat maps and GeoJSON; default: as --out.")


if __name__ == "__main__":
    define_flags()
    flags.FLAGS.set_gnu_getopt(True)  # IMAGES before and after the flags
    run_command(main, positional=True, groups=GROUPS)
