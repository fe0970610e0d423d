r"""Prediction of image files: images per second compared with a PyTorch loop, and memory.

  taskset -c 1 python benchmarks/predict.py speed --images='/path/to/SIPaKMeD/**/CROPPED/*.jpg'
  taskset -c 1 python benchmarks/predict.py memory --count=20000

`speed` runs `cervix_jax.predict` and a typical PyTorch loop (Pillow, resize, normalise, batches of
64, softmax, csv) on the same files with the same EfficientNet-Lite0, each in a separate process.
The sides alternate, and their probabilities must agree before time is measured. The script reports
wall time and processor time; other jobs on the machine disturb processor time less. PyTorch must be
installed (`pip install torch`). `memory` predicts many generated images and prints the memory of
the process at intervals.
"""

import argparse
import csv
import glob
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
CLASSES, BATCH = 5, 64
TOLERANCE = 1e-4


def main() -> None:
    """Compare, measure memory, or serve as one side of the comparison."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["speed", "memory", "jax", "torch"])
    parser.add_argument(
        "--images", default="", help="pattern of image files; default generated images"
    )
    parser.add_argument(
        "--count",
        type=int,
        default=256,
        help="number of images, for each turn (speed) or in total (memory)",
    )
    parser.add_argument("--image_size", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=5, help="number of turns of each side")
    parser.add_argument(
        "--threads", type=int, default=0, help="threads of PyTorch; 0 means PyTorch's default"
    )
    args = parser.parse_args()
    if args.what == "memory":
        memory(args)
    elif args.what == "speed":
        speed(args)
    else:
        serve(args)


def generated(folder: Path, count: int, different: int = 200) -> list[str]:
    """JPEG files of smooth random images of 100 to 300 pixels; many are links to the same file."""
    random = np.random.default_rng(0)
    paths = []
    for number in range(count):
        path = folder / f"{number:06d}.jpg"
        if number < different:
            size = tuple(random.integers(100, 300, 2).tolist())
            coarse = Image.fromarray(random.integers(0, 256, (12, 12, 3), np.uint8))
            coarse.resize(size, Image.Resampling.BICUBIC).save(path, quality=95)
        else:
            os.link(paths[number % different], path)
        paths.append(str(path))
    return paths


def speed(args: argparse.Namespace) -> None:
    """Print both sides, turn by turn."""
    with tempfile.TemporaryDirectory() as folder:
        paths = sorted(glob.glob(args.images, recursive=True)) if args.images else []
        if paths:  # spread over all of them, as folders are classes
            chosen = np.linspace(0, len(paths) - 1, args.count).astype(int)
            paths = [paths[index] for index in chosen]
        else:
            paths = generated(Path(folder), args.count)
        sides = {name: Side(name, args) for name in ("jax", "torch")}
        tables = {}
        for name, side in sides.items():
            out = Path(folder) / f"{name}.csv"
            side.turn(paths, out)  # compiles, fills caches and is compared, but is not timed
            tables[name] = probabilities(out)
        difference = np.abs(tables["jax"] - tables["torch"]).max()
        if not difference < TOLERANCE:
            raise SystemExit(f"the probabilities differ by {difference:.2g}")
        varied = tables["torch"].std(0).max()
        if varied < 0.01:
            raise SystemExit(
                "all images have the same probabilities, so the sides cannot be compared"
            )
        print(
            f"{len(paths)} images; largest difference of a probability {difference:.1e}, where "
            f"images differ by {varied:.2f} (standard deviation)"
        )
        seconds: dict[str, list[dict]] = {name: [] for name in sides}
        for number, name in itertools.product(range(args.rounds), sides):
            out = Path(folder) / f"{name}{number}.csv"
            seconds[name].append(sides[name].turn(paths, out))
        about = [side.close() for side in sides.values()]
    print("| time | cervix_jax, images/s | PyTorch, images/s | ratio by turn |\n|---|---|---|---|")
    for clock, label in (("wall", "clock"), ("cpu", "processor")):
        rates = {
            name: [len(paths) / turn[clock] for turn in turns] for name, turns in seconds.items()
        }
        ratios = [ours / theirs for ours, theirs in zip(*rates.values(), strict=True)]
        cells = [spread(rates["jax"], 1), spread(rates["torch"], 1), spread(ratios, 2)]
        print(f"| {label} | {' | '.join(cells)} |")
    print("; ".join(about))


def spread(values: list[float], digits: int) -> str:
    """Median, lowest and highest."""
    middle, low, high = statistics.median(values), min(values), max(values)
    return f"{middle:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def probabilities(path: Path) -> np.ndarray:
    """The columns p_<class> of a table."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return np.asarray([[float(v) for k, v in row.items() if k.startswith("p_")] for row in rows])


class Side:
    """The other end of a worker process."""

    def __init__(self, name: str, args: argparse.Namespace):
        command = [sys.executable, __file__, name, f"--image_size={args.image_size}",
                   f"--threads={args.threads}"]  # fmt: skip
        self._process = subprocess.Popen(
            command, cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def turn(self, paths: list[str], out: Path) -> dict:
        """Predict the images; returns wall time and processor time in seconds."""
        self._process.stdin.write(json.dumps({"paths": paths, "out": str(out)}) + "\n")
        self._process.stdin.flush()
        return json.loads(self._answer())

    def close(self) -> str:
        """End the worker; returns its description."""
        self._process.stdin.close()
        return json.loads(self._answer())

    def _answer(self) -> str:
        for line in self._process.stdout:
            if line.startswith(('{"', '"')):
                return line
        raise SystemExit("a side of the comparison ended early; its error is above")


def serve(args: argparse.Namespace) -> None:
    """Worker process: predict images on request and report the time."""
    predict, about = (jax_side if args.what == "jax" else torch_side)(args)
    for message in sys.stdin:
        job = json.loads(message)
        wall, cpu = time.perf_counter(), time.process_time()
        predict(job["paths"], Path(job["out"]))
        times = {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}
        print(json.dumps(times), flush=True)
    print(json.dumps(about), flush=True)


def twin(image_size: int):
    """The PyTorch network with random weights; the same in every process.

    Its batch statistics come from noise images; otherwise all images would give the same output.
    """
    sys.path.insert(0, str(ROOT / "tests" / "models"))
    import torch
    import torch_twins

    model = torch_twins.make("efficientnet_lite0", CLASSES)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.inference_mode():
        coarse = torch.randn(16, 3, image_size // 8, image_size // 8)
        model.train()(torch.nn.functional.interpolate(coarse, scale_factor=8))
        model._fc.weight.mul_(10)
    return model.eval()


def jax_side(args: argparse.Namespace) -> tuple[Callable, str]:
    """The package's own loop over images."""
    import jax

    return jax_predict(args, twin(args.image_size).state_dict()), f"jax {jax.__version__}"


def jax_predict(args: argparse.Namespace, weights=None) -> Callable:
    """A function of paths and the table to write; the same steps as the command after loading."""
    from flax import nnx

    from cervix_jax import models
    from cervix_jax.config.base import base_config
    from cervix_jax.models.build import build_model
    from cervix_jax.predict.workflow import predict_images
    from cervix_jax.runs.run import Run

    config = base_config("sipakmed/single_cell")
    config.model.update({"name": "efficientnet_lite0", "normalization": "efficientnet_lite"})
    config.update({"image_size": args.image_size, "eval_batch_size": BATCH})
    model = build_model(config, CLASSES)
    if weights is not None:
        models.port.load_torch_state_dict(model, {k: v.numpy() for k, v in weights.items()})
    _, params, stats = nnx.split(model, nnx.Param, ...)
    variables = {"params": nnx.to_pure_dict(params), "stats": nnx.to_pure_dict(stats)}
    names = [f"class{number}" for number in range(CLASSES)]
    run = Run(config, {"class_names": names}, variables, step=0)

    def predict(paths: Iterable[str], out: Path) -> None:
        predict_images(run, iter(paths), out=out, strict=True, max_pixels=10**8, progress=False)

    return predict


def torch_side(args: argparse.Namespace) -> tuple[Callable, str]:
    """A typical PyTorch loop."""
    import torch

    if args.threads:
        torch.set_num_threads(args.threads)
    model = twin(args.image_size).to(memory_format=torch.channels_last)
    size = (args.image_size, args.image_size)

    def predict(paths: list[str], out: Path) -> None:
        with out.open("w", newline="", encoding="utf-8") as file, torch.inference_mode():
            rows = csv.writer(file)
            rows.writerow(["path", *(f"p_class{number}" for number in range(CLASSES))])
            for start in range(0, len(paths), BATCH):
                batch = paths[start : start + BATCH]
                images = []
                for path in batch:
                    image = Image.open(path).convert("RGB")
                    images.append(np.asarray(image.resize(size, Image.Resampling.BILINEAR)))
                x = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)
                p = torch.softmax(model((x.float() - 127.0) / 128.0), -1).numpy()
                for path, values in zip(batch, p, strict=True):
                    rows.writerow([path, *(f"{value:.6g}" for value in values)])

    return predict, f"torch {torch.__version__}, {torch.get_num_threads()} threads"


def memory(args: argparse.Namespace) -> None:
    """Print the memory of this process while it predicts many images."""
    predict = jax_predict(args)
    every = max(1, args.count // 10)
    print("| images | memory, MiB |\n|---|---|")

    def watched(paths: list[str]) -> Iterator[str]:
        for number, path in enumerate(paths):
            if number % every == 0:
                print(f"| {number} | {resident():.0f} |", flush=True)
            yield path
        print(f"| {len(paths)} | {resident():.0f} |", flush=True)

    with tempfile.TemporaryDirectory() as folder:
        paths = generated(Path(folder), args.count)
        predict(paths[:BATCH], Path(folder) / "first.csv")  # compiles
        predict(watched(paths), Path(folder) / "all.csv")


def resident() -> float:
    """Memory that this process has, in MiB (Linux)."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


if __name__ == "__main__":
    main()
