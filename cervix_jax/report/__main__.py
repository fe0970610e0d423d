"""Write a report of a run, or a comparison of several runs: one self-contained HTML file.

  python -m cervix_jax.report --workdir=runs/rcan
  python -m cervix_jax.report --workdir=runs/rcan --external=hospital_b
  python -m cervix_jax.report --workdir=runs/rcan --checklists=md
  python -m cervix_jax.report --compare runs/rcan runs/densenet121 --out=compare.html

The file describes the model, its data, and leakage between training and test images. It shows
metrics with confidence intervals, and a gallery of correctly and wrongly classified images with
attribution maps as overlays. If `explain` or `audit` has run, it includes their tables. It fills in
those items of the reporting checklists CLAIM 2024, TRIPOD+AI and STARD-AI that the run's files
answer.

With `--compare` it shows several runs side by side: metrics, differences between the configs,
learning curves, and differences in metrics from the first run on the same images.
"""

from pathlib import Path

from absl import flags

from cervix_jax.command.flags import run_flags
from cervix_jax.command.run import run_command
from cervix_jax.data.splits import SPLITS
from cervix_jax.errors import InputError
from cervix_jax.report.comparison import write_comparison
from cervix_jax.report.page import CHECKLIST_FORMATS, checklists_beside, write_page

GROUPS = {
    "What to show": ["workdir", "compare", "split", "external", "cases"],
    "Output": ["out", "checklists", "progress"],
    "Data": ["manual_dir", "data_dir"],
}
OF_ONE_RUN = ("external", "cases", "checklists", "manual_dir", "data_dir")


def main(argv: list[str]) -> None:
    """Command line."""
    args, others = flags.FLAGS, argv[1:]
    if bool(args.workdir) == bool(args.compare):
        raise InputError(
            "give either --workdir with the folder of a run or --compare with two or more runs, "
            "e.g. python -m cervix_jax.report --workdir=runs/rcan"
        )
    if args.compare:
        written = [_compare(others)]
    elif others:
        raise InputError(f"unexpected argument {others[0]!r}; options are written --name=value.")
    else:
        page = write_page(
            args.workdir, args.split, external=args.external, cases=args.cases, out=args.out,
            manual_dir=args.manual_dir, data_dir=args.data_dir, checklists=args.checklists,
        )  # fmt: skip
        written = [page]
        if args.checklists:
            written.append(checklists_beside(page, args.checklists))
    for path in written:
        print(f"written to {path} ({path.stat().st_size / 1e6:.1f} MB)")


def _compare(others: list[str]) -> Path:
    args = flags.FLAGS
    for name in OF_ONE_RUN:
        if args[name].value != args[name].default:
            raise InputError(f"--{name} applies to --workdir, not to --compare; leave it out.")
    paths = [part for part in [*args.compare.split(","), *others] if part]
    if len(paths) < 2:
        raise InputError(
            f"--compare takes two or more runs or files, not {len(paths)}, e.g. python -m "
            "cervix_jax.report --compare runs/rcan runs/densenet121"
        )
    return write_comparison(paths, split=args.split, out=args.out or "compare.html")


def define_flags() -> None:
    """Flags of this command."""
    run_flags("workdir", "manual_dir", "data_dir")
    flags.DEFINE_string(
        "compare", None, "Runs, cross-validations or CSV files to compare: --compare A B C."
    )
    flags.DEFINE_enum("split", "test", SPLITS, "Split whose evaluation is shown.")
    flags.DEFINE_string(
        "external", "", "External validation (evaluate --on) to show instead of the split, by name."
    )
    flags.DEFINE_integer(
        "cases", 24, "Images in the gallery of attribution maps; 0 omits it.", lower_bound=0
    )
    flags.DEFINE_enum(
        "checklists", "", ["", *CHECKLIST_FORMATS],
        "Format of a separate file with the reporting checklists, for editing: md or csv; default "
        "none.",
    )  # fmt: skip
    flags.DEFINE_string(
        "out", "",
        "HTML file to write; default <workdir>/report.html, with --compare ./compare.html.",
    )  # fmt: skip


if __name__ == "__main__":
    define_flags()
    flags.FLAGS.set_gnu_getopt(True)  # --compare A B --split=val
    run_command(main, positional=True, groups=GROUPS)
