"""The HTML page of a field or slide: its cells over an overview, in one file that works offline.

The page stores the numbers of the cells as arrays of bytes (base64, little-endian), about 50 bytes
per cell of six classes, so the page of a slide with 100,000 cells stays a few megabytes.
"""

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cervix_jax import __version__
from cervix_jax.evaluate.predictions_file import PREFIX
from cervix_jax.figures.html import data_uri, encoded_uri, template
from cervix_jax.files.atomic import write_text
from cervix_jax.predict.cell_summary import ABNORMAL, COUNT
from cervix_jax.predict.geojson import colour_of, nucleus_radius
from cervix_jax.predict.severity import Severity

_FINEST = 65535  # integer that stands for probability 1 in the page
_UNKNOWN_RADIUS = 6.0  # of a nucleus in pixels of the overview, if the pixel size is unknown
_THUMBNAIL_QUALITY = 85
SECTIONS = (
    ("summary", "Summary"),
    ("overview", "Overview"),
    ("suspicious", "Most suspicious cells"),
    ("making", "Provenance"),
)
Column = Sequence[Any] | np.ndarray  # numbers, texts, or sets of texts


def write_page(
    path: str | Path,
    *,
    title: str,
    thumbnail: np.ndarray,
    scale: float,
    positions: np.ndarray,
    probabilities: np.ndarray,
    severity: Severity,
    summary: Mapping[str, Any],
    provenance: Mapping[str, Any],
    columns: Mapping[str, Column] | None = None,
    chosen: np.ndarray | Sequence[int] = (),
    gallery: Sequence[np.ndarray] = (),
    side: float | None = None,
    attribution: bytes | None = None,
    attributions: Sequence[np.ndarray] = (),
    attribution_note: str = "",
) -> None:
    """Write the page of one field or slide, as a whole or not at all.

    All texts are escaped.

    Args:
      path: the file.
      title: its heading, e.g. the slide's name.
      thumbnail: uint8 [h, w, 3], of the whole field or slide, upright.
      scale: pixels of the finest level to a pixel of the thumbnail.
      positions: float [n, 2], x and y of the cells in pixels of the finest level. n may be 0.
      probabilities: float [n, C].
      severity: the C classes and their order.
      summary: the row of `cell_summary.summarise`.
      provenance: origin of the results by name: run, step, digest of the weights, detector, ...
      columns: further columns of the cells' table: by name n numbers, texts, or sets of texts.
      chosen: indices of the m cells of the gallery, from `cell_summary.suspicious`.
      gallery: m pictures of these cells, uint8 [s, s, 3], as the network's input.
      side: side of the crop around a cell, in pixels of the finest level.
      attribution: a PNG file of the whole field or slide that can be laid over the overview.
      attributions: pictures uint8 [s, s, 4] to lay over those of the gallery, all or none.
      attribution_note: explanation of the attribution pictures.

    Raises:
      InputError: the file cannot be written.
      ValueError: the arrays do not fit together.
    """
    rows = np.asarray(chosen, np.int64)
    pictures = {len(gallery), len(attributions) or len(gallery)}
    if not len(positions) == len(probabilities) or pictures != {len(rows)}:
        raise ValueError(
            f"{len(positions)} positions and {len(probabilities)} cells; {len(rows)} chosen, "
            f"{len(gallery)} pictures and {len(attributions)} attributions"
        )
    mpp = summary["mpp"]
    radius = nucleus_radius(mpp) if mpp else _UNKNOWN_RADIUS * scale
    cells = packed(positions, probabilities, severity.class_names, columns or {}) | {
        "thumbnail": [thumbnail.shape[1], thumbnail.shape[0]],
        "scale": scale,
        "radius": radius,
        "side": side,
    }
    text = template("cervix_jax.predict", "slide_page.html.j2").render(
        title=title,
        sections=SECTIONS,
        size=_size(summary),
        sentences=sentences(summary, severity),
        classes=_classes(summary, severity),
        abnormal_known=severity.abnormal is not None,
        order=severity.text(),
        thumbnail=data_uri(thumbnail, "JPEG", _THUMBNAIL_QUALITY),
        attribution=None if attribution is None else encoded_uri(attribution),
        attribution_note=attribution_note,
        cells=cells,
        attributed=attribution is not None or len(attributions) > 0,
        gallery=_gallery(rows, gallery, attributions, probabilities, severity),
        provenance={name: str(value) for name, value in provenance.items()},
        version=__version__,
    )
    write_text(path, text)


def packed(
    positions: np.ndarray,
    probabilities: np.ndarray,
    class_names: Sequence[str],
    columns: Mapping[str, Column],
) -> dict[str, Any]:
    """Cells for the page's script, JSON-ready.

    Args:
      positions: float [n, 2].
      probabilities: float [n, C].
      class_names: C names.
      columns: see `write_page`.

    Returns:
      `x` and `y` (float32), `kind` (uint16, the most probable class) and `p` (uint16, row by row)
      as base64; `classes` with name and colour; `columns` with name and either `numbers` (float32)
      or `texts`, which are distinct, and `index` (uint32) into them.
    """
    places = np.asarray(positions, np.float64).reshape(-1, 2)
    described = []
    for name, values in columns.items():
        if len(values) != len(places):
            raise ValueError(f"{name}: {len(values)} values of {len(places)} cells")
        described.append({"name": name} | _column(values))
    return {
        "count": len(places),
        "x": _bytes(places[:, 0], "<f4"),
        "y": _bytes(places[:, 1], "<f4"),
        "kind": _bytes(probabilities.argmax(1), "<u2"),
        "p": _bytes(np.rint(probabilities * _FINEST), "<u2"),
        "finest": _FINEST,
        "classes": [
            {"name": name, "colour": _colour(number)} for number, name in enumerate(class_names)
        ],
        "columns": described,
    }


def _column(values: Column) -> dict[str, Any]:
    if len(values) and not np.issubdtype(type(values[0]), np.number):
        texts = [each if isinstance(each, str) else ", ".join(each) or "none" for each in values]
        distinct, index = np.unique(np.asarray(texts, object), return_inverse=True)
        return {"texts": distinct.tolist(), "index": _bytes(index, "<u4")}
    return {"numbers": _bytes(np.asarray(values, np.float64), "<f4")}


def _bytes(values: np.ndarray, kind: str) -> str:
    return base64.b64encode(np.ascontiguousarray(values, kind).tobytes()).decode("ascii")


def _colour(number: int) -> str:
    return "#" + bytes(colour_of(number)).hex()


def sentences(summary: Mapping[str, Any], severity: Severity) -> list[str]:
    """A summary in words.

    Args:
      summary: from `cell_summary.summarise`.
      severity: the same.
    """
    total, left_out = summary["cells"], summary.get("left_out", 0)
    missing = [
        f"{left_out:,} row{'s' if left_out > 1 else ''} of tiles could not be read, so the cells "
        "there are missing."
    ][: left_out > 0]
    if not total:
        return ["No cell was detected, so this field or slide has no result.", *missing]
    said = [f"{total:,} cell{'s were' if total > 1 else ' was'} detected."]
    if severity.abnormal is not None:
        pairs = zip(severity.class_names, severity.abnormal, strict=True)
        names = [name for name, abnormal in pairs if abnormal]
        found = sum(summary[f"{COUNT}{name}"] for name in names)
        share, low, high = (_percent(summary[name], total) for name in ABNORMAL)
        said.append(
            f"Of these, {found:,} ({share} %, 95 % interval {low} to {high} %) have an abnormal "
            f"class as the most probable one ({', '.join(names)})."
        )
    if severity.known:
        least = f"{summary['min_probability']:g}"
        said.append(
            f"The worst finding with a probability of at least {least} is {summary['worst']}: "
            f"{summary['worst_probability']:.3f} in cell {summary['worst_cell']}."
            if summary["worst"]
            else f"No class reaches a probability of {least} in any cell."
        )
    name = summary["class"]
    said.append(
        f"All cells combined by the rule {summary['rule'].replace('_', ' ')}: {name} "
        f"({summary[f'{PREFIX}{name}']:.3f})."
    )
    return [*said, *missing]


def _percent(share: float, total: int) -> str:
    return f"{100 * share:.{1 if total < 1000 else 2}f}"


def _size(summary: Mapping[str, Any]) -> str:
    width, height, mpp = (summary[name] for name in ("width", "height", "mpp"))
    text = f"{width:,} by {height:,} pixels"
    if not mpp:
        return f"{text}; micrometres per pixel unknown"
    sides = " by ".join(f"{side * mpp / 1000:.3g}" for side in (width, height))
    return f"{text} of {mpp:.4g} micrometres, {sides} mm"


def _classes(summary: Mapping[str, Any], severity: Severity) -> list[dict[str, Any]]:
    total = summary["cells"]
    found = []
    for number, name in enumerate(severity.class_names):
        count, probability = summary[f"{COUNT}{name}"], summary[f"{PREFIX}{name}"]
        found.append(
            {
                "name": name,
                "colour": _colour(number),
                "count": f"{count:,}",
                "share": f"{_percent(count / total, total)} %" if total else "",
                "abnormal": severity.abnormal is not None and bool(severity.abnormal[number]),
                "probability": "" if probability is None else f"{probability:.3f}",
            }
        )
    return found


def _gallery(
    rows: np.ndarray,
    pictures: Sequence[np.ndarray],
    attributions: Sequence[np.ndarray],
    probabilities: np.ndarray,
    severity: Severity,
) -> list[dict[str, Any]]:
    cases = []
    for place, (row, pixels) in enumerate(zip(rows.tolist(), pictures, strict=True)):
        best = int(probabilities[row].argmax())
        case = {
            "number": row + 1,
            "name": severity.class_names[best],
            "colour": _colour(best),
            "probability": f"{probabilities[row, best]:.3f}",
            "image": data_uri(pixels, "JPEG"),
            "over": data_uri(attributions[place]) if len(attributions) else "",
        }
        if severity.abnormal is not None:
            case["abnormal"] = f"{probabilities[row, severity.abnormal].sum():.3f}"
        cases.append(case)
    return cases
