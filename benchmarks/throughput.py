r"""Images per second compared with PyTorch: same networks, same weights, same batches.

  python benchmarks/throughput.py --models=densenet121,resnet50 --batch_sizes=16

PyTorch must be installed (`pip install torch`). Each side runs in a separate process. The two
alternate in turns of a few steps, after one step that is not timed, so that a slower machine slows
both. Before time is measured, their logits for the same weights are compared in float32. A row
whose logits differ is marked, and the command ends with exit code 1. On an NVIDIA GPU both sides
compute in bfloat16 (PyTorch with autocast, channels_last and torch.compile); on the CPU in float32
(channels_last). A training step consists of forward pass, backward pass and AdamW. On the CPU
PyTorch runs with and without huge pages, and the faster counts. Rates use wall time; processor time
is reported too. Other jobs disturb the processor time of this package less, but not that of
PyTorch, whose threads use processor time while they wait. Its ratio is valid only on a machine
without other jobs.
"""

import argparse
import statistics
import time

import numpy as np
from sides import (
    COMPILERS,
    HUGE_PAGES,
    ON_DEMAND,
    PRECISIONS,
    Side,
    answer,
    messages,
    write_json,
)
from steps import jax_job, torch_job

TOLERANCE = 1e-3


def main() -> int:
    """Compare, or serve as one side of a comparison."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", default="densenet121,resnet50")
    parser.add_argument("--batch_sizes", default="16")
    parser.add_argument("--image_size", type=int, default=224)
    parser.add_argument("--tasks", default="train,infer")
    parser.add_argument("--rounds", type=int, default=5, help="number of turns of each side")
    parser.add_argument("--steps", type=int, default=3, help="steps a turn")
    parser.add_argument("--precision", choices=PRECISIONS, default="auto", help="of both sides")
    parser.add_argument("--torch_compile", choices=COMPILERS, default="auto", help="PyTorch's")
    parser.add_argument(
        "--torch_pages", choices=["both", "huge", "plain"], default="both",
        help="memory pages of PyTorch on a CPU; the faster counts",
    )  # fmt: skip
    parser.add_argument(
        "--together",
        action="store_true",
        help="compile both sides at the same time; faster on many cores",
    )
    parser.add_argument("--out", default="", help="JSON file for the results, row by row")
    parser.add_argument("--side", choices=["jax", "torch"], help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.side:
        serve(args.side)
        return 0
    rows = []
    for model in args.models.split(","):
        for task in args.tasks.split(","):
            for batch_size in map(int, args.batch_sizes.split(",")):
                rows.append(compare(args, model, task, batch_size))
                print(line(rows[-1]), flush=True)
                write_json(args.out, rows)
    print("\n" + table(rows))
    return 0 if all(row["agree"] for row in rows) else 1


def compare(args: argparse.Namespace, model: str, task: str, batch_size: int) -> dict:
    """One row: both sides on the same job, in turns."""
    job = {"model": model, "task": task, "batch_size": batch_size, "size": args.image_size}
    job |= {"precision": args.precision, "torch_compile": args.torch_compile}
    sides: dict[str, Side] = {}
    about: dict[str, dict] = {}

    def begin(name: str) -> None:
        pages = HUGE_PAGES if name != "torch" else {}
        own = ON_DEMAND if name == "jax" else {}
        sides[name] = Side(__file__, [f"--side={name.split(',')[0]}"], pages | own)
        sides[name].send(job)

    def receive() -> None:
        for name in sides.keys() - about.keys():
            about[name] = sides[name].receive()

    first = "torch, huge pages" if args.torch_pages == "huge" else "torch"
    for name in ("jax", first):
        begin(name)
        if not args.together:
            receive()
    receive()
    if args.torch_pages == "both" and about["jax"]["device"] == "cpu":
        begin("torch, huge pages")
        receive()
    ours, theirs = (np.array(about[name]["logits"]) for name in ("jax", first))
    error = float(np.abs(ours - theirs).max() / np.abs(theirs).max())
    matrix_rate = sides["jax"].ask({"matrix_rate": True})["matrix_flops_per_s"]
    turns: dict[str, list[dict]] = {name: [] for name in sides}
    for _ in range(args.rounds):
        for name, side in sides.items():
            turns[name].append(side.ask({"steps": args.steps}))
    for side in sides.values():
        side.close()
    row = job | {"logit_error": error, "agree": bool(error < TOLERANCE), "steps": args.steps}
    row |= {"device": about["jax"]["device_name"], "matrix_flops_per_s": matrix_rate}
    for name in sides:
        seconds = [turn["seconds"] for turn in turns[name]]
        row[name] = {key: about[name][key] for key in ("version", "compile_s", "memory_gib")}
        row[name] |= {
            "images_per_s": batch_size / statistics.median(seconds),
            "lowest": batch_size / max(seconds),
            "highest": batch_size / min(seconds),
            "step_ms": 1e3 * statistics.median(seconds),
            "turns": turns[name],
        }
    fastest = max((name for name in sides if name != "jax"),
                  key=lambda name: row[name]["images_per_s"])  # fmt: skip
    flops = about["jax"]["flops"] * (3 if task == "train" else 1)
    row["fastest_torch"] = fastest
    # Ratios are computed turn by turn, so that slow minutes of the machine do not matter.
    for key, of in (("ratio", "seconds"), ("processor_ratio", "processor_s")):
        theirs, ours = (np.array([turn[of] for turn in turns[n]]) for n in (fastest, "jax"))
        ratios = theirs / ours
        row[key] = float(np.median(ratios))
        row[f"{key}s"] = [float(ratios.min()), float(ratios.max())]
    row["share_of_matrix_rate"] = flops / (row["jax"]["step_ms"] / 1e3) / matrix_rate
    return row


def line(row: dict) -> str:
    """One row as text."""
    ours, theirs = row["jax"], row[row["fastest_torch"]]
    words = (
        f"{row['model']:12s} {row['task']:5s} batch {row['batch_size']:3d}: "
        f"{ours['images_per_s']:7.2f} images/s here, {theirs['images_per_s']:7.2f} in PyTorch "
        f"({row['fastest_torch']}), ratio {ratio(row, 'ratio')}, of the processor's time "
        f"{ratio(row, 'processor_ratio')}"
    )
    return words if row["agree"] else words + f"; LOGITS DIFFER by {row['logit_error']:.2g}"


def ratio(row: dict, key: str) -> str:
    """The median of a ratio, and in brackets the lowest and the highest."""
    low, high = row[f"{key}s"]
    return f"{row[key]:.2f} ({low:.2f} to {high:.2f})"


def table(rows: list[dict]) -> str:
    """All rows in Markdown."""
    lines = [
        "| network | task | batch | cervix_jax, images/s | PyTorch, images/s | ratio by turn "
        "| step, ms | compile, s | memory, GiB | share of matrix rate |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        ours, theirs = row["jax"], row[row["fastest_torch"]]
        cells = [
            row["model"], row["task"], row["batch_size"],
            *(f"{s['images_per_s']:.2f} ({s['lowest']:.2f} to {s['highest']:.2f})"
              for s in (ours, theirs)),
            ratio(row, "ratio") + ("" if row["agree"] else ", LOGITS DIFFER"),
            f"{ours['step_ms']:.0f} / {theirs['step_ms']:.0f}",
            f"{ours['compile_s']:.0f} / {theirs['compile_s']:.0f}",
            f"{ours['memory_gib']:.2f} / {theirs['memory_gib']:.2f}",
            f"{row['share_of_matrix_rate']:.0%}",
        ]  # fmt: skip
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    first = rows[0]
    lines.append(
        f"\n{first['size']} pixels, {first['device']}, matrix rate "
        f"{first['matrix_flops_per_s'] / 1e12:.2f} TFLOP/s; {first['jax']['version']}; "
        f"{first[first['fastest_torch']]['version']}"
    )
    return "\n".join(lines)


def serve(name: str) -> None:
    """Worker process: read a job, answer with its description, then run steps on request."""
    asked = messages()
    run, wait, about = (jax_job if name == "jax" else torch_job)(next(asked))
    began = time.perf_counter()
    run()
    wait()
    about["compile_s"] = time.perf_counter() - began
    run()
    wait()
    about["memory_gib"] = about.pop("memory")()
    about.pop("program", None)
    matrix_rate = about.pop("matrix_flops_per_s", None)
    answer(about)
    for message in asked:
        if "matrix_rate" in message:
            answer({"matrix_flops_per_s": matrix_rate()})
            continue
        run()  # not timed: after waiting for its turn, a process must reload its memory
        wait()
        began, worked = time.perf_counter(), time.process_time()
        for _ in range(message["steps"]):
            run()
            if about["device"] == "cpu":  # a GPU needs the next step queued
                wait()
        wait()
        seconds, processor = time.perf_counter() - began, time.process_time() - worked
        steps = message["steps"]
        answer({"seconds": seconds / steps, "processor_s": processor / steps})


if __name__ == "__main__":
    raise SystemExit(main())
