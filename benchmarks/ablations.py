r"""What one change of a recipe brings: cross-validations that differ in it, fold by fold.

  python benchmarks/ablations.py --base=runs/block_stretch \
      --variant="two views=runs/block_views" --variant="stain vectors=runs/block_stain" \
      --out=benchmarks/results/ablations.json

Each folder is a cross-validation, `<folder>/seed<s>/fold<f>`; a variant may have fewer seeds and
folds than the base, and is compared with it on those that both have. A choice between them is made
by the accuracy on validation images, of the checkpoint that was kept (`metrics.jsonl`); the test
accuracy stands beside it, with the interval of the difference by resampling whole groups.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from sides import write_json

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from cervix_jax.evaluate.report_file import read_report  # noqa: E402
from cervix_jax.evaluate.sides import members_of, read_side  # noqa: E402
from cervix_jax.files.atomic import read_json  # noqa: E402
from cervix_jax.statistics.side_by_side import Member, compare  # noqa: E402

PREDICTIONS = "test_predictions.csv"


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--base", type=Path, required=True, help="a cross-validation")
    parser.add_argument("--variant", action="append", default=[], help="<name>=<cross-validation>")
    parser.add_argument("--out", type=Path, help="JSON file")
    parser.add_argument("--split", default="test", help="files of the variants, e.g. test_tta")
    args = parser.parse_args()
    rows = [
        measured(args.base, name, Path(folder), args.split)
        for name, _, folder in (given.partition("=") for given in args.variant)
    ]
    print(table(rows))
    if args.out:
        write_json(args.out, {"base": args.base.name, "variants": rows})


def measured(base: Path, name: str, folder: Path, split: str = "test") -> dict[str, Any]:
    """A variant beside the base, on the seeds and folds that both have.

    Returns:
      `name`, `runs` (seed, fold, n, and of `base` and `variant` the accuracy on `validation`, None
      where nothing was validated, and `test` images), their means over runs, and `difference` of
      the test accuracies over all images, variant minus base, with `interval` (95 %, by group).
    """
    ours, theirs = members_of(folder, PREDICTIONS), members_of(base, PREDICTIONS)
    runs = []
    for member in sorted(ours.keys() & theirs.keys()):
        runs.append(
            {"seed": member[0], "fold": member[1]}
            | {"base": accuracies(theirs[member]), "variant": accuracies(ours[member], split)}
        )
    if not runs:
        raise SystemExit(f"{folder}: has no seed and fold in common with {base}.")
    sides = read_side(str(folder), split), read_side(str(base))
    wanted: set[Member] = {(run["seed"], run["fold"]) for run in runs}
    for side in sides:
        for member in side.tables.keys() - wanted:
            del side.tables[member]
    accuracy = next(row for row in compare(*sides).rows if row.metric == "accuracy")
    means = {
        f"{side}_{kind}": _mean([run[side][kind] for run in runs])
        for side in ("base", "variant")
        for kind in ("validation", "test")
    }
    return {
        "name": name,
        "runs": runs,
        **means,
        "difference": accuracy.difference,
        "interval": accuracy.interval,
    }


def accuracies(run: Path, split: str = "test") -> dict[str, float | None]:
    """Of the checkpoint that was kept, on validation and on test images."""
    report = read_report(run / "evaluate" / f"{split}.json")
    if report is None:
        raise SystemExit(f"{run}: {split} is not evaluated.")
    lines = (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    validation = None
    for line in map(json.loads, lines):
        if line["step"] == report.step and "val/accuracy" in line:
            validation = line["val/accuracy"]
    refit = (read_json(run / "config.json") or {}).get("split", {}).get("refit")
    return {
        "validation": None if refit else validation,
        "test": float(report.metric("accuracy").estimate or 0.0),
    }


def _mean(values: list[float | None]) -> float | None:
    return None if None in values else float(np.mean(np.asarray(values, float)))


def table(rows: list[dict[str, Any]]) -> str:
    """The rows in Markdown, in percent."""
    lines = [
        "| variant | runs (seed/fold) | validation: base, variant | test: base, variant | "
        "difference, test (95 %, by group) |",
        "|---|---|---|---|---|",
    ]
    for row in rows:
        runs = ", ".join(f"{run['seed']}/{run['fold']}" for run in row["runs"])
        pairs = [
            ", ".join(_percent(row[f"{side}_{kind}"]) for side in ("base", "variant"))
            for kind in ("validation", "test")
        ]
        low, high = row["interval"] or (float("nan"), float("nan"))
        difference = f"{100 * row['difference']:+.1f} ({100 * low:+.1f} to {100 * high:+.1f})"
        lines.append(f"| {row['name']} | {runs} | {pairs[0]} | {pairs[1]} | {difference} |")
    return "\n".join(lines)


def _percent(value: float | None) -> str:
    return "none" if value is None else f"{100 * value:.1f}"


if __name__ == "__main__":
    main()
