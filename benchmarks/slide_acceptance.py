r"""Analysis of a slide with known cells: time, memory, tiles a second, and recall of cells.

  python benchmarks/mosaic.py --cric=/path/to/cric --out=mosaic.svs
  python benchmarks/slide_acceptance.py --workdir=runs/cells --slide=mosaic.svs \
      --cells=mosaic_cells.csv --out=/tmp/mosaic.csv

The script runs the command `predict --field=cells` in a separate process and measures its peak
memory. It then compares the detected cells with the known cells: each detection, in order of
falling probability, is matched to the nearest unmatched known cell within the tolerance. The
tolerances are 12 and 24 px of a CRIC field 1280 px wide, because its published positions are
inaccurate by several pixels. Many cells are unmarked, so unmatched detections are not errors. A
detector finds more of the cells in fields that it was trained on; `--names` lists other fields,
whose cells are then also counted separately. The GeoJSON file is checked against the tests' schema
for QuPath. Options after `--` are passed to `predict`.
"""

import argparse
import collections
import csv
import os
import subprocess
import sys
import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]


def main() -> int:
    """Run the command, then compare; returns 1 if the GeoJSON file violates the schema."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workdir", type=Path, required=True, help="the classifier's run")
    parser.add_argument("--slide", type=Path, required=True)
    parser.add_argument(
        "--cells", type=Path, required=True, help="CSV file with x, y, class of the known cells"
    )
    parser.add_argument("--detector", default="", help="as predict's")
    parser.add_argument("--out", type=Path, required=True, help="CSV file that predict writes")
    parser.add_argument(
        "--names",
        type=Path,
        help="text file with names of fields whose cells are also counted separately",
    )
    parser.add_argument("--json", default="", help="JSON file for the results")
    parser.add_argument(
        "--reuse", action="store_true", help="compare an existing --out; do not run predict"
    )
    args, further = parser.parse_known_args()
    further = [word for word in further if word != "--"]
    record: dict[str, Any] = {}
    # Before large imports, because a process inherits the peak memory of its parent.
    if not args.reuse:
        record = run_command(args, further)
    record |= compare(args)
    print(text(record))
    from sides import write_json

    write_json(args.json, record)
    return 1 if record["geojson_problems"] else 0


def run_command(args: argparse.Namespace, further: Sequence[str]) -> dict[str, Any]:
    """Time in seconds and peak memory of the command."""
    command = [
        sys.executable, "-m", "cervix_jax.predict", f"--workdir={args.workdir}", str(args.slide),
        "--field=cells", f"--out={args.out}", "--overwrite",
        *([f"--detector={args.detector}"] if args.detector else []), *further,
    ]  # fmt: skip
    paths = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    began = time.perf_counter()
    process = subprocess.Popen(command, env=os.environ | {"PYTHONPATH": paths})
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"predict ended with exit code {process.returncode}")
    return {
        "seconds": seconds, "processor_s": usage.ru_utime + usage.ru_stime,
        "peak_gib": usage.ru_maxrss / 2**20,
    }  # fmt: skip


def compare(args: argparse.Namespace) -> dict[str, Any]:
    """Matched cells, and whether the GeoJSON file is valid."""
    import json

    import numpy as np

    sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "predict")]
    import json_schema

    from cervix_jax.detect.detector import SHIPPED, load_detector
    from cervix_jax.detect.evaluation import TOLERANCE
    from cervix_jax.slides import open_slide, tile_rows

    detector = load_detector(args.detector or SHIPPED)
    with open_slide(args.slide) as slide:
        size, mpp = slide.size, slide.require_mpp()
        rows = tile_rows(slide, mpp=detector.microns_per_pixel, margin=detector.context)
    known, found = table(args.cells), table(args.out)
    places = [np.asarray([[float(r["x"]), float(r["y"])] for r in rows_]).reshape(-1, 2)
              for rows_ in (known, found)]  # fmt: skip
    tolerance = TOLERANCE / mpp
    names = {Path(name).stem for name in args.names.read_text().split()} if args.names else None
    fields = table(args.out.with_name(f"{args.out.stem}_fields.csv"))
    geojson = args.out.with_suffix("") / fields[0]["geojson"]
    page = args.out.with_suffix("") / fields[0]["page"]
    schema = json.loads((ROOT / "tests/predict/qupath.schema.json").read_text(encoding="utf-8"))
    drawn = json.loads(geojson.read_text(encoding="utf-8"))
    problems = json_schema.problems(drawn, schema)
    return {
        "slide": args.slide.name, "size": size, "mpp": mpp, "rows": len(rows),
        "tiles": sum(map(len, rows)), "known": len(known), "detections": len(found),
        "tolerance_px": tolerance,
        "matches": {
            "12 px": matches(known, found, *places, tolerance, names),
            "24 px": matches(known, found, *places, 2 * tolerance, names),
        },
        "features": len(drawn["features"]), "geojson_problems": problems[:20],
        "geojson_mb": geojson.stat().st_size / 1e6, "page_mb": page.stat().st_size / 1e6,
        "summary": fields[0],
    }  # fmt: skip


def table(path: Path) -> list[dict[str, str]]:
    """Rows of a CSV file."""
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def matches(
    known: Sequence[Mapping[str, str]],
    found: Sequence[Mapping[str, str]],
    known_places: Any,
    found_places: Any,
    tolerance: float,
    names: Collection[str] | None = None,
) -> dict[str, Any]:
    """Known cells that were found, by class, with their predicted classes.

    Args:
      known: rows with `class`.
      found: rows with `nucleus` and `class`.
      known_places: float64 [m, 2], positions.
      found_places: float64 [n, 2], positions.
      tolerance: maximum distance, in the unit of the positions.
      names: fields whose known cells, by `image`, are also counted separately.
    """
    import numpy as np

    from cervix_jax.statistics.detection import match_points
    from cervix_jax.statistics.intervals import wilson_interval

    scores = np.asarray([float(row["nucleus"]) for row in found])
    order = np.argsort(-scores, kind="stable")
    matched = match_points(found_places[order], known_places, tolerance)
    by_class: dict[str, dict[str, Any]] = {}
    for cell, number in zip(known, matched, strict=True):
        each = by_class.setdefault(cell["class"], {"known": 0, "found": 0, "given": {}})
        each["known"] += 1
        if number >= 0:
            given = found[order[number]]["class"]
            each["found"] += 1
            each["given"][given] = each["given"].get(given, 0) + 1
    hit = matched >= 0

    def recall(cells: np.ndarray) -> dict[str, Any]:
        right, total = int(hit[cells].sum()), int(cells.sum())
        interval = list(wilson_interval(right, total))
        return {
            "known": total, "found": right, "recall": right / max(total, 1), "interval": interval
        }  # fmt: skip

    chosen = [names is not None and Path(cell.get("image", "")).stem in names for cell in known]
    away = np.zeros(0)
    if hit.any():
        away = np.linalg.norm(known_places[hit] - found_places[order][matched[hit]], axis=1)
    return recall(np.ones(len(known), bool)) | {
        "tolerance": tolerance, "by_class": by_class,
        "median_distance": float(np.median(away)) if len(away) else None,
        "named": None if names is None else recall(np.asarray(chosen, bool)),
    }  # fmt: skip


def text(record: Mapping[str, Any]) -> str:
    """The results as text and Markdown."""
    width, height = record["size"]
    lines = [
        f"{record['slide']}: {width} x {height} px at {record['mpp']:.4f} um/px, "
        f"{record['tiles']} tiles in {record['rows']} rows"
    ]
    if "seconds" in record:
        lines.append(
            f"{record['seconds']:.1f} s by the clock, {record['processor_s']:.1f} s of the "
            f"processor, {record['tiles'] / record['seconds']:.2f} tiles/s, "
            f"{record['detections'] / record['seconds']:.1f} cells/s (start and pages included), "
            f"peak memory {record['peak_gib']:.2f} GiB"
        )
    lines += [
        f"{record['detections']} cells found, {record['known']} known\n",
        "| tolerance, px of the slide | known cells found | recall (95 % Wilson) "
        "| median distance, px |",
        "|---|---|---|---|",
    ]
    for found in record["matches"].values():
        distance = found["median_distance"]
        away = "" if distance is None else f"{distance:.1f}"
        lines.append(f"| {found['tolerance']:.1f} | {words(found)} | {away} |")
        if found["named"]:
            lines.append(f"| of the fields named | {words(found['named'])} | |")
    lines += [
        "\n| class of the experts | found | predicted classes |",
        "|---|---|---|",
    ]
    for name, each in record["matches"]["12 px"]["by_class"].items():
        given = collections.Counter(each["given"]).most_common()
        lines.append(
            f"| {name} | {each['found']} of {each['known']} ({each['found'] / each['known']:.0%}) "
            f"| {', '.join(f'{label} {count}' for label, count in given)} |"
        )
    problems = record["geojson_problems"]
    lines += [
        f"\nGeoJSON: {record['features']} features, {record['geojson_mb']:.1f} MB, "
        + ("as the schema says" if not problems else f"NOT AS THE SCHEMA SAYS: {problems[:3]}"),
        f"page: {record['page_mb']:.1f} MB",
        "summary: " + ", ".join(f"{k} {v}" for k, v in record["summary"].items() if v),
    ]
    return "\n".join(lines)


def words(found: Mapping[str, Any]) -> str:
    """Number and recall of known cells, as two cells of a table."""
    low, high = found["interval"]
    share = f"{found['recall']:.1%} ({low:.1%} to {high:.1%})"
    return f"{found['found']} of {found['known']} | {share}"


if __name__ == "__main__":
    raise SystemExit(main())
