"""Write a report of a run: one self-contained HTML file.

  python -m cervix_jax.report --workdir=runs/rcan
  python -m cervix_jax.report --workdir=runs/rcan --external=hospital_b

The file describes the model, its data and their leakage. It shows metrics with confidence
intervals, and correctly and wrongly classified images with explanation maps as overlays. If
`explain` or `audit` has run, it includes their tables.
"""

from absl import flags

from cervix_jax.command.flags import run_flags
from cervix_jax.command.run import run_command
from cervix_jax.data.splits import SPLITS
from cervix_jax.report.page import write_page


def main(argv: list[str]) -> None:
    """Command line."""
    del argv
    args = flags.FLAGS
    path = write_page(
        args.workdir, args.split, external=args.external, cases=args.cases, out=args.out,
        manual_dir=args.manual_dir, data_dir=args.data_dir,
    )  # fmt: skip
    print(f"written to {path} ({path.stat().st_size / 1e6:.1f} MB)")


def define_flags() -> None:
    """Flags of this command."""
    run_flags("workdir", "manual_dir", "data_dir", required=True)
    flags.DEFINE_enum("split", "test", SPLITS, "Split whose evaluation is shown.")
    flags.DEFINE_string(
        "external", "", "External validation (evaluate --on) to show instead of the split, by name."
    )
    flags.DEFINE_integer("cases", 24, "Images in the gallery; 0 omits the gallery.", lower_bound=0)
    flags.DEFINE_string("out", "", "HTML file to write; default <workdir>/report.html.")


if __name__ == "__main__":
    define_flags()
    run_command(main)
