"""Write a report of a run: one self-contained HTML file.

  python -m cervix_jax.report --workdir=runs/rcan
  python -m cervix_jax.report --workdir=runs/rcan --external=hospital_b

It shows what the model is, its data and their leakage, metrics with intervals, right and wrong
cases with explanations to lay over them, and, where `explain` and `audit` have run, their tables.
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
    flags.DEFINE_enum("split", "test", SPLITS, "Whose evaluation is shown.")
    flags.DEFINE_string(
        "external", "", "Name of an external validation (evaluate --on) that is shown instead."
    )
    flags.DEFINE_integer("cases", 24, "Cases in the gallery; 0 leaves it out.", lower_bound=0)
    flags.DEFINE_string("out", "", "File to write; default <workdir>/report.html.")


if __name__ == "__main__":
    define_flags()
    run_command(main)
