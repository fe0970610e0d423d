r"""Seconds to explain an image: this package beside Captum and beside the paper's loop.

  python benchmarks/explain.py                                     # the paper's setting
  python benchmarks/explain.py --images=2 --baselines=1 --steps=8  # a minute or two on two cores
  python benchmarks/explain.py --sides=here --images=256 --baselines=1 --rounds=1   # its memory

Integrated gradients of DenseNet-121's class probability at 224 pixels, averaged over baselines of
uniform noise, left Riemann sums. PyTorch and Captum must be installed. Three sides, each in a
process of its own, with the same weights, images and baselines, in float32:

- here: `explain.integrated_gradients` in its best batch size of `--batch_sizes`;
- Captum: `IntegratedGradients`, all images together, in its best `internal_batch_size` of the same;
- loop: what the authors' code does, one image, one baseline and one step at a time.

All three must give the same maps before any time is taken. Then they take turns, so that a machine
that slows down slows all. What only the first call takes, compilation above all, is in none of the
times but shown beside them.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from throughput import HUGE_PAGES, ON_DEMAND, ROOT, peak_memory, torch_weights

MODEL, CLASSES = "densenet121", 5
TOLERANCE = 1e-3
SIDES = ("here", "captum", "loop")


def main() -> None:
    """Compare, or serve as one side of a comparison."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=8)
    parser.add_argument("--baselines", type=int, default=10)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--image_size", type=int, default=224)
    parser.add_argument("--batch_sizes", default="2,4,8,16,32", help="the fastest is taken")
    parser.add_argument("--loop_images", type=int, help="images for the loop; all if not given")
    parser.add_argument("--rounds", type=int, default=2, help="turns of each side")
    parser.add_argument("--sides", default=",".join(SIDES), help="which, this package's first")
    parser.add_argument("--out", default="", help="a JSON file for the numbers")
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.side:
        serve(args.side, args.image_size)
        return
    rows = compare(args)
    print("\n" + table(args, rows))
    if args.out:
        Path(args.out).write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")


class Side:
    """A worker process that explains images when asked."""

    def __init__(self, name: str, image_size: int):
        script = str(Path(__file__).resolve())
        self._process = subprocess.Popen(
            [sys.executable, script, f"--side={name}", f"--image_size={image_size}"],
            env=os.environ | HUGE_PAGES | ON_DEMAND, cwd=ROOT, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip

    def explain(self, images: int, baselines: int, steps: int, batch_size: int, **more) -> dict:
        """Explain so many images; gives the seconds, and the peak of memory until then in GiB."""
        job = {"images": images, "baselines": baselines, "steps": steps, "batch_size": batch_size}
        self._process.stdin.write(json.dumps(job | more) + "\n")
        self._process.stdin.flush()
        for answer in self._process.stdout:
            if answer.startswith("{"):
                return json.loads(answer)
        raise SystemExit("a side of the comparison ended early; its error is above")

    def close(self) -> None:
        """End the worker."""
        self._process.communicate()


def compare(args: argparse.Namespace) -> dict:
    """What each side is like, by name, measured in turns."""
    sides = {name: Side(name, args.image_size) for name in args.sides.split(",")}
    check(sides)
    jobs = {name: [args.images, args.baselines, args.steps] for name in sides}
    if "loop" in jobs and args.loop_images:
        jobs["loop"][0] = args.loop_images
    sizes = sorted({min(size, args.images * args.steps) for size in parse(args.batch_sizes)})
    rows = {}
    for name, side in sides.items():
        # One baseline is enough to choose by, and so many steps that batches fill the cores.
        few = [args.images, 1, min(args.steps, max(10, -(-max(sizes) // args.images)))]
        tried = {}
        # Captum's batches hold at least one step of every image.
        fit = {"loop": [1], "captum": [s for s in sizes if s >= args.images] or sizes}
        candidates = fit.get(name, sizes)
        if len(candidates) == 1 and name == "here":  # nothing to choose; its first call is below
            tried[candidates[0]] = (0.0, None)
            candidates = []
        for size in candidates:
            first, *again = [side.explain(*few, size)["seconds"] for _ in range(3)]
            seconds = min(again)
            tried[size] = (seconds, max(0.0, first - seconds))
            print(f"{name}: batch size {size}, {seconds:.2f} s for {few}", flush=True)
        best = min(tried, key=lambda size: tried[size][0])
        if name == "here":
            # Its program depends on the number of steps and baselines; one image makes it, where
            # that fills a batch.
            whole = args.images if args.baselines * args.steps < best else 1
            side.explain(whole, *jobs[name][1:], best)
        rows[name] = {"batch_size": best, "first_s": tried[best][1], "seconds_an_image": []}
    for _ in range(args.rounds):
        for name, side in sides.items():
            answer = side.explain(*jobs[name], rows[name]["batch_size"])
            rows[name]["seconds_an_image"].append(answer["seconds"] / jobs[name][0])
            rows[name] |= {key: answer[key] for key in ("memory_gib", "version")}
            print(f"{name}: {rows[name]['seconds_an_image'][-1]:.2f} s an image", flush=True)
    for side in sides.values():
        side.close()
    return rows


def parse(sizes: str) -> list[int]:
    """Numbers from "8,16"."""
    return [int(size) for size in sizes.split(",")]


def check(sides: dict[str, Side]) -> None:
    """Ends the program unless all sides give the same maps."""
    maps = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, side in sides.items():
            file = f"{folder}/{name}.npy"
            side.explain(2, 2, 3, 4, out=file)
            maps[name] = np.load(file)
    for name in sides.keys() - {"here"}:
        error = np.abs(maps["here"] - maps[name]).max() / np.abs(maps[name]).max()
        print(f"maps here and in {name} differ by {error:.1e} of the largest", flush=True)
        if not error < TOLERANCE:
            raise SystemExit("which is too much")


def table(args: argparse.Namespace, rows: dict) -> str:
    """Rows of Markdown."""
    lines = [
        f"{args.images} images of {args.image_size} pixels, {args.baselines} baselines, "
        f"{args.steps} steps, {', '.join(row['version'] for row in rows.values())}\n",
        "| side | batch size | seconds an image | times as long as here | first call, more s "
        "| memory, GiB |",
        "|---|---|---|---|---|---|",
    ]
    for name, row in rows.items():
        own = row["seconds_an_image"]
        ratios = [a / b for a, b in zip(own, rows["here"]["seconds_an_image"], strict=True)]
        first = "" if row["first_s"] is None else f"{row['first_s']:.1f}"
        lines.append(
            f"| {name} | {row['batch_size']} | {spread(own)} | {spread(ratios)} | "
            f"{first} | {row['memory_gib']:.2f} |"
        )
    return "\n".join(lines)


def spread(values: list[float]) -> str:
    """The median, and in brackets the lowest and the highest."""
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def serve(name: str, image_size: int) -> None:
    """A worker: explain as asked."""
    make = {"here": make_ours, "captum": make_captum, "loop": make_loop}[name]
    explain, about = make()
    for message in sys.stdin:
        job = json.loads(message)
        random = np.random.default_rng(0)
        shape = (image_size, image_size, 3)
        images = random.normal(size=(job["images"], *shape)).astype(np.float32)
        baselines = random.uniform(-2, 2, (job["baselines"], *shape)).astype(np.float32)
        targets = np.arange(job["images"]) % CLASSES
        began = time.perf_counter()
        maps = explain(images, targets, baselines, job["steps"], job["batch_size"])
        seconds = time.perf_counter() - began
        if "out" in job:
            np.save(job["out"], maps)
        answer = {"seconds": seconds, "memory_gib": about["memory"](), "version": about["version"]}
        print(json.dumps(answer), flush=True)


def make_ours():
    """This package: (images, targets, baselines, steps, batch size) to maps [N, S, S, 3]."""
    import jax
    from flax import nnx

    from cervix_jax import explain, models

    model = models.create(MODEL, num_classes=CLASSES, rngs=nnx.Rngs(0), dropout_rate=0.0)
    weights = {key: value.numpy() for key, value in torch_weights(MODEL).state_dict().items()}
    models.port.load_torch_state_dict(model, weights)
    device = jax.devices()[0]

    def run(images, targets, baselines, steps, batch_size):
        return explain.integrated_gradients(
            model, images, targets, baselines=explain.baselines.several(baselines), steps=steps,
            quadrature="riemann_left", output="probability", batch_size=batch_size,
        )  # fmt: skip

    def memory():
        if device.platform == "cpu":
            return peak_memory()
        return device.memory_stats()["peak_bytes_in_use"] / 2**30

    return run, {"memory": memory, "version": f"jax {jax.__version__} on {device.device_kind}"}


def make_captum():
    """Captum, of the softmax, all images of a baseline together."""
    import captum
    import torch
    from captum.attr import IntegratedGradients

    model, put, about = on_device()
    method = IntegratedGradients(torch.nn.Sequential(model, torch.nn.Softmax(1)))

    def run(images, targets, baselines, steps, batch_size):
        images, targets = put(images).requires_grad_(), torch.from_numpy(targets).to(about["to"])
        total = 0.0
        for baseline in put(baselines):
            maps = method.attribute(
                images, baseline[None], targets, n_steps=steps, method="riemann_left",
                internal_batch_size=batch_size,
            )  # fmt: skip
            total = total + maps.detach()
        return to_numpy(total / len(baselines))

    about["version"] = f"captum {captum.__version__}, torch {torch.__version__}"
    return run, about


def make_loop():
    """One forward and one backward pass for every image, baseline and step."""
    import torch

    model, put, about = on_device()

    def run(images, targets, baselines, steps, batch_size):
        maps = []
        for image, target in zip(put(images), targets, strict=True):
            total = 0.0
            for baseline in put(baselines):
                gradients = 0.0
                for step in range(steps):
                    point = (baseline + step / steps * (image - baseline))[None].detach()
                    point.requires_grad_()
                    torch.softmax(model(point), 1)[0, target].backward()
                    gradients = gradients + point.grad[0]
                total = total + gradients / steps * (image - baseline)
            maps.append(total / len(baselines))
        return to_numpy(torch.stack(maps))

    about["version"] = f"torch {torch.__version__}"
    return run, about


def on_device():
    """PyTorch's network, a function that puts images beside it, and how it is to be measured."""
    import torch

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = torch_weights(MODEL).eval().to(device, memory_format=torch.channels_last)
    model.requires_grad_(False)  # only the image's gradient is asked for

    def put(images):
        batch = torch.from_numpy(images).permute(0, 3, 1, 2)  # in memory it stays channels last
        return batch.to(device)

    def memory():
        if device.type == "cpu":
            return peak_memory()
        return torch.cuda.max_memory_allocated() / 2**30

    return model, put, {"to": device, "memory": memory}


def to_numpy(maps):
    """[N, 3, S, S] on a device to [N, S, S, 3] here."""
    return maps.detach().cpu().numpy().transpose(0, 2, 3, 1)


if __name__ == "__main__":
    main()
