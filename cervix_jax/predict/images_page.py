"""The page of a prediction of images: how many of each class, which to look at, what was skipped.

The table is read once, and only the images that the page shows are kept, so that memory and page
stay small whatever the number of images.
"""

import dataclasses
import heapq
import os
import urllib.parse
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from cervix_jax import __version__
from cervix_jax.errors import InputError
from cervix_jax.figures.html import data_uri, template
from cervix_jax.files.atomic import write_text
from cervix_jax.files.images import MAX_PIXELS, UnreadableImage, read_rgb
from cervix_jax.predict.parts import REASON, Entry
from cervix_jax.predict.table import Table

SUFFIXES = (".html", ".htm")
SHOWN = 12  # images of a kind, and skipped files
BINS = 10  # of the confidence
THUMBNAIL = 144  # pixels of the longer side
RUN = "run"  # fact: the name of the run
SECTIONS = (
    ("classes", "Classes"),
    ("confidence", "Confidence"),
    ("images", "Images"),
    ("skipped", "Skipped"),
    ("making", "Making"),
    ("limits", "Limits"),
)
LIMITS = (
    "The classifier assigns one of its classes to any image, even one without a cell. Use the "
    "energy to flag images unlike the training data: higher is less familiar.",
    "A confident prediction can be wrong. The confidence is the probability of the predicted "
    "class; evaluate the run to see how well it is calibrated.",
    "The accuracy of the run on its test images need not hold for other stains, scanners, "
    "magnifications and preparations.",
)


class _Extremes:
    """The rows with the greatest values, at most `SHOWN`."""

    def __init__(self):
        self._heap: list[tuple[float, int, Entry]] = []

    def add(self, value: float, number: int, row: Entry) -> None:
        """Consider a row; of equal values the earlier row is kept."""
        item = (value, -number, row)
        if len(self._heap) < SHOWN:
            heapq.heappush(self._heap, item)
        elif item[:2] > self._heap[0][:2]:
            heapq.heapreplace(self._heap, item)

    def rows(self) -> list[Entry]:
        """The rows, the greatest value first."""
        return [row for _, _, row in sorted(self._heap, key=lambda item: item[:2], reverse=True)]


@dataclasses.dataclass
class Collected:
    """What the page shows of a table.

    Attributes:
      counts: images by predicted class.
      bins: images by confidence, in `BINS` equal parts of [0, 1].
      certain: rows with the highest confidence.
      uncertain: rows with the lowest confidence.
      unfamiliar: rows with the highest energy.
      skipped: the first images left out, and why.
    """

    counts: Counter[str]
    bins: list[int]
    certain: list[Entry]
    uncertain: list[Entry]
    unfamiliar: list[Entry]
    skipped: list[tuple[str, str]]


def check_html(html: str | Path, *, field: str | None, resume: bool, overwrite: bool) -> None:
    """Refuse a page that cannot be written, before any work.

    Raises:
      InputError: it is for fields, has another suffix, or exists already.
    """
    path = Path(html)
    if field:
        raise InputError(
            "--html is for images; with --field each field or slide has its own files in --maps. "
            "Leave out --html."
        )
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(f"--html={html}: give a file that ends in {' or '.join(SUFFIXES)}.")
    if path.exists() and (not path.is_file() or not (resume or overwrite)):
        raise InputError(f"--html={html} exists already; --overwrite replaces a file.")


def collect(entries: Iterator[Entry]) -> Collected:
    """Read what became of the images once, in constant memory.

    Args:
      entries: of each image its row, or why it was left out, see `predict.parts`.
    """
    counts: Counter[str] = Counter()
    bins = [0] * BINS
    certain, uncertain, unfamiliar = _Extremes(), _Extremes(), _Extremes()
    skipped: list[tuple[str, str]] = []
    for number, entry in enumerate(entries):
        if REASON in entry:
            if len(skipped) < SHOWN:
                skipped.append((entry["path"], entry[REASON]))
            continue
        confidence, energy = entry["confidence"], entry["energy"]
        row = {name: entry[name] for name in ("path", "class", "confidence", "energy")}
        counts[row["class"]] += 1
        bins[min(int(confidence * BINS), BINS - 1)] += 1
        certain.add(confidence, number, row)
        uncertain.add(-confidence, number, row)
        unfamiliar.add(energy, number, row)
    return Collected(counts, bins, certain.rows(), uncertain.rows(), unfamiliar.rows(), skipped)


def write_page(path: Path, table: Table) -> None:
    """Write the page of a table of images, whole or not at all.

    Args:
      path: the page.
      table: of images.

    Raises:
      InputError: the page cannot be written.
    """
    found = collect(table.entries())
    facts = table.facts
    max_pixels = int(facts.get("--max_pixels", MAX_PIXELS))
    most = max(found.bins)
    text = template("cervix_jax.predict", "images_page.html.j2").render(
        title=f"Predictions of {table.rows:,} images",
        sections=SECTIONS,
        table=table.path.name,
        run=facts.get(RUN, "unknown"),
        classes=[
            (name, f"{found.counts[name]:,}", f"{100 * found.counts[name] / table.rows:.1f} %")
            for name in facts["class_names"]
        ],
        bins=[
            (f"{number / BINS:.1f} to {(number + 1) / BINS:.1f}", f"{count:,}",
             f"{100 * count / most:.1f}%")
            for number, count in enumerate(found.bins)
        ],
        galleries=[
            ("Most out-of-distribution", "The images with the highest energy, highest first.",
             _cases(found.unfamiliar, path, max_pixels)),
            ("Least certain", "The images with the lowest confidence, lowest first.",
             _cases(found.uncertain, path, max_pixels)),
            ("Most certain", "The images with the highest confidence, highest first.",
             _cases(found.certain, path, max_pixels)),
        ],
        units=table.units,
        skipped=table.skipped,
        skipped_rows=found.skipped,
        skipped_path=table.skipped_path.name,
        making=_making(facts),
        limits=LIMITS,
        version=__version__,
    )  # fmt: skip
    write_text(path, text)


def _making(facts: dict[str, Any]) -> list[tuple[str, str]]:
    temperature = facts.get("temperature")
    return [
        ("Run", str(facts.get(RUN, "unknown"))),
        ("Checkpoint step", str(facts["step"])),
        ("Digest of the weights", str(facts["weights"])),
        ("Images", f"brought to {facts['image_size']} x {facts['image_size']} pixels, "
         f"{facts['resize']}"),
        ("Probabilities", "not calibrated" if temperature is None
         else f"calibrated with temperature {temperature:.3f}"),
    ]  # fmt: skip


def _cases(rows: list[Entry], page: Path, max_pixels: int) -> list[dict[str, str]]:
    return [
        {
            "path": row["path"],
            "class": row["class"],
            "confidence": f"{row['confidence']:.3f}",
            "energy": f"{row['energy']:.2f}",
            "link": _link(row["path"], page),
            "image": _thumbnail(row["path"], max_pixels),
        }
        for row in rows
    ]


def _thumbnail(path: str, max_pixels: int) -> str:
    """A small picture as a data URI; "" where the image is not there any more."""
    try:
        image = read_rgb(path, max_pixels=max_pixels)
    except (OSError, UnreadableImage):
        return ""
    image.thumbnail((THUMBNAIL, THUMBNAIL))
    return data_uri(np.asarray(image), "JPEG", 85)


def _link(path: str, page: Path) -> str:
    """Address of an image from the page; "" where the image is not there."""
    if not Path(path).is_file():
        return ""
    try:
        relative = os.path.relpath(path, page.parent)
    except ValueError:  # on another drive of Windows
        relative = os.path.abspath(path)
    return urllib.parse.quote(Path(relative).as_posix())
