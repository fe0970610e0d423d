r"""Profile of a training step: time by kind of operation.

  python benchmarks/profile_step.py --model=densenet121 --batch_size=16 --picture=profile.png

The script records a few steps with `jax.profiler` and sums the time of XLA's operations over all
threads (CPU) or streams (GPU). To record a window of steps of a training run for TensorBoard's
profile page, use `python -m cervix_jax.main --profile=10:20`.
"""

import argparse
import collections
import re
import tempfile
from pathlib import Path

import jax
import matplotlib.pyplot as plt
from steps import jax_job

STEPS = 3
# The first pattern found in the operation's HLO text determines its kind.
KINDS = (
    (r"custom_call_target=\"\S*[Cc]onv|\bconvolution\(", "convolutions"),
    (r"\bdot\(|custom_call_target=\"\S*(gemm|matmul)", "matrix products (1x1 convolutions)"),
    (r"\breduce-window\(|select-and-scatter", "pooling"),
    (r"\breduce\(", "sums (batch statistics and their gradients)"),
    (r"\btranspose\(|\bcopy\(", "copies and transpositions"),
    (r"", "elementwise (normalisation, ReLU, padding, optimiser)"),
)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="densenet121")
    parser.add_argument("--batch_size", type=int, default=16)
    parser.add_argument("--image_size", type=int, default=224)
    parser.add_argument("--picture", default="", help="PNG file of the bar chart")
    args = parser.parse_args()
    job = {"model": args.model, "task": "train", "batch_size": args.batch_size}
    job |= {"size": args.image_size, "precision": "auto"}
    run, wait, about = jax_job(job)
    with tempfile.TemporaryDirectory() as folder:
        dumped = Path(folder, "trace")
        run()
        wait()
        with jax.profiler.trace(str(dumped)):
            for _ in range(STEPS):
                run()
            wait()
        times = operation_times(dumped)
    kinds = collections.Counter()
    bodies = computations(about["program"]())
    for name, seconds in times.items():
        text = bodies.get(name, name)
        kinds[next(kind for pattern, kind in KINDS if re.search(pattern, text))] += seconds
    total = sum(kinds.values())
    print(f"{args.model}, batch {args.batch_size}, {args.image_size} px, {about['device_name']}, "
          f"{about['version']}: {1e3 * total / STEPS:.0f} ms of operations a step")  # fmt: skip
    for kind, seconds in kinds.most_common():
        print(f"{seconds / total:6.1%}  {1e3 * seconds / STEPS:8.1f} ms  {kind}")
    if args.picture:
        draw(kinds, f"{args.model}, a training step, batch {args.batch_size}", args.picture)


def operation_times(folder: Path) -> dict[str, float]:
    """Seconds of each XLA operation in a recorded trace."""
    (path,) = folder.rglob("*.xplane.pb")
    seconds: dict[str, float] = collections.Counter()
    for plane in jax.profiler.ProfileData.from_file(str(path)).planes:
        for line in plane.lines:
            for event in line.events:
                if "hlo_op" in dict(event.stats):
                    seconds[event.name] += event.duration_ns / 1e9
    return seconds


def computations(program: str) -> dict[str, str]:
    """The text of each operation of a compiled program, including the operations it calls."""
    bodies: dict[str, str] = collections.defaultdict(str)
    lines, current = {}, ""
    for line in program.splitlines():
        if opens := re.match(r"(?:ENTRY )?%([\w.\-]+) \(", line):
            current = opens.group(1)
        elif found := re.match(r"\s*(?:ROOT )?%([\w.\-]+) = (.*)", line):
            bodies[current] += found.group(2) + "\n"
            lines.setdefault(found.group(1), found.group(2))
    called = {name: re.search(r"calls=%([\w.\-]+)", text) for name, text in lines.items()}
    return {
        name: text + (bodies[called[name].group(1)] if called[name] else "")
        for name, text in lines.items()
    }


def draw(kinds: collections.Counter, title: str, path: str) -> None:
    """Bar chart of the shares, as a PNG file."""
    names, seconds = zip(*reversed(kinds.most_common()), strict=True)
    figure, axes = plt.subplots(figsize=(8, 3), layout="constrained")
    bars = axes.barh(names, [1e3 * s / STEPS for s in seconds], color="#3b6ea5")
    axes.bar_label(bars, [f"{s / sum(seconds):.0%}" for s in seconds], padding=3)
    axes.set(title=title, xlabel="ms of operations a step, over all threads")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main()
