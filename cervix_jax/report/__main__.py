"""Write a report of a run: one self-contained HTML file.

  python -m cervix_jax.report --workdir=runs/rcan

It shows what the model is, its data and their leakage, metrics with intervals, right and wrong
cases with explanations to lay over them, and, where `explain` and `audit` have run, their tables.
"""

from pathlib import Path

import jinja2
from absl import flags

from cervix_jax.command.flags import run_flags
from cervix_jax.command.run import run_command
from cervix_jax.data.splits import SPLITS
from cervix_jax.errors import InputError
from cervix_jax.evaluate.predictions_file import SUFFIX, read_table
from cervix_jax.files.atomic import write_text
from cervix_jax.report.contents import read_contents
from cervix_jax.report.gallery import Gallery, make_gallery
from cervix_jax.runs.run import load_run

SECTIONS = (
    ("model", "Model"),
    ("data", "Data"),
    ("results", "Results"),
    ("cases", "Cases"),
    ("explanations", "Explanations"),
    ("shortcuts", "Shortcuts"),
    ("limits", "Limits"),
    ("making", "Making"),
)


def main(argv: list[str]) -> None:
    """Command line."""
    del argv
    args = flags.FLAGS
    folder = Path(args.workdir)
    contents = read_contents(folder, args.split)
    gallery = None
    if args.cases:
        run = load_run(folder, str(contents["report"]["step"]))
        data = run.open_data(args.manual_dir, args.data_dir, progress=True)
        table = read_table(folder / "evaluate" / f"{args.split}{SUFFIX}")
        unknown = set(table.filenames) - set(data.dataset.filenames)
        if unknown:
            raise InputError(
                f"{folder}/evaluate: {sorted(unknown)[0]!r} is not in {data.dataset.name}; "
                "evaluate the run again."
            )
        gallery = make_gallery(run, data, table, most=args.cases, progress="explaining")
    path = Path(args.out) if args.out else folder / "report.html"
    write_text(path, render(contents, gallery))
    print(f"written to {path} ({path.stat().st_size / 1e6:.1f} MB)")


def render(contents: dict, gallery: Gallery | None) -> str:
    """The page.

    Args:
      contents: from `read_contents`.
      gallery: from `make_gallery`; None shows none.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("cervix_jax.report", ""),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
    )
    return environment.get_template("page.html.j2").render(
        **contents, gallery=gallery, sections=SECTIONS
    )


def define_flags() -> None:
    """Flags of this command."""
    run_flags("workdir", "manual_dir", "data_dir", required=True)
    flags.DEFINE_enum("split", "test", SPLITS, "Whose evaluation is shown.")
    flags.DEFINE_integer("cases", 24, "Cases in the gallery; 0 leaves it out.", lower_bound=0)
    flags.DEFINE_string("out", "", "File to write; default <workdir>/report.html.")


if __name__ == "__main__":
    define_flags()
    run_command(main)
