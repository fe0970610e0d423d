"""The page itself: contents and gallery in one self-contained HTML file."""

from pathlib import Path
from typing import Any

import jinja2

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


def write_page(
    workdir: str | Path,
    split: str = "test",
    *,
    cases: int = 24,
    out: str | Path | None = None,
    manual_dir: str = "",
    data_dir: str = "",
) -> Path:
    """Write the page of an evaluated run.

      write_page("runs/rcan")   # runs/rcan/report.html

    Args:
      workdir: the run's folder.
      split: whose evaluation is shown.
      cases: how many are in the gallery; 0 leaves it out, and then no data is read.
      out: the file; default `<workdir>/report.html`.
      manual_dir: where the raw files lie, if not where the config says.
      data_dir: where prepared data lie, if not where the config says.

    Returns:
      The file.

    Raises:
      InputError: there is no evaluation of that split, or something cannot be read or written.
    """
    folder = Path(workdir)
    contents = read_contents(folder, split)
    gallery = None
    if cases:
        run = load_run(folder, contents["report"].step)
        data = run.open_data(manual_dir=manual_dir, data_dir=data_dir, progress=True)
        table = read_table(folder / "evaluate" / f"{split}{SUFFIX}")
        unknown = set(table.filenames) - set(data.dataset.filenames)
        if unknown:
            raise InputError(
                f"{folder}/evaluate: {sorted(unknown)[0]!r} is not in {data.dataset.name}; "
                "evaluate the run again."
            )
        gallery = make_gallery(run, data, table, most=cases, progress="explaining")
    path = Path(out) if out else folder / "report.html"
    write_text(path, render(contents, gallery))
    return path


def render(contents: dict[str, Any], gallery: Gallery | None) -> str:
    """The page as HTML.

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
