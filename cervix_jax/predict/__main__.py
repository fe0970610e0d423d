r"""Classify images with the trained model of a run; write a table of class probabilities.

  python -m cervix_jax.predict --workdir=runs/rcan cells/ --out=predictions.csv
  python -m cervix_jax.predict --workdir=runs/rcan field.png --field=window --window=200 \
      --out=fields.csv

The arguments without a flag are image files, folders, wildcard patterns in quotes ('cells/*.png'),
or `-` for a list of paths on standard input. The table holds for every image the class, the
probabilities and two scores that flag images unlike the training images (out of distribution): a
low confidence, or a high energy (minus the log-sum-exp of the logits). If the run's validation
images were evaluated (by `evaluate`), the table also holds a conformal set: classes that
include the true one with the probability --coverage. `--html` also writes a page with counts, a
histogram of the confidence and thumbnails of the most and least certain images and of those with
the highest energy. `--field=window` and `--field=nuclei` predict whole fields of view (microscope
images of many cells): each field gets a row, a heat map and a GeoJSON file for QuPath.
`--field=cells` detects the cells of fields and whole-slide images: the table gets a row for each
cell, `cells_fields.csv` (for --out=cells.csv) a row for each field or slide, and each field or
slide gets an HTML page and a GeoJSON file:

  python -m cervix_jax.predict --workdir=runs/cells slide.svs --field=cells --out=cells.csv

`--resume` continues a command that was stopped. Only `--overwrite` replaces existing results.

Several machines can share the images: start the command on each, with `--shard=1/16` to `16/16`.
Under Slurm, SkyPilot and Kubernetes each machine finds its share (shard) without this flag. The
machine that finishes last writes the table. If no machine wrote it, this command does:

  python -m cervix_jax.predict --merge --out=predictions.csv
"""

import sys
from collections.abc import Iterator, Sequence
from io import BufferedIOBase
from typing import cast

from absl import flags

from cervix_jax.command.flags import run_flags
from cervix_jax.command.preemption import Preempted
from cervix_jax.command.run import EXIT_PREEMPTED, run_command
from cervix_jax.detect.detector import BLOBS, SHIPPED
from cervix_jax.errors import InputError
from cervix_jax.files.atomic import mark_for_excel
from cervix_jax.files.images import MAX_PIXELS
from cervix_jax.predict import inputs
from cervix_jax.predict.field_options import HEATMAPS, KINDS, FieldOptions
from cervix_jax.predict.finish import Predicted, merge_shards
from cervix_jax.predict.image_rows import ImageOptions
from cervix_jax.predict.overlays import OVERLAY_METHODS
from cervix_jax.predict.schedulers import AUTO
from cervix_jax.predict.workflow import predict_images
from cervix_jax.statistics.aggregation import RULES

GROUPS = {
    "The run": ["workdir", "step", "batch_size"],
    "Output": ["out", "html", "resume", "overwrite", "strict", "null", "excel", "progress"],
    "Many machines": ["shard", "merge"],
    "Images": [
        "coverage", "calibrated", "group", "aggregate", "overlay", "method", "feature_map",
        "max_pixels", "mpp",
    ],
    "Whole fields and slides": [
        "field", "detector", "min_nucleus", "window", "overlap", "min_contrast", "positions",
        "positions_width", "crop",
        "severity", "abnormal", "min_probability", "heatmap", "maps",
    ],
}  # fmt: skip

_UNITS = "fields or tile rows of slides"  # units of work of --field=cells


def main(argv: list[str]) -> int | None:
    """Command line."""
    args = flags.FLAGS
    if args.merge:
        predicted = _merge(argv[1:])
        _end(predicted)
        return None
    for name in ("workdir", "out"):
        if not args[name].value:
            raise InputError(f"--{name} is missing; give --workdir=<run> and --out=<file.csv>.")
    try:
        predicted = predict_images(
            args.workdir,
            _images(argv[1:], args.null),
            out=args.out,
            step=args.step,
            batch_size=args.batch_size,
            resume=args.resume,
            overwrite=args.overwrite,
            strict=args.strict,
            max_pixels=args.max_pixels,
            calibrated=args.calibrated,
            mpp=args.mpp,
            coverage=args.coverage,
            group=args.group,
            aggregate=args.aggregate,
            overlay=args.overlay,
            method=args.method,
            feature_map=args.feature_map,
            field=args.field,
            window=args.window,
            overlap=args.overlap,
            min_contrast=args.min_contrast,
            positions=args.positions,
            positions_width=args.positions_width,
            crop=args.crop,
            detector=args.detector,
            min_nucleus=args.min_nucleus,
            severity=args.severity,
            abnormal=args.abnormal,
            min_probability=args.min_probability,
            heatmap=args.heatmap,
            maps=args.maps,
            html=args.html,
            shard=args.shard,
        )
    except Preempted:
        return EXIT_PREEMPTED
    _end(predicted)
    return None


def _merge(images: Sequence[str]) -> Predicted:
    """Write the table of the shards; the shards' own command lines decided its contents."""
    args = flags.FLAGS
    known = {name for names in GROUPS.values() for name in names} - {
        "merge",
        "out",
        "excel",
        "progress",
    }
    given = [f"--{name}" for name in sorted(known) if args[name].present]
    if given or images:
        raise InputError(
            "--merge takes all settings from the shards; leave out "
            f"{', '.join([*given, *images[:3]])}."
        )
    if not args.out:
        raise InputError("--out is missing; give the path of the shards' table.")
    return merge_shards(args.out)


def _end(predicted: Predicted) -> None:
    args = flags.FLAGS
    if args.excel and not predicted.waiting:
        written = (predicted.skipped_path, predicted.groups_path, predicted.fields_path)
        for path in (predicted.path, *written):
            if path is not None and path.suffix == ".csv":
                mark_for_excel(path)
    _report(predicted)


def _images(arguments: Sequence[str], null: bool) -> Sequence[str] | Iterator[str]:
    """Images named on the command line, or with `-` the paths that arrive on standard input."""
    if inputs.STDIN not in arguments:
        return arguments
    inputs.check_arguments(arguments)
    # sys.stdin is None if the shell closed it (`<&-`).
    stdin = cast(BufferedIOBase, sys.stdin.buffer) if sys.stdin else None
    slides = flags.FLAGS.field == "cells"
    return inputs.list_images(arguments, stdin, b"\0" if null else b"\n", slides=slides)


def _report(predicted: Predicted) -> None:
    if predicted.waiting:
        part = predicted.shard.part_of(predicted.path)
        what = (
            f"{predicted.rows} cells in {predicted.images} {_UNITS} of shard {predicted.shard}"
            if flags.FLAGS.field == "cells"
            else f"{predicted.rows} of the {predicted.images} images of shard {predicted.shard} "
            "predicted"
        )
        print(f"{what}: {part}; no table yet: {predicted.waiting}")
        return
    if predicted.groups_path:
        alone = predicted.ungrouped
        left = f"; {alone} images match no group" if alone else ""
        print(f"{predicted.groups} groups by {predicted.rule}{left}: {predicted.groups_path}")
    if predicted.fields_path:
        print(f"{predicted.rows} cells in {predicted.images} {_UNITS}: {predicted.path}")
        print(f"fields and slides: {predicted.fields_path}")
        print(f"pages and GeoJSON: {predicted.maps}")
    else:
        print(f"{predicted.rows} of {predicted.images} images predicted: {predicted.path}")
    if predicted.html:
        print(f"page: {predicted.html}")
    if predicted.skipped_path:
        print(
            f"{predicted.skipped} left out; {predicted.skipped_path} gives the reason for each",
            file=sys.stderr,
        )
    if predicted.no_sets:
        print(f"the table has no conformal_set: {predicted.no_sets}.", file=sys.stderr)
    if predicted.maps and not predicted.fields_path:
        print(f"heat maps and GeoJSON: {predicted.maps}")


def define_flags() -> None:
    """Flags of this command."""
    run_flags("workdir", "step")
    flags.DEFINE_string("out", "", "Output table: a .csv or .jsonl file.")
    flags.DEFINE_string(
        "html", "",
        "HTML page of the images with counts, a histogram and thumbnails; default none.",
    )  # fmt: skip
    flags.DEFINE_integer(
        "batch_size",
        0,
        "Number of images classified together; 0: eval_batch_size of the run's config.",
    )
    flags.DEFINE_bool(
        "excel",
        False,
        "Start CSV files with a byte order mark, so that Excel shows special characters.",
    )
    flags.DEFINE_bool(
        "null",
        False,
        "Paths on standard input are separated by zero bytes, as `find -print0` writes them, not "
        "by line ends.",
    )
    flags.DEFINE_bool("resume", False, "Continue a command that was stopped.")
    flags.DEFINE_bool(
        "overwrite", False, "Replace an existing table, or the partial table of a stopped command."
    )
    flags.DEFINE_string(
        "shard",
        AUTO,
        "Share of the images for this machine, e.g. 3/16; auto: as set by Slurm, SkyPilot or "
        "Kubernetes, else all.",
    )
    flags.DEFINE_bool(
        "merge", False, "Write the table from the results of all shards, if no shard did."
    )
    flags.DEFINE_bool("strict", False, "Stop at the first image that cannot be read.")
    flags.DEFINE_integer(
        "max_pixels", MAX_PIXELS, "Maximum pixels of an image; larger ones are skipped."
    )
    flags.DEFINE_float(
        "mpp", 0.0,
        "Pixel size of the images in micrometres (microns per pixel); 0: from the slide file, "
        "else from the run's "
        "data set.",
    )  # fmt: skip
    flags.DEFINE_float(
        "coverage",
        ImageOptions.coverage,
        "Target coverage of conformal sets: share of images whose set contains the true class.",
    )
    flags.DEFINE_bool(
        "calibrated",
        False,
        "Calibrate probabilities: divide logits (class scores) by the temperature fitted on the "
        "validation images.",
    )
    flags.DEFINE_string(
        "group",
        "",
        "Also predict groups of images: 'parent' groups by folder; a regular expression, e.g. "
        "'slide([0-9]+)', names the group by the part of the path that its first pair of "
        "parentheses matches; default: no groups.",
    )
    flags.DEFINE_enum(
        "aggregate",
        ImageOptions.aggregate,
        list(RULES),
        "Rule that combines the images of a group; noisy_or: probability that at least one image "
        "has the class, normalised over the classes.",
    )
    flags.DEFINE_string(
        "overlay", "",
        "Folder for a PNG of each image with its attribution map (how much each pixel raises or "
        "lowers the score of the class); default none.",
    )  # fmt: skip
    flags.DEFINE_enum(
        "method", ImageOptions.method, list(OVERLAY_METHODS), "Attribution method of --overlay."
    )
    flags.DEFINE_string(
        "feature_map", ImageOptions.feature_map,
        "Layer for Grad-CAM, e.g. stage3; auto: the deepest with at least 7 x 7 positions.",
    )  # fmt: skip
    flags.DEFINE_enum(
        "field", None, KINDS,
        "Predict whole fields of view by a sliding window, at given nuclei, or at detected cells "
        "(also on slides).",
    )  # fmt: skip
    flags.DEFINE_string(
        "detector",
        SHIPPED,
        f"Cell detector: {SHIPPED} (shipped network), {BLOBS} (blob filter, no network), or the "
        "workdir of a detector run.",
    )
    flags.DEFINE_float(
        "min_nucleus",
        None,
        "Minimum detection score of a nucleus, 0 to 1; default: the threshold of the detector.",
    )
    flags.DEFINE_integer(
        "window",
        0,
        "Side of the sliding window in pixels of the field; needed with --field=window.",
    )
    flags.DEFINE_float(
        "overlap", FieldOptions.overlap, "Overlap of neighbouring windows as a share, 0 to 0.9."
    )
    flags.DEFINE_float(
        "min_contrast", 0.0,
        "Minimum contrast of a window: windows with a smaller standard deviation of grey values "
        "(0 to 255) are skipped as empty background.",
    )  # fmt: skip
    flags.DEFINE_string(
        "positions",
        "",
        "Positions of nuclei, needed with --field=nuclei: a table of image, x and y in pixels, or "
        "classifications.csv or .json of CRIC.",
    )
    flags.DEFINE_integer(
        "positions_width",
        0,
        "Width in pixels of the fields on which positions were marked; 0: the width of the "
        "given images.",
    )
    flags.DEFINE_integer(
        "crop",
        0,
        "Side of the square crop around a nucleus, in pixels of the field; 0: the physical area "
        "that the run's training images cover.",
    )
    flags.DEFINE_list(
        "severity", [],
        "All classes from normal to most severe, separated by commas; default: the order of the "
        "known class system or data set.",
    )  # fmt: skip
    flags.DEFINE_list(
        "abnormal", [],
        "Classes that count as abnormal in heat maps, in the abnormal share of cells and in the "
        "choice of suspicious cells, separated by commas; default: those of the known class "
        "system or data set.",
    )  # fmt: skip
    flags.DEFINE_float(
        "min_probability",
        FieldOptions.min_probability,
        "Minimum probability for a class to count as a field's worst finding.",
    )
    flags.DEFINE_enum(
        "heatmap",
        FieldOptions.heatmap,
        HEATMAPS,
        "Content of heat maps; abnormal: one map of the probability of an abnormal class; classes: "
        "one map per class; auto: abnormal if the abnormal classes are known, else classes.",
    )
    flags.DEFINE_string(
        "maps",
        "",
        "Folder for heat maps (HTML pages with --field=cells) and GeoJSON files; default: --out "
        "without its suffix.",
    )


if __name__ == "__main__":
    define_flags()
    flags.FLAGS.set_gnu_getopt(True)  # IMAGES before and after the flags
    run_command(main, positional=True, groups=GROUPS, alone=False)
