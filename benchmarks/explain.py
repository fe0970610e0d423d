r"""Seconds to explain an image: this package compared with Captum and the paper's loop.

  python benchmarks/explain.py                                     # the paper's setting
  python benchmarks/explain.py --images=2 --baselines=1 --steps=8  # a minute or two on two cores
  python benchmarks/explain.py --sides=here --images=256 --baselines=1 --rounds=1   # its memory

The script measures integrated gradients of DenseNet-121's class probability at 224 pixels, averaged
over baselines of uniform noise, with left Riemann sums. PyTorch and Captum must be installed. Three
sides run in separate processes with the same weights, images and baselines, in float32
(--precision=bfloat16: a bfloat16 network in this package, autocast in PyTorch):

- here: `explain.integrated_gradients` of this package with the best of `--batch_sizes`;
- Captum: `IntegratedGradients`, all images together, with the best `internal_batch_size` of these;
- loop: the loop of the paper's code, with one image, one baseline and one step at a time.

The sides alternate, so that a slower machine slows all of them. The additional time of the first
call, mostly compilation, is shown separately. The maps of the first turn must agree: to 1e-3 of the
largest value on a CPU; on a GPU, whose float32 convolutions keep ten bits of a number, with a
correlation of 0.99 (0.95 in bfloat16). If they do not, the table reports it and the command ends
with exit code 1.
"""

import argparse
import statistics
import tempfile
import time

import numpy as np
from sides import (
    HUGE_PAGES,
    ON_DEMAND,
    PRECISIONS,
    Side,
    answer,
    is_cpu,
    jax_memory,
    machine,
    messages,
    torch_device,
    torch_memory,
    torch_weights,
    write_json,
)

MODEL, CLASSES = "densenet121", 5
TOLERANCE = 1e-3
CORRELATION = {"float32": 0.99, "bfloat16": 0.95}  # on a card
SIDES = ("here", "captum", "loop")


def main() -> int:
    """Compare, or serve as one side of a comparison."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=8)
    parser.add_argument("--baselines", type=int, default=10)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--image_size", type=int, default=224)
    parser.add_argument(
        "--batch_sizes", default="2,4,8,16,32", help="batch sizes to try; the fastest is used"
    )
    parser.add_argument("--loop_images", type=int, help="images for the loop; default all")
    parser.add_argument("--rounds", type=int, default=2, help="number of turns of each side")
    parser.add_argument("--sides", default=",".join(SIDES), help="sides to run, this package first")
    parser.add_argument(
        "--precision", choices=PRECISIONS[1:], default="float32", help="of all sides"
    )
    parser.add_argument("--out", default="", help="JSON file for the results, turn by turn")
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.side:
        serve(args)
        return 0
    record = compare(args)
    print("\n" + table(record))
    return 0 if record["agree"] else 1


def compare(args: argparse.Namespace) -> dict:
    """The settings, and under "sides" the measurements of each side, taken in turns."""
    fixed = [f"--image_size={args.image_size}", f"--precision={args.precision}"]
    environment = HUGE_PAGES | ON_DEMAND
    sides = {
        name: Side(__file__, [f"--side={name}", *fixed], environment)
        for name in args.sides.split(",")
    }
    jobs = {name: [args.images, args.baselines, args.steps] for name in sides}
    if "loop" in jobs and args.loop_images:
        jobs["loop"][0] = args.loop_images
    sizes = sorted({min(size, args.images * args.steps) for size in parse(args.batch_sizes)})
    setting = ("images", "baselines", "steps", "image_size", "precision", "loop_images")
    record = {key: vars(args)[key] for key in setting} | {"agree": True, "sides": {}}
    rows = record["sides"]
    for name, side in sides.items():
        rows[name] = choose(name, side, sizes, jobs[name], args)
    with tempfile.TemporaryDirectory() as folder:
        for number in range(args.rounds):
            for name, side in sides.items():
                out = f"{folder}/{name}.npy" if number == 0 else ""
                told = explain(side, *jobs[name], rows[name]["batch_size"], out=out)
                seconds = told["seconds"] / jobs[name][0]
                rows[name]["seconds_an_image"].append(seconds)
                rows[name] |= {k: told[k] for k in ("memory_gib", "version", "machine")}
                print(f"{name}: {seconds:.3f} s an image", flush=True)
                if number == 0 and name != "here":
                    check(record, name, *(np.load(f"{folder}/{n}.npy") for n in ("here", name)))
                write_json(args.out, record)
    for side in sides.values():
        side.close()
    return record


def explain(side: Side, images: int, baselines: int, steps: int, batch: int, **more) -> dict:
    """Explain images; returns the seconds and the peak memory so far in GiB."""
    job = {"images": images, "baselines": baselines, "steps": steps, "batch_size": batch}
    return side.ask(job | more)


def choose(name: str, side: Side, sizes: list[int], job: list[int], args) -> dict:
    """First entries of a side's row: its best batch size and the time of its first call."""
    # The batch size is chosen with one baseline and enough steps to use all cores.
    few = [job[0], 1, min(args.steps, max(10, -(-max(sizes) // args.images)))]
    # Captum's batches contain at least one step of every image.
    fit = {"loop": [1], "captum": [s for s in sizes if s >= args.images] or sizes}
    candidates = fit.get(name, sizes)
    if name == "loop":
        few = [1, 1, 2]
    # Our program depends on the number of steps and baselines; one image makes it, where that fills
    # a batch. With one size there is nothing to choose, and it is the first call.
    only = name == "here" and len(candidates) == 1
    tried = {}
    for size in [] if only else candidates:
        first, *again = [explain(side, *few, size)["seconds"] for _ in range(3)]
        tried[size] = (min(again), max(0.0, first - min(again)))
        print(f"{name}: batch size {size}, {min(again):.2f} s for {few}", flush=True)
    best = candidates[0] if only else min(tried, key=lambda size: tried[size][0])
    first_s = None if only else tried[best][1]
    if name == "here":
        whole = args.images if args.baselines * args.steps < best else 1
        first = explain(side, whole, *job[1:], best)["seconds"]
        if only:
            first_s = max(0.0, first - explain(side, whole, *job[1:], best)["seconds"])
    return {"batch_size": best, "first_s": first_s, "seconds_an_image": []}


def check(record: dict, name: str, ours: np.ndarray, theirs: np.ndarray) -> None:
    """Record the agreement of another side's maps with those of this package."""
    ours = ours[: len(theirs)]
    row, on_cpu = record["sides"][name], is_cpu(record["sides"]["here"]["machine"])
    row["error"] = float(np.abs(ours - theirs).max() / np.abs(theirs).max())
    row["correlation"] = float(np.corrcoef(ours.ravel(), theirs.ravel())[0, 1])
    exact = on_cpu and record["precision"] == "float32"
    agree = (row["error"] < TOLERANCE if exact
             else row["correlation"] > CORRELATION[record["precision"]])  # fmt: skip
    record["agree"] = bool(record["agree"] and agree)
    print(f"maps here and in {name} differ by {row['error']:.1e} of the largest, correlation "
          f"{row['correlation']:.5f}{'' if agree else ': TOO MUCH'}", flush=True)  # fmt: skip


def parse(sizes: str) -> list[int]:
    """Numbers from "8,16"."""
    return [int(size) for size in sizes.split(",")]


def table(record: dict) -> str:
    """Rows of Markdown."""
    rows = record["sides"]
    lines = [
        f"{record['images']} images of {record['image_size']} pixels, {record['baselines']} "
        f"baselines, {record['steps']} steps, {record['precision']}, {rows['here']['machine']}, "
        f"{', '.join(row['version'] for row in rows.values())}"
        + ("\n" if record["agree"] else "; THE MAPS DIFFER\n"),
        "| side | batch size | seconds an image | times as long as here | first call, more s "
        "| memory, GiB | correlation of maps |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, row in rows.items():
        own = row["seconds_an_image"]
        ratios = [a / b for a, b in zip(own, rows["here"]["seconds_an_image"], strict=True)]
        lines.append(
            f"| {name} | {row['batch_size']} | {spread(own)} | {spread(ratios)} | "
            f"{row['first_s']:.1f} | {row['memory_gib']:.2f} | {row.get('correlation', 1):.5f} |"
        )
    return "\n".join(lines)


def spread(values: list[float]) -> str:
    """The median, and in brackets the lowest and the highest."""
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def serve(args: argparse.Namespace) -> None:
    """Worker process: explain images on request."""
    make = {"here": make_ours, "captum": make_captum, "loop": make_loop}[args.side]
    run, about = make(args.precision)
    for job in messages():
        shape = (args.image_size, args.image_size, 3)
        images = np.random.default_rng(0).normal(size=(job["images"], *shape)).astype(np.float32)
        baselines = np.random.default_rng(1).uniform(-2, 2, (job["baselines"], *shape))
        baselines = baselines.astype(np.float32)
        targets = np.arange(job["images"]) % CLASSES
        began = time.perf_counter()
        maps = run(images, targets, baselines, job["steps"], job["batch_size"])
        seconds = time.perf_counter() - began
        if job.get("out"):
            np.save(job["out"], maps)
        told = {key: about[key] for key in ("version", "machine")}
        answer(told | {"seconds": seconds, "memory_gib": about["memory"]()})


def make_ours(precision: str):
    """This package: (images, targets, baselines, steps, batch size) to maps [N, S, S, 3]."""
    import jax
    import jax.numpy as jnp
    from flax import nnx

    from cervix_jax import explain, models

    model = models.create(
        MODEL, num_classes=CLASSES, rngs=nnx.Rngs(0), dropout_rate=0.0, dtype=jnp.dtype(precision)
    )
    weights = {key: value.numpy() for key, value in torch_weights(MODEL).state_dict().items()}
    models.port.load_torch_state_dict(model, weights)
    device = jax.devices()[0]

    def run(images, targets, baselines, steps, batch_size):
        return explain.integrated_gradients(
            model, images, targets, baselines=explain.baselines.several(baselines), steps=steps,
            quadrature="riemann_left", output="probability", batch_size=batch_size,
        )  # fmt: skip

    about = {"memory": lambda: jax_memory(device), "machine": machine(device)}
    return run, about | {"version": f"jax {jax.__version__}"}


def make_captum(precision: str):
    """Captum on the softmax probability, all images of a baseline together."""
    import captum
    import torch
    from captum.attr import IntegratedGradients

    model, put, about = on_device(precision)
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


def make_loop(precision: str):
    """One forward and one backward pass for every image, baseline and step."""
    import torch

    model, put, about = on_device(precision)

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


def on_device(precision: str):
    """PyTorch's network, a function that moves images to its device, and measuring functions."""
    import torch

    device = torch_device()
    network = torch_weights(MODEL).eval().to(device, memory_format=torch.channels_last)
    network.requires_grad_(False)  # only the gradient of the image is needed

    class Model(torch.nn.Module):
        def forward(self, images):
            with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16"):
                return network(images).float()

    def put(images):
        batch = torch.from_numpy(images).permute(0, 3, 1, 2)  # in memory it stays channels last
        return batch.to(device)

    name = torch.cuda.get_device_name() if device.type == "cuda" else "cpu"
    about = {"to": device, "memory": lambda: torch_memory(device), "machine": name}
    return Model(), put, about


def to_numpy(maps):
    """[N, 3, S, S] on a device to [N, S, S, 3] here."""
    return maps.detach().cpu().numpy().transpose(0, 2, 3, 1)


if __name__ == "__main__":
    raise SystemExit(main())
