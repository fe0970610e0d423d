"""HTML page of an explained run: sheets, measures with intervals, settings, and how to read it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from cervix_jax import __version__
from cervix_jax.explain.registry import METHODS
from cervix_jax.explanations import summary
from cervix_jax.figures.html import data_uri, template
from cervix_jax.files.atomic import write_text

FILE = "index.html"
PREVIEW = (1000, 2600)  # pixels, at most
QUALITY = 80  # of the JPEG previews
SECTIONS = (
    ("reading", "How to read"),
    ("sheets", "Sheets"),
    ("measures", "Measures"),
    ("pictures", "Pictures"),
    ("settings", "Settings"),
    ("files", "Files"),
)
PICTURES = {
    "figure.png": "The figure of the paper: attribution maps of the same images side by side.",
    "channel_attention.png": "Values of the channel attention by class.",
}
# Settings that are the same for all methods.
_SHARED = ("weights", "dataset", "version", "image_size", "resize", "target")


def write_index(
    folder: Path,
    report: Mapping[str, Any],
    *,
    sheets: Sequence[str],
    pictures: Sequence[str],
    left_out: Mapping[str, str],
) -> Path:
    """Write `index.html` into the folder of explanations.

    The page embeds small previews and links to the files in full.

    Args:
      folder: folder of the explanations.
      report: contents of `measures.json`; its tables are shown if methods were measured.
      sheets: names of methods with a sheet.
      pictures: names of `PICTURES` that were drawn.
      left_out: skipped method to the reason.

    Returns:
      Path of the page.

    Raises:
      InputError: the page cannot be written.
    """
    measured = bool(report["measures"])
    shown = [("measures", measured), ("sheets", sheets), ("pictures", pictures)]
    empty = {name for name, content in shown if not content}
    facts = report["selection"]
    text = template("cervix_jax.explanations", "index_page.html.j2").render(
        title=f"Explanations of {report['model']} on {report['data_title']}",
        sections=[row for row in SECTIONS if row[0] not in empty],
        headline=summary.headline(dict(report)) if measured else "",
        count=facts["n"],
        split=report["split"],
        target="true" if report["target"] == "label" else report["target"],
        tables=summary.tables(dict(report)) if measured else [],
        sheets=[_sheet(folder, name) for name in sheets],
        pictures=[
            {"file": name, "text": PICTURES[name], "image": _preview(folder / name)}
            for name in pictures
        ],
        settings=_settings(report),
        left_out=[(METHODS[name].label, why) for name, why in left_out.items()],
        files=_files(measured),
        version=__version__,
    )
    write_text(folder / FILE, text)
    return folder / FILE


def _sheet(folder: Path, name: str) -> dict[str, str]:
    method, file = METHODS[name], f"sheets/{name}.png"
    return {
        "label": method.label,
        "text": method.description,
        "file": file,
        "image": _preview(folder / file),
    }


def _preview(path: Path) -> str:
    """A picture as a small JPEG data URI."""
    with Image.open(path) as picture:
        small = picture.convert("RGB")
    small.thumbnail(PREVIEW)
    return data_uri(np.asarray(small), "JPEG", QUALITY)


def _settings(report: Mapping[str, Any]) -> list[tuple[str, str]]:
    methods = report["methods"]
    first = next((each["settings"] for each in methods.values()), {})
    rows = [("Model", report["model"]), ("Checkpoint step", str(report["step"]))]
    rows += [(name.replace("_", " ").capitalize(), str(first[name])) for name in _SHARED
             if name in first]  # fmt: skip
    rows.append(("Seed", str(report["selection"]["seed"])))
    for name, each in methods.items():
        own = {key: value for key, value in each["settings"].items()
               if key not in (*_SHARED, "method")}  # fmt: skip
        text = ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in own.items())
        rows.append((METHODS[name].label if name in METHODS else name, text or "no settings"))
    return rows


def _files(measured: bool) -> list[tuple[str, str]]:
    found = [
        ("maps/<method>.npz", "raw maps with their sign, file names, explained classes, settings"),
        ("sheets/<method>.png", "each image with its maps, at full size"),
    ]
    if measured:
        found += [
            ("measures.csv", "every measure with its interval, also by subset"),
            ("measures.json", "the same with settings and the list of images"),
        ]
    return found
