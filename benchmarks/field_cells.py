r"""Cells in SIPaKMeD's fields: recall of the detector, and classes predicted by a run.

  python benchmarks/field_cells.py --workdir=runs/cells --fields=/path/to/sipakmed_fields

The run must not have been trained on the fields' clusters. `--fields` contains SIPaKMeD's fields
(im_X/im_X/NNN and their contours) and `crop_positions.csv`, the box of every published cell: class,
cluster, crop, x, y, w, h in pixels of a field. `predict --field=cells` runs on the fields once with
the detector and once with the Laplacian of a Gaussian ("blobs"), at a low threshold. Recall is
reported at the detector's own threshold and at thresholds with 20 to 200 detections a field. A cell
counts as found if a detection lies in its box without the margin of 10 px; each detection counts
for one cell. If experts drew nuclei, detections inside the contours are counted too. Boxes of some
cells only are known, so the precision is a lower bound. Every cell of a field has the field's
class. The script therefore compares three predictions with it: at the position of the detection, at
the centre of the known box, and from the box as published by SIPaKMeD.
"""

import argparse
import csv
import dataclasses
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment
from sides import write_json
from skimage.measure import points_in_poly

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from cervix_jax.detect.detector import BLOBS, SHIPPED, load_detector  # noqa: E402
from cervix_jax.files.images import is_image  # noqa: E402
from cervix_jax.predict.workflow import predict_images  # noqa: E402
from cervix_jax.runs.run import Run, load_run  # noqa: E402
from cervix_jax.slides import Slide, open_slide  # noqa: E402
from cervix_jax.statistics.detection import BUDGETS  # noqa: E402
from cervix_jax.statistics.intervals import wilson_interval  # noqa: E402
from tfds_builders.sipakmed.contours import read_contour  # noqa: E402
from tfds_builders.sipakmed.sipakmed_dataset_builder import MICRONS_PER_PIXEL  # noqa: E402

MARGIN = 10  # px about a cytoplasm that SIPaKMeD's crops have
LEAST = 0.05  # the score of what is looked at, or the detector's own where that is lower
COUNTS = ("cells", "found", "right")


@dataclasses.dataclass(frozen=True)
class Field:
    """A field, its class, and its known cells.

    Attributes:
      path: image file.
      name: class/cluster.
      label: the class of all its cells.
      boxes: float64 [m, 4], left, top, right and bottom of the published crops.
      contours: contours of the nuclei [m] as float64 [k, 2]; empty without annotation.
    """

    path: Path
    name: str
    label: str
    boxes: np.ndarray
    contours: Sequence[np.ndarray] = ()


@dataclasses.dataclass(frozen=True)
class Cells:
    """Detections of a field in any order.

    Attributes:
      positions: float64 [n, 2], in pixels of the field.
      scores: float64 [n], scores of the detector.
      probabilities: float64 [n, C], probabilities of the run.
    """

    positions: np.ndarray
    scores: np.ndarray
    probabilities: np.ndarray

    def above(self, least: float) -> "Cells":
        """Detections with at least this score."""
        chosen = self.scores >= least
        return Cells(self.positions[chosen], self.scores[chosen], self.probabilities[chosen])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workdir", type=Path, required=True, help="the classifier's run")
    parser.add_argument("--step", default="best", help="of its checkpoint")
    parser.add_argument("--fields", type=Path, required=True, help="folder of the fields")
    parser.add_argument(
        "--detector", default=SHIPPED, help="detector as for predict; blobs is always measured too"
    )
    parser.add_argument("--mpp", type=float, default=MICRONS_PER_PIXEL, help="of the fields")
    parser.add_argument("--crop", type=int, default=0, help="as for predict, for runs that need it")
    parser.add_argument("--only", type=int, default=0, help="maximum number of fields; 0 means all")
    parser.add_argument("--out", default="", help="JSON file for the results")
    args = parser.parse_args()
    run = load_run(args.workdir, args.step)
    fields = read_fields(args.fields)[: args.only or None]
    check_classes(run.class_names, fields)
    record: dict[str, Any] = {
        "run": args.workdir.name, "step": run.step, "fields": [field.name for field in fields],
        "mpp": args.mpp, "field_of_view": run.field_of_view,
        "known": known_places(run, fields, args.mpp, args.crop), "detectors": {},
    }  # fmt: skip
    print(text_of_known(record["known"]), flush=True)
    for name in dict.fromkeys((args.detector, BLOBS)):
        own = load_detector(name).least
        found = detect(run, fields, name, min(LEAST, own), args.mpp, args.crop)
        label = name if name in (SHIPPED, BLOBS) else Path(name).name
        measured = measure(found, fields, run.class_names, own)
        record["detectors"][label] = measured
        print(text_of_detector(label, measured), flush=True)
        write_json(args.out, record)


def read_fields(root: Path) -> list[Field]:
    """The fields of `crop_positions.csv`, in its order."""
    with (root / "crop_positions.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    fields = []
    for label, cluster in dict.fromkeys((row["class"], row["cluster"]) for row in rows):
        own = [row for row in rows if (row["class"], row["cluster"]) == (label, cluster)]
        sides = np.asarray([[float(row[key]) for key in "xywh"] for row in own])
        boxes = np.concatenate([sides[:, :2], sides[:, :2] + sides[:, 2:]], axis=1)
        paths = [p for p in sorted(root.glob(f"{label}/**/{cluster}.*"))
                 if is_image(p)]  # fmt: skip
        if not paths:
            raise SystemExit(f"{root}/{label}: has no field {cluster}")
        drawn = [paths[0].with_name(f"{cluster}_nuc{row['crop'][-2:]}.dat") for row in own]
        contours = []
        if all(path.exists() for path in drawn):
            with open_slide(paths[0], MICRONS_PER_PIXEL) as slide:
                contours = [read_contour(path, slide.size[::-1]) for path in drawn]
        fields.append(
            Field(paths[0], f"{label}/{cluster}", label.removeprefix("im_"), boxes, contours)
        )
    return fields


def check_classes(class_names: Sequence[str], fields: Iterable[Field]) -> None:
    """Every field's class must be one of the run's."""
    known = [plain(name) for name in class_names]
    if missing := sorted({field.label for field in fields if plain(field.label) not in known}):
        raise SystemExit(f"the run has no class {missing}; it has {', '.join(class_names)}")


def plain(name: str) -> str:
    """A class name without prefix im_, case and hyphens, which differ between copies."""
    return "".join(letter for letter in name.lower().removeprefix("im_") if letter.isalnum())


def detect(
    run: Run, fields: Sequence[Field], detector: str, least: float, mpp: float, crop: int
) -> dict[str, Cells]:
    """Detections of the command by field name, including low scores."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder) / "cells.csv"
        predict_images(
            run, [field.path for field in fields], out=table, field="cells", detector=detector,
            min_nucleus=least, mpp=mpp, crop=crop, strict=True,
            progress=False,
        )  # fmt: skip
        with table.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    for field in fields:
        own = [row for row in rows if row["path"] == str(field.path)]
        found[field.name] = Cells(
            numbers(own, ["x", "y"]), numbers(own, ["nucleus"])[:, 0],
            numbers(own, [f"p_{name}" for name in run.class_names]),
        )  # fmt: skip
    return found


def numbers(rows: Sequence[Mapping[str, str]], columns: Sequence[str]) -> np.ndarray:
    """Columns of a table, float64 [rows, columns]."""
    values = [[float(row[column]) for column in columns] for row in rows]
    return np.asarray(values, np.float64).reshape(-1, len(columns))


def matched(points: np.ndarray, allowed: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """One detection for each cell: as many cells as possible, then the nearest to their centres.

    Args:
      points: float64 [n, 2], the detections.
      allowed: bool [m, n], whether a detection may count for a cell.
      centres: float64 [m, 2], centres of the cells.

    Returns:
      int [m], the detection of each cell, -1 for none.
    """
    found = np.full(len(centres), -1)
    if not allowed.any():
        return found
    away = np.linalg.norm(centres[:, None] - points[None], axis=2)
    # More than all distances together, so that no distance outweighs a cell.
    impossible = float(away.max() + 1) * len(centres)
    cells, chosen = linear_sum_assignment(np.where(allowed, away, impossible))
    kept = allowed[cells, chosen]
    found[cells[kept]] = chosen[kept]
    return found


def in_boxes(points: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Whether points [n, 2] lie in boxes [m, 4] without their margin; bool [m, n]."""
    low, high = boxes[:, None, :2] + MARGIN, boxes[:, None, 2:] - MARGIN
    return ((points >= low) & (points <= high)).all(2)


def in_contours(points: np.ndarray, contours: Sequence[np.ndarray]) -> np.ndarray:
    """Whether points [n, 2] lie in polygons [m]; bool [m, n]."""
    inside = [points_in_poly(points, contour) for contour in contours]
    return np.asarray(inside, bool).reshape(len(contours), len(points))


def middles(boxes: np.ndarray) -> np.ndarray:
    """Centres [m, 2] of boxes [m, 4]."""
    return (boxes[:, :2] + boxes[:, 2:]) / 2


def majority(probabilities: np.ndarray) -> int:
    """The most frequent class of cells [n, C]; ties by mean probability; -1 without cells."""
    if not len(probabilities):
        return -1
    votes = np.bincount(probabilities.argmax(1), minlength=probabilities.shape[1])
    return int(np.argmax(votes + probabilities.mean(0) / 2))


def measure(
    found: Mapping[str, Cells], fields: Sequence[Field], class_names: Sequence[str], own: float
) -> dict[str, Any]:
    """Cells found and their classes by threshold; by field and class at the own threshold."""
    scores = np.sort(np.concatenate([cells.scores for cells in found.values()]))[::-1]
    ranks = [budget * len(fields) for budget in BUDGETS]
    budgets = {float(scores[rank - 1]) for rank in ranks if rank <= len(scores)}
    curve, chosen = [], []
    for threshold in sorted({min(LEAST, own), own, *budgets}):
        rows = [by_field(field, found[field.name], class_names, threshold) for field in fields]
        sums = {
            key: sum(row[key] for row in rows)
            for key in (*COUNTS, "detections", "in_contours", "contours", "majority_right")
        }
        curve.append({
            "threshold": threshold, "own": threshold == own, **sums,
            "recall": share(sums["found"], sums["cells"]),
            "right_of_all": share(sums["right"], sums["cells"]),
            "right_of_found": share(sums["right"], sums["found"]),
            "detections_per_field": sums["detections"] / len(fields),
            "precision_at_least": sums["found"] / max(sums["detections"], 1),
            "majorities": share(sums["majority_right"], len(fields)),
        })  # fmt: skip
        if threshold == own:
            chosen = rows
    return {
        "threshold": own, "curve": curve, "by_field": chosen, "by_class": by_class(chosen, COUNTS)
    }  # fmt: skip


def by_field(
    field: Field, cells: Cells, class_names: Sequence[str], threshold: float
) -> dict[str, Any]:
    """Detections in a field at a threshold, and their classes."""
    # The table has six digits: no cell may be lost by its rounding.
    cells = cells.above(threshold * (1 - 1e-5))
    true = [plain(name) for name in class_names].index(plain(field.label))
    points, centres = cells.positions, middles(field.boxes)
    places = matched(points, in_boxes(points, field.boxes), centres)
    hits = places[places >= 0]
    given = cells.probabilities.argmax(1) if len(points) else np.zeros(0, int)
    most = majority(cells.probabilities)
    within = 0
    if field.contours:
        within = int((matched(points, in_contours(points, field.contours), centres) >= 0).sum())
    return {
        "field": field.name, "class": field.label, "cells": len(field.boxes),
        "found": len(hits), "right": int((given[hits] == true).sum()), "detections": len(points),
        "in_contours": within, "contours": len(field.contours),
        "majority": class_names[most] if most >= 0 else "", "majority_right": most == true,
        "votes": dict(zip(class_names, np.bincount(given, minlength=len(class_names)).tolist(),
                          strict=True)),
    }  # fmt: skip


def by_class(rows: Sequence[Mapping[str, Any]], keys: Sequence[str]) -> dict[str, dict[str, int]]:
    """Sums of the counts of fields, by their class."""
    sums: dict[str, dict[str, int]] = {}
    for row in rows:
        own = sums.setdefault(row["class"], dict.fromkeys(keys, 0))
        for key in keys:
            own[key] += row[key]
    return sums


def known_places(
    run: Run, fields: Sequence[Field], mpp: float, crop: int
) -> dict[str, dict[str, Any]]:
    """Classes at the known boxes: from the square around the centre, and from the box itself."""
    names = [plain(name) for name in run.class_names]
    side = crop or (run.field_of_view or 0) / mpp
    measured = {}
    for way in ["middle of the box"] * bool(side) + ["box cut out"]:
        rows = []
        for field in fields:
            with open_slide(field.path, mpp) as slide:
                if way == "box cut out":
                    crops = [box_pixels(slide, box) for box in field.boxes]
                    logits = run.logits(crops, batch_size=32, mpp=mpp)
                else:  # as `predict` reads the square about a nucleus
                    squares = [
                        square_pixels(slide, box, side, run.config.image_size)
                        for box in field.boxes
                    ]
                    logits = run.logits(np.stack(squares), batch_size=32)
            chosen = np.exp(logits - logits.max(1, keepdims=True))
            chosen = chosen / chosen.sum(1, keepdims=True)
            true = names.index(plain(field.label))
            rows.append({
                "field": field.name, "class": field.label, "cells": len(field.boxes),
                "right": int((chosen.argmax(1) == true).sum()),
                "majority": run.class_names[majority(chosen)],
                "majority_right": majority(chosen) == true,
            })  # fmt: skip
        right, cells = (sum(row[key] for row in rows) for key in ("right", "cells"))
        measured[way] = {
            "by_field": rows, "by_class": by_class(rows, ("cells", "right")),
            "right": share(right, cells),
            "majorities": share(sum(row["majority_right"] for row in rows), len(rows)),
        }  # fmt: skip
    return measured


def square_pixels(slide: Slide, box: np.ndarray, side: float, size: int) -> np.ndarray:
    """The square of a given side around the centre of a box, uint8 [size, size, 3]."""
    x, y = middles(box[None])[0].tolist()
    half = side / 2
    return slide.read((x - half, y - half, x + half, y + half), (size, size))


def box_pixels(slide: Slide, box: np.ndarray) -> np.ndarray:
    """The crop as published."""
    left, top, right, bottom = box.tolist()
    return slide.read((left, top, right, bottom), (round(right - left), round(bottom - top)))


def share(part: int, whole: int) -> dict[str, Any]:
    """A share with its Wilson interval."""
    low, high = wilson_interval(part, whole)
    return {"part": part, "of": whole, "share": part / max(whole, 1), "interval": [low, high]}


def words(found: Mapping[str, Any]) -> str:
    """A share in words."""
    low, high = found["interval"]
    return f"{found['part']} of {found['of']} ({found['share']:.0%}, {low:.0%} to {high:.0%})"


def text_of_known(known: Mapping[str, Any]) -> str:
    """Classes at the known boxes, in Markdown."""
    lines = ["| known place | cells right | fields by majority |", "|---|---|---|"]
    lines += [
        f"| {way} | {words(found['right'])} | {words(found['majorities'])} |"
        for way, found in known.items()
    ]
    for way, found in known.items():
        each = [f"{label} {n['right']} of {n['cells']}" for label, n in found["by_class"].items()]
        lines.append(f"\n{way}, by class: " + "; ".join(each))
    return "\n".join(lines)


def text_of_detector(name: str, found: Mapping[str, Any]) -> str:
    """Detections and their classes, in Markdown."""
    lines = [
        f"\ndetector {name}, its own threshold {found['threshold']:.3f} (marked *)\n",
        "| threshold | detections a field | recall (95 % Wilson) | precision, at least "
        "| in the nucleus's contour | right class, of all known cells | of those found "
        "| fields by majority |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in found["curve"]:
        cells = [
            f"{row['threshold']:.3f}{'*' if row['own'] else ''}",
            f"{row['detections_per_field']:.1f}", words(row["recall"]),
            f"{row['precision_at_least']:.1%}", f"{row['in_contours']} of {row['contours']}",
            words(row["right_of_all"]), words(row["right_of_found"]),
            f"{row['majorities']['part']} of {row['majorities']['of']}",
        ]  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    lines += [
        "\n| field | found* | right | detections | majority | votes |", "|---|---|---|---|---|---|",
    ]  # fmt: skip
    for field in found["by_field"]:
        votes = ", ".join(f"{name} {count}" for name, count in field["votes"].items() if count)
        mark = "" if field["majority_right"] else " (wrong)"
        lines.append(
            f"| {field['field']} | {field['found']} of {field['cells']} | {field['right']} | "
            f"{field['detections']} | {field['majority'] or 'none'}{mark} | {votes} |"
        )
    each = [
        f"{label}: {n['right']} right and {n['found']} found of {n['cells']}"
        for label, n in found["by_class"].items()
    ]
    lines.append("\nby class*: " + "; ".join(each))
    return "\n".join(lines)


if __name__ == "__main__":
    main()
