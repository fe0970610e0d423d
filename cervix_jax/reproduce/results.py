"""What the runs came to: `results.json` from their predictions, RESULTS.md from `results.json`."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from cervix_jax.evaluate.sides import read_reports, read_side
from cervix_jax.reproduce.experiments import Experiment
from cervix_jax.reproduce.rows import ROWS, Row
from cervix_jax.statistics import confusion
from cervix_jax.statistics.aggregation import RULES, aggregate
from cervix_jax.statistics.comparison import confusions
from cervix_jax.statistics.intervals import group_interval, wilson_interval
from cervix_jax.statistics.resampling import Resamples
from cervix_jax.statistics.table import PredictionTable, align, concatenate


def measure(experiment: Experiment) -> dict:
    """The outcome of a finished experiment, JSON-ready.

    Returns:
      `row, protocol, config, init, image_size, epochs, seeds, folds, n, groups`, `leakage` (None
      where the groups are not known),
      `accuracy` (mean over the seeds, all folds together), `sd` (between seeds; None for one),
      `interval` (Wilson), `interval_by_group` (images resampled by group, of the accuracy averaged
      over the seeds), `folds_accuracy` (mean over the seeds, by fold), `f1` (by class, mean over
      the seeds) and `clusters` (by rule of aggregation [right, total], of the first seed; None
      where every image is its own group).
    """
    config = experiment.config
    side = read_side(experiment.folder)
    seeds = sorted({seed for seed, _ in side.tables})
    folds = sorted({fold for _, fold in side.tables})
    whole = [_all_folds(side.tables, seed, folds) for seed in seeds]
    whole = [align(whole[0], table, ("the first seed", "another seed")) for table in whole]
    first = whole[0]
    right = np.mean([table.correct for table in whole], axis=0)
    by_seed = [float(table.correct.mean()) for table in whole]
    resamples = Resamples(first.groups)
    reports = read_reports(experiment.folder)
    counts = [report.n for report in reports]
    leaked = [report.leakage for report in reports if report.leakage is not None]
    leakage = float(np.average(leaked, weights=counts)) if len(leaked) == len(counts) else None
    return {
        "row": experiment.row.id,
        "protocol": experiment.protocol,
        "config": experiment.row.config,
        "init": experiment.init,
        "image_size": config.image_size,
        "epochs": config.num_epochs,
        "refit": config.split.refit,
        "seeds": len(seeds),
        "folds": len(folds),
        "n": len(first.labels),
        "groups": resamples.num_groups,
        "leakage": leakage,
        "accuracy": float(right.mean()),
        "sd": float(np.std(by_seed, ddof=1)) if len(seeds) > 1 else None,
        "interval": list(wilson_interval(round(float(right.sum())), len(right))),
        "interval_by_group": group_interval(resamples.means(right), resamples.num_groups),
        "folds_accuracy": [
            float(np.mean([side.tables[seed, fold].correct.mean() for seed in seeds]))
            for fold in folds
        ],
        "f1": dict(zip(first.class_names, np.mean([_f1(t) for t in whole], axis=0), strict=True)),
        "clusters": _clusters(first),
    }


def _all_folds(tables: dict, seed: int, folds: Sequence[int]) -> PredictionTable:
    own = [tables[seed, fold] for fold in folds]
    return own[0] if len(own) == 1 else concatenate(own)


def _f1(table: PredictionTable) -> np.ndarray:
    return confusion.f1(confusions(Resamples(table.groups, number=0), table))[0]


def _clusters(table: PredictionTable) -> dict[str, list[int]] | None:
    if len(set(table.groups.tolist())) == len(table.groups):
        return None
    found = {}
    for rule in RULES:
        groups, _ = aggregate(table, rule)
        found[rule] = [int(groups.correct.sum()), len(groups.labels)]
    return found


def markdown(results: dict) -> str:
    """RESULTS.md.

    Args:
      results: `outcomes` (see `measure`), `skipped` (name to reason), `shortcuts` (the baselines of
        `audit_dataset` and their `chance`; None), `command`, `environment` (of `env.json`).
    """
    outcomes = results["outcomes"]
    parts = [_head(results), _paper_table(outcomes), _f1_table(outcomes), _protocols(outcomes)]
    parts += [_clusters_table(outcomes), _shortcuts(results["shortcuts"])]
    parts += [_skipped(results["skipped"]), READING]
    return "\n\n".join(part for part in parts if part) + "\n"


TITLE = "The paper's table, ours beside it, and what needs no cell"
XLABEL = (
    "accuracy (shortcuts: balanced accuracy); 95 %, the paper's by Wilson, ours by group "
    "(shortcuts: sd of the folds)"
)
READING = """## How to read this

- Intervals are 95 %. Ours resample whole clusters or slides, whose images are alike; one that does
  not, because no groups are known, says Wilson. The paper's are Wilson's, which take the images for
  independent and mostly come out narrower: only its counts of right answers are known.
- The paper's multi-cell test set has 101 images: one image is a percent, and 91.09 % is 92 images,
  84 to 95 %. Most of the paper's models cannot be told apart on it.
- On the paper's single-cell split 91 % of the test cells come from clusters that are also in
  training or validation, which is why `cluster` and `block` stand beside it. `block` keeps
  neighbouring clusters together, which is the nearest thing to slides that SIPaKMeD has.
- The paper's published code turns validation and test images at random; here they are left as they
  are.
- No choice was made on a test image."""


def _head(results: dict) -> str:
    environment = results["environment"]
    versions = environment.get("versions", {})
    lines = [
        "# The paper's table, and ours beside it",
        "",
        "The paper is arXiv 2106.00557. Written by",
        "",
        f"    {results['command']}",
        "",
        f"on {environment.get('processor', 'an unknown processor')} "
        f"({', '.join(environment.get('devices', [])) or 'no device known'}), "
        f"jax {versions.get('jax', '?')}, cervix_jax {versions.get('cervix_jax', '?')}. "
        "The picture is `results.png`, all numbers are in `results.json`.",
    ]
    return "\n".join(lines)


def _paper_table(outcomes: Sequence[dict]) -> str:
    found = {o["row"]: o for o in outcomes if o["protocol"] == "paper"}
    lines = [
        "## On the paper's splits",
        "",
        "| row | network | data | paper (95 %, Wilson) | ours (95 %, by group) | our start | "
        "pixels | epochs | n |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in ROWS:
        paper = "not in the paper"
        if row.correct is not None and row.tested:
            paper = _percent(row.correct / row.tested, wilson_interval(row.correct, row.tested))
        ours = found.get(row.id)
        if ours is None and not row.is_paper:
            continue
        cells = ["not run", "", "", "", str(row.tested or "")]
        if ours is not None:
            spread = "" if ours["sd"] is None else f", ± {100 * ours['sd']:.1f} between seeds"
            refit = ", refit" if ours["refit"] else ""
            cells = [
                _ours(ours) + spread,
                ours["init"] + refit,
                str(ours["image_size"]),
                str(ours["epochs"]),
                str(ours["n"]),
            ]
        lines.append(
            f"| {row.id} | {row.title} | {_dataset(row)} | {paper} | {' | '.join(cells)} |"
        )
    return "\n".join(lines)


def _f1_table(outcomes: Sequence[dict]) -> str:
    lines = []
    for row in ROWS:
        ours = next((o for o in outcomes if (o["row"], o["protocol"]) == (row.id, "paper")), None)
        if ours is None or not row.f1:
            continue
        pairs = [f"{name} {paper:.3f} / {ours['f1'][name]:.3f}" for name, paper in row.f1.items()]
        lines.append(f"- {row.id}: {'; '.join(pairs)}")
    return "\n".join(["### F1 by class, paper / ours", "", *lines]) if lines else ""


def _protocols(outcomes: Sequence[dict]) -> str:
    rows = [o for o in outcomes if o["protocol"] != "paper"]
    if not rows:
        return ""
    lines = [
        "## The same networks under honest splits",
        "",
        "| row | protocol | accuracy (95 %, by group) | by fold | leakage | n | groups |",
        "|---|---|---|---|---|---|---|",
    ]
    for o in outcomes:
        folds = ", ".join(f"{100 * value:.1f}" for value in o["folds_accuracy"])
        leaked = "unknown" if o["leakage"] is None else f"{o['leakage']:.1%}"
        lines.append(
            f"| {o['row']} | `{o['protocol']}` | {_ours(o)} | "
            f"{folds if o['folds'] > 1 else ''} | {leaked} | {o['n']} | {o['groups']} |"
        )
    return "\n".join(lines)


def _clusters_table(outcomes: Sequence[dict]) -> str:
    rows = [o for o in outcomes if o["clusters"] and o["leakage"] == 0]
    if not rows:
        return ""
    lines = [
        "## From cells to clusters",
        "",
        "Clusters whose cells, joined by a rule, are called right. Under `paper_clusters` they are "
        "the 101 test images of the paper's multi-cell rows, of which its best network has 92.",
        "",
        f"| row | protocol | {' | '.join(rule.replace('_', ' ') for rule in RULES)} | clusters |",
        f"|---|---|{'---|' * len(RULES)}---|",
    ]
    for o in rows:
        right = " | ".join(str(o["clusters"][rule][0]) for rule in RULES)
        total = next(iter(o["clusters"].values()))[1]
        lines.append(f"| {o['row']} | `{o['protocol']}` | {right} | {total} |")
    return "\n".join(lines)


def _shortcuts(shortcuts: dict | None) -> str:
    if shortcuts is None:
        return ""
    baselines = shortcuts["baselines"]
    protocols = list(next(iter(baselines.values())))
    lines = [
        "## What needs no cell at all",
        "",
        f"Balanced accuracy of random forests on simple features of {shortcuts['dataset']} (chance "
        f"{shortcuts['chance']:.2f}), from `python -m cervix_jax.audit`.",
        "",
        f"| features | {' | '.join(f'`{name}`' for name in protocols)} |",
        f"|---|{'---|' * len(protocols)}",
    ]
    for name, by_protocol in baselines.items():
        values = " | ".join(f"{by_protocol[p]['mean']:.3f}" for p in protocols)
        lines.append(f"| {name} | {values} |")
    return "\n".join(lines)


def _skipped(skipped: dict[str, str]) -> str:
    if not skipped:
        return ""
    names: dict[str, list[str]] = {}
    for name, reason in skipped.items():
        names.setdefault(reason, []).append(name)
    lines = [f"- {'; '.join(same)}: {reason}" for reason, same in names.items()]
    return "\n".join(["## Left out", "", *lines])


def _dataset(row: Row) -> str:
    named = row.config.partition(":")[2].partition(",")[0]
    return named if "/" in named else "herlev/default"


def _percent(value: float, interval: Sequence[float]) -> str:
    return f"{100 * value:.2f} % ({100 * interval[0]:.1f} to {100 * interval[1]:.1f})"


def _has_groups(outcome: dict) -> bool:
    """Whether the interval by group is one of groups, and not of single images."""
    return outcome["interval_by_group"] is not None and outcome["groups"] < outcome["n"]


def _interval(outcome: dict) -> Sequence[float]:
    return outcome["interval_by_group"] if _has_groups(outcome) else outcome["interval"]


def _ours(outcome: dict) -> str:
    """Our accuracy with its interval, and whose interval that is where it is not by group."""
    text = _percent(outcome["accuracy"], _interval(outcome))
    return text if _has_groups(outcome) else f"{text[:-1]}, Wilson)"


def intervals_to_draw(results: dict) -> dict[str, dict[str, tuple[float, float, float]]]:
    """What the picture shows: line to series to (value, low, high), all in [0, 1]."""
    lines: dict[str, dict[str, tuple[float, float, float]]] = {}
    for row in ROWS:
        label = f"{row.id}: {row.title}, {_dataset(row)}"
        if row.correct is not None and row.tested:
            interval = wilson_interval(row.correct, row.tested)
            lines[label] = {"paper, as published": (row.correct / row.tested, *interval)}
        for o in results["outcomes"]:
            if o["row"] == row.id:
                low, high = _interval(o)
                series = f"split {o['protocol']}"
                lines.setdefault(label, {})[series] = (o["accuracy"], low, high)
    shortcuts = results["shortcuts"]
    for name, by_protocol in (shortcuts["baselines"] if shortcuts else {}).items():
        for protocol, found in by_protocol.items():
            mean, deviation = found["mean"], found["deviation"] or 0.0
            series = f"split {protocol}"
            line = lines.setdefault(f"shortcut: {name}", {})
            line[series] = (mean, mean - deviation, mean + deviation)
    return lines


def newest_environment(experiments: Sequence[Experiment]) -> Path | None:
    """`env.json` of the run that was finished last."""
    found = [
        run / "env.json" for e in experiments for run in e.runs if (run / "env.json").is_file()
    ]
    return max(found, key=lambda path: path.stat().st_mtime, default=None)
