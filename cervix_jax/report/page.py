"""The page itself: contents and gallery in one self-contained HTML file."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cervix_jax.errors import InputError, check_choice
from cervix_jax.evaluate.labelled_images import open_labelled
from cervix_jax.evaluate.predictions_file import SUFFIX, read_table
from cervix_jax.evaluate.tried import PREDICTIONS
from cervix_jax.figures.html import template
from cervix_jax.files.atomic import read_json, write_text
from cervix_jax.report.checklist.table import VERIFICATION, csv_text, markdown
from cervix_jax.report.contents import evaluation_of, read_contents
from cervix_jax.report.gallery import Gallery, choose_cases, make_gallery, outlines_of
from cervix_jax.runs.run import Run, as_classifier

CHECKLIST_FORMATS = ("md", "csv")
SECTIONS = (
    ("model", "Model"),
    ("data", "Data"),
    ("results", "Results"),
    ("screening", "Screening"),
    ("cases", "Images"),
    ("explanations", "Explanations"),
    ("shortcuts", "Shortcuts"),
    ("limits", "Limits"),
    ("checklists", "Checklists"),
    ("making", "Software"),
)


def write_page(
    workdir: str | Path,
    split: str = "test",
    *,
    external: str = "",
    cases: int = 24,
    out: str | Path | None = None,
    manual_dir: str = "",
    data_dir: str = "",
    checklists: str = "",
) -> Path:
    """Write the page of an evaluated run.

        write_page("runs/rcan")   # runs/rcan/report.html

    Args:
      workdir: the run's folder.
      split: the split whose evaluation is shown.
      external: name of an external validation to show instead of the split, see
        `cervix_jax.evaluate.external`. Its page is written to the folder of that validation.
      cases: number of images in the gallery; 0 omits the gallery and reads no images.
      out: the file to write; default `<workdir>/report.html`.
      manual_dir: folder of the raw files; default from the run's config.
      data_dir: folder of prepared data; default from the run's config.
      checklists: "md" or "csv" also writes the reporting checklists to a file of that format, see
        `checklists_beside`; "" writes none.

    Returns:
      The page.

    Raises:
      InputError: the split has not been evaluated, a file cannot be read or written, or the file
        of the checklists exists: an author may have edited it.
    """
    folder = Path(workdir)
    if checklists and external:
        raise InputError(
            f"--checklists={checklists} goes with the run's own report, which lists its external "
            "validations; leave out --external."
        )
    contents = read_contents(folder, split, external)
    place, stem = evaluation_of(folder, split, external)
    path = Path(out) if out else (place if external else folder) / "report.html"
    separate = checklists_beside(path, checklists) if checklists else None
    if separate and separate.exists():
        raise InputError(
            f"{separate} exists and may hold an author's text; move or remove it, or leave out "
            "--checklists."
        )
    gallery = None
    if cases:
        run = as_classifier(folder, contents["report"].step)
        table = read_table(place / f"{stem}{SUFFIX}")
        rows = choose_cases(table, cases)
        names = [table.filenames[row] for row in rows]
        if external:
            pixels = _external_pixels(run, place / f"{stem}.json", names)
            outlines = [""] * len(names)
        else:
            data = run.open_data(manual_dir=manual_dir, data_dir=data_dir, progress=True)
            indices = _positions(names, data.dataset.filenames, folder)
            pixels = np.asarray(data.pipeline.images(indices))
            outlines = outlines_of(data.dataset, indices, run.config)
        if pixels is not None:
            gallery = make_gallery(run, table, rows, pixels, outlines, progress="explaining")
    write_text(path, render(contents, gallery))
    if separate:
        filled = contents["checklists"]
        is_csv = checklists == "csv"
        write_text(separate, csv_text(filled) if is_csv else markdown(filled, contents["title"]))
    return path


def checklists_beside(page: Path, kind: str) -> Path:
    """The file of the reporting checklists that goes with a page: `<name>_checklists.<kind>`.

    Args:
      page: the page.
      kind: one of `CHECKLIST_FORMATS`.
    """
    check_choice("--checklists", kind, CHECKLIST_FORMATS)
    return page.with_name(f"{page.stem}_checklists.{kind}")


def _positions(names: Sequence[str], filenames: Sequence[str], source: Path) -> np.ndarray:
    """Positions of images by file name, int64 [n]; raises `InputError` for a missing image."""
    place = {name: index for index, name in enumerate(filenames)}
    if unknown := [name for name in names if name not in place]:
        raise InputError(
            f"{source}: the evaluated image {unknown[0]!r} is missing from the data; run evaluate "
            "again."
        )
    return np.asarray([place[name] for name in names], np.int64)


def _external_pixels(run: Run, path: Path, names: Sequence[str]) -> np.ndarray | None:
    """Images of an external validation, uint8 [n, S, S, 3]; None if it read predictions only."""
    facts = (read_json(path) or {})["external"]
    if facts["kind"] == PREDICTIONS:
        return None
    source = open_labelled(
        facts["source"], manual_dir=facts["manual_dir"], data_dir=facts["data_dir"],
        settings=facts["settings"], check_counts=facts["check_counts"],
    )  # fmt: skip
    indices = _positions(names, source.filenames, Path(facts["source"]))
    loaded = [np.asarray(source.load(int(index))) for index in indices]
    return run.squares(loaded, mpp=source.microns_per_pixel)


def render(contents: dict[str, Any], gallery: Gallery | None) -> str:
    """The page as HTML.

    Args:
      contents: from `read_contents`.
      gallery: from `make_gallery`; None omits the gallery.
    """
    return template("cervix_jax.report", "page.html.j2").render(
        **contents,
        gallery=gallery,
        verification=VERIFICATION,
        sections=[row for row in SECTIONS if contents.get(row[0], True)],
    )
