r"""Training steps compiled for TPUs without a TPU: the tables of docs/accelerators.md.

  python -m cervix_jax.compile --config=configs/rcan.py:sipakmed/single_cell --topology=v5e:2x4 \
      --batch_size=256 --programs=train --out=after/rcan_v5e.json        # for each network and chip
  python benchmarks/tpu_compile.py --before=BEFORE --after=after --picture=docs/tpu_cycles.png

A folder contains `<network>_<chip>.json`, the reports of that command. Older folders contain the
HLO text `<network>_<chip>.hlo.gz` and a JSON file with "per_chip", "topology", "args", "out",
"temp", "alias", "flops" and "bytes"; the script reads the HLO text with the same reader.
`--save=DIR` writes the values that were read as small JSON files.
"""

import argparse
import gzip
import json
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from cervix_jax import figures
from cervix_jax.compile.chips import parse_topology
from cervix_jax.compile.estimate import facts, memory_facts
from cervix_jax.compile.hlo import PHASES
from cervix_jax.files.atomic import write_json

NETWORKS = ("resnet50", "densenet121", "rcan", "ran92", "efficientnet_lite0")
CHIPS = ("v5e", "v6e")
COLOURS = ("#c44e52", "#3b6ea5", "#8fb3d9", "#7a9a5b", "#b0b0b0")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--before", type=Path, required=True)
    parser.add_argument("--after", type=Path, required=True)
    parser.add_argument("--save", type=Path, help="folder for small JSON files of both sides")
    parser.add_argument("--picture", type=Path)
    args = parser.parse_args()
    found = {when: read(getattr(args, when)) for when in ("before", "after")}
    print(table(found["before"], found["after"]))
    print()
    print(scaling(found["before"], found["after"]))
    if args.save:
        args.save.mkdir(parents=True, exist_ok=True)
        for when, steps in found.items():
            for (network, chip), step in steps.items():
                write_json(args.save / f"tpu_{when}_{network}_{chip}.json", small(step))
    if args.picture:
        draw(found["before"], found["after"], args.picture)


def read(folder: Path) -> dict[tuple[str, str], dict[str, Any]]:
    """The training step of each (network, chip) in the folder."""
    found = {}
    for network in NETWORKS:
        for chip in CHIPS:
            for name in (f"{network}_{chip}", f"before_{network}_{chip}", f"after_{network}_{chip}",
                         f"tpu_{folder.name}_{network}_{chip}"):  # fmt: skip
                path = folder / f"{name}.json"
                if path.is_file() and path.stat().st_size > 16 and "cycles" in step_of(path):
                    found[network, chip] = step_of(path)
    return found


def step_of(path: Path) -> dict[str, Any]:
    """The training step of a report, or of an HLO text with its JSON file."""
    kept = json.loads(path.read_text(encoding="utf-8"))
    if "programs" in kept:
        return kept["programs"]["train"]
    if "per_chip" not in kept:
        return kept
    place = parse_topology(kept["topology"])
    text = gzip.decompress(path.with_suffix(".hlo.gz").read_bytes()).decode()
    found = facts(
        text, place,
        images_a_chip=kept["per_chip"], flops=kept["flops"], accessed=kept["bytes"],
    )  # fmt: skip
    memory = memory_facts(kept["args"], kept["out"], kept["temp"], kept["alias"], 0, place)
    about = {"images_a_chip": kept["per_chip"], "compile_seconds": kept["compile_s"]}
    return found | about | {"memory": memory}


def small(step: dict[str, Any]) -> dict[str, Any]:
    """A step without the long list of its gathers."""
    gathers = step["gathers"]
    shown = {"count": len(gathers), "largest": max(gathers, default=0)}
    return step | {"gathers": gathers if isinstance(gathers, dict) else shown}


def table(before: dict, after: dict) -> str:
    """A row for each network and chip, before -> after."""
    lines = [
        "| network | chip | cycles, million | ratio | augmentation | all-reduces | memory, GiB | "
        "step, ms | images/s per chip | share of peak |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for key in [(network, chip) for chip in CHIPS for network in NETWORKS]:
        steps = [steps.get(key) for steps in (before, after)]
        if not any(steps):
            continue
        cycles = [step and sum(step["cycles"].values()) for step in steps]
        ratio = f"{cycles[0] / cycles[1]:.2f}" if all(cycles) else ""
        columns = [
            [f"{c / 1e6:.1f}" if c else "" for c in cycles], ratio,
            [s and f"{s['cycles']['augmentation'] / sum(s['cycles'].values()):.1%}" for s in steps],
            [s and str(s["messages"].get("all-reduce", {"count": 0})["count"]) for s in steps],
            [s and f"{s['memory']['total'] / 2**30:.2f}" for s in steps],
            [s and f"{1e3 * s['seconds']['total']:.1f}" for s in steps],
            [s and f"{s['images_a_chip'] / s['seconds']['total']:,.0f}" for s in steps],
            [s and f"{s['share_of_peak']:.1%}" for s in steps],
        ]  # fmt: skip
        cells = [c if isinstance(c, str) else " -> ".join(x or "?" for x in c) for c in columns]
        lines.append(f"| {' | '.join([*key, *cells])} |")
    return "\n".join(lines)


def scaling(before: dict, after: dict) -> str:
    """A row for each network and chip: the estimate of weak scaling from 8 to 256 chips."""
    sizes = (8, 32, 64, 256)
    lines = [f"| network | chip | code | {' | '.join(f'{size} chips' for size in sizes)} |"]
    lines.append("|---" * (3 + len(sizes)) + "|")
    for key in [(network, chip) for chip in CHIPS for network in NETWORKS]:
        for when, steps in (("before", before), ("after", after)):
            if key in steps:
                known = {each["chips"]: each for each in steps[key]["weak_scaling"].values()}
                cells = [f"{known[size]['efficiency']:.1%}" for size in sizes]
                lines.append(f"| {' | '.join([*key, when, *cells])} |")
    return "\n".join(lines)


def draw(before: dict, after: dict, path: Path) -> None:
    """Bar chart of the cycles of a step by part, before above after, one panel for each chip."""
    figure = Figure(figsize=(11, 5.5), layout="constrained")
    for axes, chip in zip(figure.subplots(1, len(CHIPS), sharey=True), CHIPS, strict=True):
        for row, network in enumerate(NETWORKS):
            for offset, steps in ((-0.2, before), (0.2, after)):
                left = 0.0
                cycles = steps.get((network, chip), {}).get("cycles", {})
                for phase, colour in zip(PHASES, COLOURS, strict=True):
                    width = cycles.get(phase, 0) / 1e6
                    axes.barh(row + offset, width, 0.34, left=left, color=colour)
                    left += width
        axes.set(title=f"{chip}:2x4", xlabel="estimated cycles of a step, million")
        axes.set_yticks(range(len(NETWORKS)), NETWORKS, fontsize=figures.LABEL_SIZE)
        axes.spines[["top", "right"]].set_visible(False)
    figure.axes[0].invert_yaxis()  # common to both sides
    handles = [figure.axes[0].barh(0, 0, color=colour) for colour in COLOURS]
    figure.legend(
        handles, PHASES, loc="outside lower center", ncols=len(PHASES),
        fontsize=figures.LABEL_SIZE,
    )  # fmt: skip
    figure.suptitle("Training at 224 px, 32 images per chip: above before, below after")
    figures.save(figure, path)


if __name__ == "__main__":
    main()
