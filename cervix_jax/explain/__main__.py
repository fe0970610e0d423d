"""Draw attribution maps of the images of a run, and measure the quality of the maps.

  python -m cervix_jax.explain --workdir=runs/rcan
  python -m cervix_jax.explain --workdir=runs/rcan --method=saliency,grad_cam --images=16

An attribution map gives each pixel a number: how much the pixel raises or lowers the score of a
class. The command writes these files to `<workdir>/explain`: `index.html` (a page of all the
following), `maps/<method>.npz` (raw, signed maps), `sheets/<method>.png` (images beside their
maps), `measures.json`, `measures.csv` and `figure.png` (as in the figure of Wang et al. 2021, arXiv
2106.00557). If the model weights its channels (channel attention), it also writes
`channel_attention.csv` and `channel_attention.png`. If the command is repeated, it skips finished
files. With `--dataset`, the command explains images of another data set and measures the share of
the attribution on the nuclei. docs/explanations.md describes all methods and measures.

Fields of view and slides, one map for each cell and one for the whole field:

  python -m cervix_jax.explain --workdir=runs/rcan --cells=cells.csv --cell=12,57 --mpp=0.25
  python -m cervix_jax.explain --workdir=runs/rcan --fields=cervix_phantom/multi_cell

The first command explains cells of the table that `predict --field=cells` wrote. The second command
measures the share of the attribution on the marked nuclei in the fields of a data set.
"""

from typing import Any, Literal, get_args

from absl import flags

from cervix_jax.command.flags import class_map_flag, dataset_flags, run_flags
from cervix_jax.command.run import run_command
from cervix_jax.data import catalog
from cervix_jax.data.class_map import parse_class_map
from cervix_jax.data.splits import SPLITS
from cervix_jax.errors import InputError
from cervix_jax.explain import registry
from cervix_jax.explain.function import Output
from cervix_jax.runs.run import Run, load_run

KNOWN = "known"
GROUPS = {
    "The run": ["workdir", "step", "out", "overwrite", "compare", "progress"],
    "Images": [
        "split", "images", "target", "dataset", "setting", "check_counts", "class_map",
        "manual_dir", "data_dir",
    ],
    "Maps": [
        "method", "output", "baseline", "steps", "samples", "masks", "window", "feature_map",
        "seed", "batch_size",
    ],
    "Fields and slides": [
        "cells", "cell", "slide", "fields", "detector", "max_fields", "class", "mpp", "crop",
        "field_cells",
    ],
    "Measures": [
        "measures", "perturbed_images", "repeated_images", "curve_steps", "infidelity_samples",
        "sensitivity_samples", "nucleus_radius",
    ],
    "Pictures": ["sheet_images", "figure_images"],
}  # fmt: skip


def main(argv: list[str]) -> None:
    """Command line."""
    del argv
    # Imported here, so that `import cervix_jax.explain` and --help do not load matplotlib.
    from cervix_jax.explanations import summary
    from cervix_jax.explanations.explainer import MapSettings
    from cervix_jax.explanations.measuring import Effort
    from cervix_jax.explanations.workflow import explain_run

    args = flags.FLAGS
    settings = MapSettings(
        output=args.output, baseline=args.baseline, steps=args.steps, samples=args.samples,
        masks=args.masks, window=args.window or None, feature_map=args.feature_map,
        seed=args.seed, batch_size=args.batch_size,
    )  # fmt: skip
    if args.cells or args.fields:
        _explain_fields(args, settings)
        return
    _refuse_alone(args)
    methods = read_methods(args.method)
    run = load_run(args.workdir, args.step)
    report = explain_run(
        run,
        split=args.split,
        methods=methods,
        images=args.images,
        target=args.target,
        dataset=_other_dataset(args, run),
        settings=settings,
        effort=Effort(
            args.perturbed_images, args.repeated_images, args.curve_steps, args.infidelity_samples,
            args.sensitivity_samples,
        ) if args.measures else None,
        nucleus_radius=args.nucleus_radius,
        sheet_images=args.sheet_images,
        figure_images=args.figure_images,
        compare=load_run(args.compare, args.step) if args.compare else None,
        out=args.out or None,
        overwrite=args.overwrite,
        manual_dir=args.manual_dir,
        data_dir=args.data_dir,
        class_map=parse_class_map(args.class_map, run.class_names),
    )  # fmt: skip
    if args.measures:
        print(summary.text(report))
    for name, why in report["left_out"].items():
        print(f"{name} is skipped: {why}")
    if report["gates"]:
        print(f"channel attention of {', '.join(report['gates'])}: channel_attention.csv")
    print(f"written to {report['folder']}")


def _explain_fields(args: flags.FlagValues, settings: Any) -> None:
    from cervix_jax.detect.detector import load_detector
    from cervix_jax.explanations import field_shares
    from cervix_jax.explanations.cells import DEFAULT_METHOD
    from cervix_jax.explanations.field_workflow import FieldOptions, explain_fields

    if args.cells and args.fields:
        raise InputError("--cells and --fields cannot be combined; give one of the two.")
    if args.method == "all":
        raise InputError(
            "--method=all does not work with --cells or --fields; name the methods, separated by "
            "commas."
        )
    options = FieldOptions(
        methods=tuple(read_methods(args.method or DEFAULT_METHOD)),
        numbers=read_numbers(args.cell),
        class_name=str(args["class"].value),
        crop=args.crop,
        mpp=args.mpp or None,
        field_cells=args.field_cells,
        settings=settings,
    )
    run = load_run(args.workdir, args.step)
    shared: dict[str, Any] = {
        "options": options, "max_fields": args.max_fields, "out": args.out or None
    }  # fmt: skip
    if args.cells:
        report = explain_fields(run, args.cells, slide=args.slide, **shared)
        for field in report["fields"]:
            print(f"{field['path']}: {', '.join(m['explains'] for m in field['methods'].values())}")
    else:
        detector = None if args.detector == KNOWN else load_detector(args.detector)
        dataset = _load_dataset(args, args.fields)
        report = field_shares.explain_dataset_fields(
            run, dataset, detector=detector, nucleus_radius=args.nucleus_radius, **shared
        )
        print(field_shares.text(report))
    print(f"written to {report['folder']}")


def _refuse_alone(args: flags.FlagValues) -> None:
    for name in ("cell", "slide", "max_fields", "class", "mpp", "crop"):
        if args[name].value:
            also = "" if name in ("cell", "slide") else " or --fields"
            raise InputError(f"--{name} requires --cells{also}; add it, or remove --{name}.")


def read_numbers(text: str) -> tuple[int, ...]:
    """Cell numbers from a comma-separated list, without repeats.

    Raises:
      InputError: an entry is not an integer of at least 1.
    """
    parts = [part.strip() for part in text.split(",") if part.strip()]
    for part in parts:
        if not (part.isascii() and part.isdigit() and int(part)):
            raise InputError(f"--cell={text}: {part[:40]!r} is not a cell number (1 or more).")
    return tuple(dict.fromkeys(int(part) for part in parts))


def read_methods(text: str) -> tuple[str, ...] | Literal["quick", "all"]:
    """Methods from a comma-separated list, "all", or "" for the quick methods.

    Raises:
      InputError: a name is not a method.
    """
    if not text:
        return "quick"
    if text == "all":
        return "all"
    try:
        return registry.check_names([name.strip() for name in text.split(",") if name.strip()])
    except InputError as error:
        raise InputError(f"--method={text}: {error}") from None


def _other_dataset(args: flags.FlagValues, run: Run) -> catalog.Dataset | None:
    own_name = args.dataset in ("", run.config.data.dataset)
    if own_name and not (args.dataset and args.manual_dir and run.identity):
        return None
    dataset = _load_dataset(args, args.dataset)
    # All folders of own images share one data set name, so the images are compared.
    own = own_name and run.identity and not run.identity.differences(dataset).forbids
    return None if own else dataset


def _load_dataset(args: flags.FlagValues, name: str) -> catalog.Dataset:
    return catalog.load(
        name,
        manual_dir=args.manual_dir,
        data_dir=args.data_dir,
        settings=catalog.parse_data_settings(name, args.setting),
        check_counts=args.check_counts,
    )


def define_flags() -> None:
    """Flags of this command."""
    from cervix_jax.explanations.cells import DEFAULT_METHOD
    from cervix_jax.explanations.measuring import Effort
    from cervix_jax.explanations.selection import Target

    def default(method: str, setting: str) -> Any:
        return registry.METHODS[method].settings[setting]

    effort = Effort()
    run_flags(required=True)
    class_map_flag()
    flags.DEFINE_string("out", "", "Folder to write to; default <workdir>/explain.")
    flags.DEFINE_bool("overwrite", False, "Replace existing results made with other flags.")
    flags.DEFINE_string("compare", "", "Folder of a second run to show in figure.png.")

    flags.DEFINE_enum(
        "split", "test", SPLITS, "Part of the data (split) whose images are explained."
    )
    flags.DEFINE_integer("images", 64, "Number of images to explain; 0 means all.", lower_bound=0)
    flags.DEFINE_enum("target", "predicted", get_args(Target), "Class whose score is explained.")
    dataset_flags("Another data set to explain, e.g. herlev/default.")

    flags.DEFINE_string(
        "method", "",
        f"Attribution methods, separated by commas, or all: {', '.join(registry.EXPLANATIONS)}; "
        "default all except "
        f"{', '.join(n for n in registry.EXPLANATIONS if n not in registry.QUICK)}; with --cells "
        f"or --fields default {DEFAULT_METHOD}.",
    )  # fmt: skip
    flags.DEFINE_enum("output", "logit", get_args(Output),
                      "Score to explain; logit: the class score before softmax.")  # fmt: skip
    flags.DEFINE_enum("baseline", "white", get_args(registry.Baseline),
                      "Baseline, the image without information, of integrated gradients, occlusion "
                      "and RISE.")  # fmt: skip
    flags.DEFINE_integer(
        "steps",
        default("integrated_gradients", "steps"),
        "Steps of integrated gradients from the baseline to the image.",
        lower_bound=1,
    )
    flags.DEFINE_integer(
        "samples",
        default("smooth_grad", "samples"),
        "Random repetitions of SmoothGrad and expected gradients for each image.",
        lower_bound=1,
    )
    flags.DEFINE_integer(
        "masks", default("rise", "samples"), "Random masks of RISE for each image.", lower_bound=1
    )
    flags.DEFINE_integer("window", 0, "Side of the square that occlusion covers, in pixels of the "
                         "input; 0 means a quarter of the side.", lower_bound=0)  # fmt: skip
    flags.DEFINE_string(
        "feature_map",
        default("grad_cam", "feature_map"),
        "Layer for Grad-CAM and its variants; auto: the deepest with at least 7 x 7 positions.",
    )
    flags.DEFINE_integer("seed", 0, "Random seed of maps and measures.", lower_bound=0)
    flags.DEFINE_integer("batch_size", 32, "Images in one batch.", lower_bound=1)

    flags.DEFINE_bool(
        "measures", True, "Measure the quality of the maps, e.g. by insertion and deletion."
    )
    for name, text, least in (
        ("perturbed_images", "Maximum number of images for insertion, deletion, ROAD (remove "
         "and debias) and infidelity.", 0),
        ("repeated_images", "Maximum number of images for max-sensitivity, parameter randomisation "
         "and the random-logit test (map of another class).", 0),
        ("curve_steps", "Steps of the insertion and deletion curves.", 1),
        ("infidelity_samples", "Random perturbations of each image for infidelity (share of the "
         "score change that the map does not explain).", 1),
        ("sensitivity_samples", "Slightly changed copies of each image for max-sensitivity "
         "(largest change of the map).", 1),
    ):  # fmt: skip
        flags.DEFINE_integer(name, getattr(effort, name), text, lower_bound=least)
    flags.DEFINE_float("nucleus_radius", 12.0, "Radius of the disc around a nucleus that is marked "
                       "only by its centre, in pixels of the image before resizing.",
                       lower_bound=0)  # fmt: skip
    _define_field_flags()
    flags.DEFINE_integer("sheet_images", 24, "Images on each sheet; 0 omits the sheets.",
                         lower_bound=0)  # fmt: skip
    flags.DEFINE_integer("figure_images", 3, "Images in figure.png; 0 omits the figure.",
                         lower_bound=0)  # fmt: skip


def _define_field_flags() -> None:
    from cervix_jax.explanations.cells import FIELD_CELLS

    flags.DEFINE_string("cells", "", "Table of cells that predict --field=cells wrote.")
    flags.DEFINE_string("cell", "", "Cells to explain, by their number in --cells; default the "
                        "16 cells of each field most likely to be abnormal.")  # fmt: skip
    flags.DEFINE_string("slide", "", "Path or file name of one field or slide in --cells; default "
                        "all.")  # fmt: skip
    flags.DEFINE_string("fields", "", "Data set of fields with marked nuclei, on which the share "
                        "of the attribution is measured, e.g. "
                        "cervix_phantom/multi_cell.")  # fmt: skip
    flags.DEFINE_string("detector", KNOWN, "Detector of the cells in --fields: known uses the "
                        "marked nuclei; nuclei, blobs or a workdir as in predict.")  # fmt: skip
    flags.DEFINE_integer("max_fields", 0, "Maximum number of fields; 0 means all.", lower_bound=0)
    flags.DEFINE_string("class", "", "Class to explain; default the predicted class of each cell, "
                        "and for a field its worst finding.")  # fmt: skip
    flags.DEFINE_float("mpp", 0.0, "Pixel size of the fields in micrometres; 0: from the file, "
                       "else from the data set.", lower_bound=0)  # fmt: skip
    flags.DEFINE_float("crop", 0.0, "Side of the square around each cell, in pixels of the field; "
                       "0: the physical area that the run's training images cover.",
                       lower_bound=0)  # fmt: skip
    flags.DEFINE_integer("field_cells", FIELD_CELLS, "Maximum number of cells in a field's map, "
                         "most likely abnormal first; 0 means all.", lower_bound=0)  # fmt: skip


if __name__ == "__main__":
    define_flags()
    run_command(main, groups=GROUPS)
