r"""Make Markdown tables of the results of gpu.sh.

  python benchmarks/gpu_table.py results
  python benchmarks/gpu_table.py --machine=machine.json    # description of this machine

Files that are missing because of a time limit are omitted and reported as missing.
"""

import argparse
import importlib
import io
import json
import platform
import sys
import tarfile
from pathlib import Path
from typing import Any

import explain
import throughput
from sides import is_cpu, write_json

# Goals: task of throughput.py to the minimum ratio to PyTorch.
GOALS = {"train": 1.2, "infer": 1.0}
GOAL_LOOP, GOAL_CAPTUM = 5.0, 1.0
PACKAGES = ("jax", "jaxlib", "flax", "orbax.checkpoint", "grain", "tensorflow_datasets", "torch",
            "captum", "numpy", "sklearn", "skimage", "clu", "ml_collections")  # fmt: skip


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results", nargs="?", type=Path, help="folder OUT of gpu.sh")
    parser.add_argument(
        "--machine", default="", help="JSON file to write the description of this machine to"
    )
    args = parser.parse_args()
    if args.machine:
        found = describe()
        write_json(args.machine, found)
        print(json.dumps(found, indent=2))
        return 0 if not found["missing"] else 1
    if not args.results or not args.results.is_dir():
        parser.error("give the folder of the results")
    print(report(args.results))
    return 0


def describe() -> dict[str, Any]:
    """Versions of the required packages, the missing packages, and the devices."""
    versions, missing = {}, []
    for name in PACKAGES:
        try:
            versions[name] = getattr(importlib.import_module(name), "__version__", "")
        except ImportError as error:
            missing.append(f"{name}: {error}")
    found = {"python": platform.python_version(), "versions": versions, "missing": missing}
    if "jax" in versions:
        import jax

        found["jax_devices"] = [device.device_kind for device in jax.devices()]
    if "torch" in versions:
        import torch

        cards = range(torch.cuda.device_count())
        found["torch_devices"] = [torch.cuda.get_device_name(card) for card in cards]
    return found


def report(results: Path) -> str:
    """All tables."""
    parts, absent = [], []

    def read(name: str) -> Any:
        path = results / name
        if not path.exists():
            absent.append(name)
            return None
        return json.loads(path.read_text(encoding="utf-8"))

    machine = read("machine_1.json")
    if machine:
        versions = machine["versions"]
        parts.append(
            f"{', '.join(machine['jax_devices'])}; Python {machine['python']}, jax "
            f"{versions.get('jax')}, flax {versions.get('flax')}, torch {versions.get('torch')}."
        )
    rows = [*(read("throughput_train.json") or []), *(read("throughput_infer.json") or [])]
    if rows:
        parts.append(throughput.table(rows))
        if not is_cpu(rows[0]["device"]):  # goals do not apply to a rehearsal
            parts.append("\n".join(goals_of_speed(rows)))
    for name in ("explain.json", "explain_bfloat16.json"):
        if (record := read(name)) and all(s["seconds_an_image"] for s in record["sides"].values()):
            parts.append(explain.table(record))
            if not is_cpu(record["sides"]["here"]["machine"]):
                parts.append("\n".join(goals_of_maps(record)))
    runs: dict[str, dict[str, Any]] = {}
    for name in ("runs_1.tgz", "runs_2.tgz"):  # the second knows how the first went on
        if (results / name).exists():
            runs |= read_runs(results / name)
    if runs:
        parts.append(table_of_runs(runs))
    else:
        absent.append("runs_1.tgz")
    if absent:
        parts.append("Missing: " + ", ".join(absent) + ".")
    return "\n\n".join(parts)


def goals_of_speed(rows: list[dict]) -> list[str]:
    """Whether each row reaches its goal."""
    return [
        f"- {row['model']}, {row['task']}: {row['ratio']:.2f} times PyTorch, goal "
        f"{GOALS[row['task']]}: {'reached' if row['ratio'] >= GOALS[row['task']] else 'missed'}"
        for row in rows
    ]


def goals_of_maps(record: dict) -> list[str]:
    """Whether the time of the maps reaches the goals."""
    sides, lines = record["sides"], []
    for name, goal in (("loop", GOAL_LOOP), ("captum", GOAL_CAPTUM)):
        if name in sides:
            times = zip(
                sides[name]["seconds_an_image"], sides["here"]["seconds_an_image"], strict=True
            )
            ratios = sorted(theirs / ours for theirs, ours in times)
            worst = ratios[0]
            said = "reached" if worst >= goal else "missed"
            lines.append(f"- {name} takes {worst:.2f} times as long at least, goal {goal}: {said}")
    return lines


def read_runs(path: Path) -> dict[str, dict[str, Any]]:
    """Config, last epoch and test results of each run in an archive of gpu.sh."""
    runs: dict[str, dict[str, Any]] = {}
    with tarfile.open(path) as archive:
        for member in archive.getmembers():
            _, name, *inside = (*Path(member.name).parts, "", "")
            file = archive.extractfile(member) if member.isfile() else None
            if file is None:
                continue
            place = "/".join(part for part in inside if part)
            text = io.TextIOWrapper(file, encoding="utf-8")
            own = runs.setdefault(name, {})
            if place in ("config.json", "evaluate/test.json"):
                own[place] = json.load(text)
            elif place == "metrics.jsonl":
                own[place] = [json.loads(line) for line in text]
    return runs


def table_of_runs(runs: dict[str, dict[str, Any]]) -> str:
    """Table of the paper's training runs in Markdown."""
    lines = [
        "| network | pixels | epochs | test accuracy | images | training images/s, median epoch |",
        "|---|---|---|---|---|---|",
    ]
    for name, run in sorted(runs.items()):
        epochs, config = run.get("metrics.jsonl", []), run.get("config.json", {})
        rates = sorted(epoch["images_per_second"] for epoch in epochs)
        test = run.get("evaluate/test.json")
        done = epochs[-1]["epoch"] if epochs else 0
        said, count = "not evaluated", ""
        if test:
            low, high = test["accuracy_interval"]
            said = f"{test['accuracy']:.2%} ({100 * low:.1f} to {100 * high:.1f})"
            count = test["n"]
        rate = f"{rates[len(rates) // 2]:.0f}" if rates else ""
        lines.append(
            f"| {name} | {config.get('image_size', '')} | {done} of {config.get('num_epochs', '')} "
            f"| {said} | {count} | {rate} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
