r"""Effect of one change of a training recipe: cross-validations with and without it, by fold.

  python benchmarks/ablations.py --base=runs/block_stretch \
      --variant="two views=runs/block_views" --variant="stain vectors=runs/block_stain" \
      --out=benchmarks/results/ablations.json

Each folder is a cross-validation, `<folder>/seed<s>/fold<f>`. A variant may have fewer seeds and
folds than the base; the comparison uses those that both have. Choose between variants by the
validation accuracy of the best checkpoint (`metrics.jsonl`). The table also shows the test
accuracy, and the difference with its bootstrap interval over groups.

An ensemble can be a variant too, without validation accuracy: `python -m cervix_jax.evaluate
--ensemble A B --out=<folder>/seed0/fold4/evaluate`, where A and B are fold 4 of two
cross-validations.
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

from cervix_jax.evaluate.predictions_file import SUFFIX, read_table  # noqa: E402
from cervix_jax.evaluate.report_file import read_report  # noqa: E402
from cervix_jax.evaluate.sides import members_of  # noqa: E402
from cervix_jax.files.atomic import read_json  # noqa: E402
from cervix_jax.statistics.intervals import ANY, group_interval  # noqa: E402
from cervix_jax.statistics.resampling import Resamples  # noqa: E402
from cervix_jax.statistics.table import align  # noqa: E402


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--base", type=Path, required=True, help="a cross-validation")
    parser.add_argument(
        "--variant",
        action="append",
        default=[],
        help="<name>=<cross-validation>, or <name>=<cross-validation>:test_tta",
    )
    parser.add_argument("--out", type=Path, help="JSON file")
    args = parser.parse_args()
    rows = []
    for given in args.variant:
        name, _, place = given.partition("=")
        folder, _, split = place.partition(":")
        rows.append(measured(args.base, name, Path(folder), split or "test"))
    print(table(rows))
    if args.out:
        write_json(args.out, {"base": args.base.name, "variants": rows})


def measured(base: Path, name: str, folder: Path, split: str = "test") -> dict[str, Any]:
    """Compare a variant with the base, on the seeds and folds that both have.

    Returns:
      `name`, `runs` (seed, fold, n, and for `base` and `variant` the accuracy on `validation`
      images, None without validation, and on `test` images), their means over runs, and
      `difference` of the test accuracies over all images, variant minus base (mean over seeds),
      with `interval` (95 %, by group).
    """
    ours, theirs = members_of(folder, f"{split}{SUFFIX}"), members_of(base, f"test{SUFFIX}")
    runs, gains, groups = [], {}, {}
    for member in sorted(ours.keys() & theirs.keys()):
        seed, fold = member
        sides = {"base": accuracies(theirs[member]), "variant": accuracies(ours[member], split)}
        runs.append({"seed": seed, "fold": fold} | sides)
        before = read_table(theirs[member] / "evaluate" / f"test{SUFFIX}")
        after = read_table(ours[member] / "evaluate" / f"{split}{SUFFIX}")
        after = align(before, after, (str(base), str(folder)))
        names = [str(fold), *before.filenames]
        if groups.setdefault(fold, (names, before.groups))[0] != names:
            raise SystemExit(f"{base}: seeds of fold {fold} do not test the same images in order.")
        gains.setdefault(fold, []).append(after.correct.astype(float) - before.correct)
    if not runs:
        raise SystemExit(f"{folder}: has no seed and fold in common with {base}.")
    gain = np.concatenate([np.mean(gains[fold], axis=0) for fold in sorted(gains)])
    resamples = Resamples(np.concatenate([groups[fold][1] for fold in sorted(gains)]))
    return {
        "name": name,
        "runs": runs,
        **{
            f"{side}_{kind}": _mean([run[side][kind] for run in runs])
            for side in ("base", "variant")
            for kind in ("validation", "test")
        },
        "difference": float(gain.mean()),
        "interval": group_interval(resamples.means(gain), resamples.num_groups, bounds=ANY),
    }


def accuracies(run: Path, split: str = "test") -> dict[str, float | None]:
    """Accuracy of the best checkpoint on validation and on test images."""
    report = read_report(run / "evaluate" / f"{split}.json")
    if report is None:
        raise SystemExit(f"{run}: {split} is not evaluated.")
    validation, kept = None, run / "metrics.jsonl"  # an ensemble has no metrics.jsonl
    lines = kept.read_text(encoding="utf-8").splitlines() if kept.is_file() else []
    for line in map(json.loads, lines):
        if line["step"] == report.step and "val/accuracy" in line:
            validation = line["val/accuracy"]
    if split != "test":  # predicted otherwise, and so were the validation images
        same = read_report(run / "evaluate" / f"val{split.removeprefix('test')}.json")
        validation = same and same.metric("accuracy").estimate
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
