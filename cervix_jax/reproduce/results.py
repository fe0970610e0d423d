"""RESULTS.md and its picture, from the contents of `results.json`."""

from collections.abc import Sequence

from cervix_jax.reproduce import tables
from cervix_jax.reproduce.rows import ROWS
from cervix_jax.statistics.intervals import wilson_interval


def markdown(
    results: dict,
    *,
    numbers: str = "results.json",
    picture: str = "results.png",
    predictions: str = "predictions",
) -> str:
    """The text of RESULTS.md.

    Args:
      results: contents of `results.json`: `outcomes` (see `measure`, each with the `command` that
        ran it), `skipped` (name to reason), `shortcuts` (the baselines of `audit_dataset` and their
        `chance`, or None), `note` (Markdown for the top, or "").
      numbers: path of `results.json` for links.
      picture: path of the picture.
      predictions: folder of the predictions.
    """
    outcomes = results["outcomes"]
    head = _head(outcomes, numbers, predictions)
    parts = [head, results["note"].strip(), f"![paper and ours, with intervals]({picture})"]
    parts += [tables.paper(outcomes), tables.f1(outcomes), tables.protocols(outcomes)]
    parts += [tables.joined_classes(outcomes), tables.clusters(outcomes)]
    parts += [tables.shortcuts(results["shortcuts"]), tables.left_out(results["skipped"]), READING]
    return "\n\n".join(part for part in parts if part) + "\n"


TITLE = "Results of the paper, of this package, and of shortcut baselines without cell shape"
XLABEL = (
    "accuracy (shortcuts: balanced accuracy); 95 % intervals: paper by Wilson, ours by group "
    "(shortcuts: sd over folds)"
)
READING = """## How to read this

- Intervals are 95 %. Our intervals resample whole clusters or slides, because images of one cluster
  or slide resemble each other. If no groups are known, or every image is its own group, the
  interval is a Wilson interval and marked so. The paper gives only its counts of right answers, so
  its intervals are Wilson intervals. These assume independent images and are mostly narrower.
- The paper's multi-cell test set has 101 images: one image is one percent, and 91.09 % is 92
  images, with an interval of 84 to 95 %. This test set is too small to separate most of the paper's
  models.
- On the paper's single-cell split, 91 % of the test cells come from clusters that also have cells
  in training or validation. Therefore `cluster` and `block` are reported beside it. `block` keeps
  neighbouring clusters together; this is the nearest available substitute for slides in SIPaKMeD.
- The paper's published code rotates validation and test images at random; here they are unchanged.
- No setting of these rows was selected by its result on test images. The default of
  `model.norm_groups` (0) was compared with others on test images."""


def _head(outcomes: Sequence[dict], numbers: str, predictions: str) -> str:
    lines = ["# Results of the paper and of this package", ""]
    if not outcomes:
        return "\n".join([*lines, "The paper is arXiv 2106.00557. Nothing has been run yet."])
    lines += ["The paper is arXiv 2106.00557. These commands produced the results:", ""]
    lines += [f"    {command}" for command in dict.fromkeys(o["command"] for o in outcomes)]
    machines: dict[str, list[str]] = {}
    for o in outcomes:
        machines.setdefault(_machine(o["environment"]), []).append(f"{o['row']} ({o['protocol']})")
    if len(machines) == 1:
        lines += ["", f"They ran on {next(iter(machines))}."]
    else:
        lines += ["", "They ran on these machines:", ""]
        lines += [f"- {machine}: {', '.join(names)}" for machine, names in machines.items()]
    with_files = sum(bool(o.get("predictions")) for o in outcomes)
    kept = ""
    if with_files:
        number = "" if with_files == len(outcomes) else f" of {with_files} of {len(outcomes)} lines"
        kept = f"; the predictions{number} are in [`{predictions}`]({predictions})"
    every = f"All numbers, of every fold and seed, are in [`{numbers}`]({numbers}){kept}."
    hours = [o.get("training_hours") for o in outcomes]
    known = [value for value in hours if value is not None]
    if known and len(known) == len(hours):
        every += f" Training alone took {sum(known):.1f} hours."
    return "\n".join([*lines, "", every])


def _machine(environment: dict) -> str:
    versions = environment.get("versions", {})
    return (
        f"{environment.get('processor', 'an unknown processor')} "
        f"({', '.join(environment.get('devices', [])) or 'no device known'}), "
        f"jax {versions.get('jax', '?')}, cervix_jax {versions.get('cervix_jax', '?')}"
    )


def intervals_to_draw(results: dict) -> dict[str, dict[str, tuple[float, float, float]]]:
    """Content of the picture: line to series to (value, low, high), all in [0, 1]."""
    lines: dict[str, dict[str, tuple[float, float, float]]] = {}
    for row in ROWS:
        label = f"{row.id}: {row.title}, {row.dataset}"
        if row.correct is not None and row.tested:
            interval = wilson_interval(row.correct, row.tested)
            lines[label] = {"paper, as published": (row.correct / row.tested, *interval)}
        for o in results["outcomes"]:
            if o["row"] == row.id:
                low, high = tables.interval(o)
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
