r"""Cells of a slide: time compared with a PyTorch loop on the same tiles, networks and weights.

  ls /path/to/cric/images | head -24 > names.txt
  python benchmarks/mosaic.py --cric=/path/to/cric --names=names.txt --columns=6 --rows=6 \
      --out=part.svs
  python benchmarks/slide_throughput.py --slide=part.svs --workdir=runs/cells

`predict_images(run, slide, field="cells")` and a typical PyTorch loop (openslide's `read_region`,
Pillow, batches, `max_pool2d` for the peaks, csv) run in separate processes and alternate over the
whole slide. The loop uses the tiles of `slides.tile_rows`, one at a time, and classifies the cells
of a row of tiles in batches of the same size. The logits of both networks for the same pixels must
agree before time is measured; the script prints the number of cells that both sides found. The
sides differ in these points: this package mirrors the slide at its border, pads tiles and batches
to one size, reads ahead in threads, can resume, and writes GeoJSON and an HTML page. `--readers`
gives the loop reading threads too. PyTorch must be installed (`pip install torch`).
"""

import argparse
import csv
import itertools
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from sides import (
    HUGE_PAGES,
    ON_DEMAND,
    Side,
    answer,
    jax_memory,
    machine,
    messages,
    torch_device,
    torch_memory,
    write_json,
)

ROOT = Path(__file__).resolve().parents[1]
TOLERANCE = 1e-4  # of logits, over the largest
NEAR = 1.5  # micrometres between the same nucleus of both sides: a place of the detector's map


def main() -> int:
    """Compare, or serve as one side."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--slide", help="slide with a stored scale, readable by OpenSlide")
    parser.add_argument("--workdir", help="folder of a run with a known field of view")
    parser.add_argument(
        "--detector", default="nuclei", help="detector name or folder of a detector's run"
    )
    parser.add_argument("--batch_size", type=int, default=64, help="cells in one batch")
    parser.add_argument("--rounds", type=int, default=5, help="number of turns of each side")
    parser.add_argument(
        "--threads", type=int, default=0, help="threads of PyTorch; 0 means one for each core"
    )
    parser.add_argument(
        "--readers", type=int, default=0, help="reading threads of the PyTorch loop"
    )
    parser.add_argument("--out", default="", help="JSON file for the results")
    parser.add_argument("--side", choices=["jax", "torch"], help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.side:
        serve(args.side)
        return 0
    if not args.slide or not args.workdir:
        parser.error("give --slide and --workdir")
    with tempfile.TemporaryDirectory() as folder:
        record = compare(args, Path(folder))
    print(text(record))
    write_json(args.out, record)
    return 0 if record["agree"] else 1


def compare(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Both sides in turns over the slide."""
    job = {name: getattr(args, name) for name in
           ("workdir", "detector", "batch_size", "threads", "readers")}  # fmt: skip
    job |= {"slide": str(Path(args.slide).resolve()), "folder": str(folder)}
    job["workdir"] = str(Path(args.workdir).resolve())
    if Path(args.detector).is_dir():
        job["detector"] = str(Path(args.detector).resolve())
    sides, about, tables = {}, {}, {}
    for name in ("jax", "torch"):  # the first leaves weights and tiles for the second
        sides[name] = Side(__file__, [f"--side={name}"], HUGE_PAGES | ON_DEMAND)
        about[name] = sides[name].ask(job)
        tables[name] = folder / f"{name}.csv"
        # Compiles, fills the caches, is compared and not timed.
        about[name] |= {"first_s": sides[name].ask({"out": str(tables[name])})["wall"]}
    turns: dict[str, list[dict[str, float]]] = {name: [] for name in sides}
    for number, name in itertools.product(range(args.rounds), sides):
        out = folder / f"{name}{number}.csv"
        turns[name].append(sides[name].ask({"out": str(out)}))
    for name, side in sides.items():
        about[name] |= side.ask({"end": True})
        side.close()
    errors = about["torch"].pop("errors")
    tiles = about["jax"].pop("tiles")
    record: dict[str, Any] = {
        "slide": Path(args.slide).name, "detector": Path(args.detector).name, "tiles": tiles,
        "errors": errors, "agree": all(error < TOLERANCE for error in errors.values()),
        "common": common(tables["jax"], tables["torch"], NEAR / about["jax"]["mpp"]),
        "readers": args.readers, "sides": {},
    }  # fmt: skip
    for name, own in turns.items():
        cells = own[0]["cells"]
        record["sides"][name] = about[name] | {"cells": cells, "turns": own} | {
            f"{what}_per_s_of_{clock}": [count / turn[clock] for turn in own]
            for clock in ("wall", "cpu")
            for what, count in (("tiles", tiles), ("cells", cells))
        }  # fmt: skip
    for clock in ("wall", "cpu"):
        record[f"ratios_of_{clock}"] = [
            theirs[clock] / ours[clock]
            for ours, theirs in zip(turns["jax"], turns["torch"], strict=True)
        ]
    return record


def common(ours: Path, theirs: Path, near: float) -> dict[str, int]:
    """Numbers of cells in two tables, at the same position, and there of the same class."""
    from scipy.spatial import KDTree

    places, classes = zip(*(read_cells(path) for path in (ours, theirs)), strict=True)
    counts = {"here": len(places[0]), "torch": len(places[1]), "both": 0, "same_class": 0}
    if len(places[0]) and len(places[1]):
        away, number = KDTree(places[1]).query(places[0])
        both = away <= near
        counts["both"] = int(both.sum())
        counts["same_class"] = int((classes[0] == classes[1][number])[both].sum())
    return counts


def read_cells(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Positions float64 [n, 2] and classes [n] of a table."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    places = np.asarray([[float(row["x"]), float(row["y"])] for row in rows]).reshape(-1, 2)
    return places, np.asarray([row["class"] for row in rows])


def spread(values: Sequence[float], digits: int = 2) -> str:
    """Median, lowest and highest."""
    middle, low, high = statistics.median(values), min(values), max(values)
    return f"{middle:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def text(record: Mapping[str, Any]) -> str:
    """The comparison in Markdown."""
    ours, theirs = (record["sides"][name] for name in ("jax", "torch"))
    both, errors = record["common"], record["errors"]
    lines = [
        f"{record['slide']}: {record['tiles']} tiles; logits differ by "
        f"{errors['detector']:.1e} (detector) and {errors['classifier']:.1e} (classifier) of the "
        f"largest{'' if record['agree'] else ': THEY DIFFER'}; cells here {both['here']}, in "
        f"PyTorch {both['torch']}, at the same place {both['both']}, of the same class there "
        f"{both['same_class']}\n",
        "| of | here | PyTorch | ratio by turn |", "|---|---|---|---|",
    ]  # fmt: skip
    for clock, label in (("wall", "clock"), ("cpu", "processor")):
        for what in ("tiles", "cells"):
            rates = [side[f"{what}_per_s_of_{clock}"] for side in (ours, theirs)]
            ratio = spread(record[f"ratios_of_{clock}"]) if what == "tiles" else ""
            lines.append(
                f"| {what}/s of the {label} | {spread(rates[0])} | {spread(rates[1])} | {ratio} |"
            )
    for key, label in (("first_s", "first turn, s"), ("memory_gib", "peak memory, GiB")):
        lines.append(f"| {label} | {ours[key]:.2f} | {theirs[key]:.2f} | |")
    lines.append(f"\n{ours['machine']}; {ours['version']}; {theirs['version']}")
    return "\n".join(lines)


def serve(name: str) -> None:
    """Worker process: read the job, describe it, then process the slide on request."""
    asked = messages()
    predict, about, end = (jax_side if name == "jax" else torch_side)(next(asked))
    answer(about)
    for message in asked:
        if "end" in message:
            answer(end())
            continue
        wall, cpu = time.perf_counter(), time.process_time()
        cells = predict(Path(message["out"]))
        answer({
            "wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu, "cells": cells,
        })  # fmt: skip


def jax_side(job: Mapping[str, Any]) -> tuple[Callable[[Path], int], dict, Callable[[], dict]]:
    """This package's side; writes `shared.npz` with the data for the other side."""
    sys.path.insert(0, str(ROOT))
    import jax

    from cervix_jax.data.normalization import NORMALIZATIONS, normalize
    from cervix_jax.detect.detector import SHIPPED, load_detector, read_shipped
    from cervix_jax.detect.peaks import APART, SIGMA, TAPS
    from cervix_jax.models.nucleus_detector import MULTIPLE
    from cervix_jax.predict.workflow import predict_images
    from cervix_jax.runs.inference import apply_weights
    from cervix_jax.runs.run import load_run
    from cervix_jax.slides import open_slide, tile_rows

    run, detector = load_run(job["workdir"]), load_detector(job["detector"])
    if job["detector"] == SHIPPED:
        stored = read_shipped()
        weights, normalization = stored.variables, stored.normalization
    else:
        stored = load_run(job["detector"])
        weights, normalization = stored.variables, stored.config.model.normalization
    with open_slide(job["slide"]) as slide:
        rows = tile_rows(slide, mpp=detector.microns_per_pixel, margin=detector.context)
        mpp = slide.require_mpp()
        middle = rows[len(rows) // 2][0]
        tile = slide.read(middle.box, middle.size)
        side, top = run.config.image_size, middle.core[1]
        squares = np.stack([
            slide.read((left, top, left + 200, top + 200), (side, side))
            for left in np.linspace(middle.core[0], middle.core[2], 8)
        ])  # fmt: skip
    height, width = (length // MULTIPLE * MULTIPLE for length in tile.shape[:2])
    tile = tile[:height, :width]

    graphdef = graphdef_of(job["detector"])

    @jax.jit
    def detector_logits(variables, images):
        return apply_weights(graphdef, variables, normalize(images, normalization))[0]

    shared = {f"detector/{name}": value for name, value in torch_names(weights).items()}
    shared |= {f"run/{name}": value for name, value in torch_names(run.variables).items()}
    np.savez(
        Path(job["folder"]) / "shared.npz", allow_pickle=False, **shared,
        tile=tile, tile_logits=np.asarray(detector_logits(weights, tile[None]))[0],
        squares=squares, squares_logits=run.logits(squares, batch_size=8),
    )  # fmt: skip
    write_json(str(Path(job["folder"]) / "shared.json"), {
        "model": run.config.model.name, "class_names": list(run.class_names),
        "image_size": run.config.image_size, "view": run.field_of_view / mpp,
        "normalization": NORMALIZATIONS[run.config.model.normalization],
        "detector_normalization": NORMALIZATIONS[normalization], "least": detector.least,
        "peaks": (SIGMA, APART, TAPS),
        "rows": [[(tile.core, tile.box, tile.size) for tile in row] for row in rows],
    })  # fmt: skip

    def predict(out: Path) -> int:
        return predict_images(
            run, job["slide"], out=out, field="cells", detector=job["detector"],
            batch_size=job["batch_size"], strict=True, progress=False,
        ).rows  # fmt: skip

    device = jax.devices()[0]
    about = {"version": f"jax {jax.__version__}", "machine": machine(device), "mpp": mpp,
             "tiles": sum(map(len, rows))}  # fmt: skip
    return predict, about, lambda: {"memory_gib": jax_memory(device)}


def graphdef_of(detector: str):
    """The static part of a detector's network."""
    from flax import nnx

    from cervix_jax import models
    from cervix_jax.detect.detector import SHIPPED, read_shipped
    from cervix_jax.runs.run import load_run

    if detector != SHIPPED:
        return load_run(detector).graphdef
    name = read_shipped().model
    return nnx.split(nnx.eval_shape(lambda: models.create(name, num_classes=2)), nnx.Param, ...)[0]


def torch_names(variables: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Weights {"params", "stats"} of a network by torch's names, in torch's axis order."""
    from flax import traverse_util

    from cervix_jax.models.weights.names import torch_name

    named = {}
    for kind in ("params", "stats"):
        for path, value in traverse_util.flatten_dict(variables[kind]).items():
            array = np.asarray(value, np.float32)
            if array.ndim == 4:
                array = array.transpose(3, 2, 0, 1)
            named[torch_name(path)] = array.T if array.ndim == 2 else array
    return named


def detector_twin():
    """The nucleus detector in PyTorch, with the parameter names of this package."""
    from torch import nn
    from torch.nn import functional as F

    class Block(nn.Module):
        def __init__(self, a: int, b: int, stride: int = 1):
            super().__init__()
            self.conv = nn.Conv2d(a, b, 3, stride, 1, bias=False)
            self.norm = nn.BatchNorm2d(b)

        def forward(self, x):
            return F.relu(self.norm(self.conv(x)))

    class Detector(nn.Module):
        def __init__(self, widths: tuple[int, ...] = (16, 32, 64, 96)):
            super().__init__()
            pairs = list(itertools.pairwise(widths))
            self.down = nn.ModuleList([Block(a, b, 2) for a, b in [(3, widths[0]), *pairs]])
            self.level = nn.ModuleList([Block(width, width) for width in widths])
            self.deepest = Block(widths[-1], widths[-1])
            self.lateral = nn.ModuleList([nn.Conv2d(b, a, 1, bias=False) for a, b in pairs])
            self.up = nn.ModuleList([Block(a, a) for a, _ in pairs])
            self.classifier = nn.Conv2d(widths[0], 2, 1)

        def forward(self, x):
            levels = []
            for down, level in zip(self.down, self.level, strict=True):
                x = level(down(x))
                levels.append(x)
            x = self.deepest(x)
            for fine, lateral, up in reversed(
                list(zip(levels[:-1], self.lateral, self.up, strict=True))
            ):
                x = up(F.interpolate(lateral(x), scale_factor=2) + fine)
            return self.classifier(x)

    return Detector()


def load_twin(twin, named: Mapping[str, np.ndarray], rename: Callable[[str], str] = str):
    """Load weights by name into a PyTorch twin in evaluation mode; `rename` maps its names."""
    import torch

    state = {
        name: value if name.endswith("num_batches_tracked")
        else torch.from_numpy(np.array(named[rename(name)], order="C"))
        for name, value in twin.state_dict().items()
    }  # fmt: skip
    twin.load_state_dict(state)
    return twin.eval()


def torch_side(job: Mapping[str, Any]) -> tuple[Callable[[Path], int], dict, Callable[[], dict]]:
    """A typical PyTorch loop, without JAX."""
    import json

    import openslide
    import torch
    from PIL import Image
    from torch.nn import functional as F

    sys.path[:0] = [str(ROOT / "tests" / "models"), str(ROOT / "cervix_jax" / "models" / "weights")]
    import torch_twins
    from names import canonical_name

    if job["threads"]:
        torch.set_num_threads(job["threads"])
    device = torch_device()
    with np.load(Path(job["folder"]) / "shared.npz", allow_pickle=False) as file:
        shared = dict(file)
    facts = json.loads((Path(job["folder"]) / "shared.json").read_text(encoding="utf-8"))
    names = facts["class_names"]

    def weights(prefix: str) -> dict[str, np.ndarray]:
        return {k.removeprefix(prefix): v for k, v in shared.items() if k.startswith(prefix)}

    def scaled(pixels: np.ndarray, normalization: Sequence[Sequence[float]]):
        x = torch.from_numpy(pixels).to(device).permute(0, 3, 1, 2).float() / 255
        mean, deviation = (torch.tensor(v, device=device).view(1, 3, 1, 1) for v in normalization)
        return ((x - mean) / deviation).contiguous(memory_format=torch.channels_last)

    finds = load_twin(detector_twin(), weights("detector/"))
    classifies = load_twin(
        torch_twins.make(facts["model"], len(names)), weights("run/"), canonical_name
    )
    finds, classifies = (
        twin.to(device, memory_format=torch.channels_last) for twin in (finds, classifies)
    )
    sigma, apart, cut = facts["peaks"]
    taps = torch.exp(-0.5 * (torch.arange(-cut, cut + 1, device=device) / sigma) ** 2)
    taps = taps / taps.sum()
    slide = openslide.OpenSlide(job["slide"])
    readers = ThreadPoolExecutor(job["readers"]) if job["readers"] else None

    def read(region: tuple[Sequence[float], Sequence[int]]) -> np.ndarray:
        (left, top, right, bottom), size = region
        level = slide.get_best_level_for_downsample((right - left) / size[0] * 1.01)
        scale = slide.level_downsamples[level]
        wanted = round((right - left) / scale), round((bottom - top) / scale)
        image = slide.read_region((round(left), round(top)), level, wanted)
        white = Image.new("RGB", image.size, "white")
        white.paste(image, mask=image.getchannel("A"))
        return np.array(white.resize(tuple(size), Image.Resampling.BILINEAR))

    def read_all(regions: Iterable[tuple[Sequence[float], Sequence[int]]]) -> Iterator[np.ndarray]:
        return readers.map(read, regions) if readers else map(read, regions)

    def nuclei(pixels: np.ndarray, core: Sequence[float], box: Sequence[float]) -> np.ndarray:
        logits = finds(scaled(pixels[None], facts["detector_normalization"]))
        probability = torch.softmax(logits, 1)[:, 1:]
        padded = F.pad(probability, (cut,) * 4, mode="replicate")
        blurred = F.conv2d(F.conv2d(padded, taps.view(1, 1, -1, 1)), taps.view(1, 1, 1, -1))
        highest = F.max_pool2d(blurred, 2 * apart + 1, 1, apart)
        peaks = (blurred == highest) & (blurred >= facts["least"])
        y, x = torch.nonzero(peaks[0, 0], as_tuple=True)
        found = torch.stack([x, y], 1).cpu().numpy() * 2 + 1.5
        found = found * ((box[2] - box[0]) / pixels.shape[1]) + box[:2]
        return found[((found >= core[:2]) & (found < core[2:])).all(1)]

    def predict(out: Path) -> int:
        count, half = 0, facts["view"] / 2
        size = (facts["image_size"],) * 2
        with out.open("w", newline="", encoding="utf-8") as file, torch.inference_mode():
            table = csv.writer(file)
            table.writerow(["x", "y", "class", *(f"p_{name}" for name in names)])
            for row in facts["rows"]:
                tiles = read_all((box, size_) for _, box, size_ in row)
                found = zip(tiles, row, strict=True)
                cells = np.concatenate([nuclei(pixels, *tile[:2]) for pixels, tile in found])
                boxes = ((x - half, y - half, x + half, y + half) for x, y in cells.tolist())
                squares = read_all((box, size) for box in boxes)
                for start in range(0, len(cells), job["batch_size"]):
                    part = cells[start : start + job["batch_size"]]
                    pixels = np.stack(list(itertools.islice(squares, len(part))))
                    logits = classifies(scaled(pixels, facts["normalization"]))
                    values = torch.softmax(logits, 1).cpu().numpy()
                    for (x, y), each in zip(part, values, strict=True):
                        name = names[int(each.argmax())]
                        table.writerow([f"{x:.6g}", f"{y:.6g}", name, *(f"{p:.6g}" for p in each)])
                count += len(cells)
        return count

    with torch.inference_mode():
        tile = finds(scaled(shared["tile"][None], facts["detector_normalization"]))[0]
        squares = classifies(scaled(shared["squares"], facts["normalization"]))
    errors = {
        "detector": difference(tile.permute(1, 2, 0).cpu().numpy(), shared["tile_logits"]),
        "classifier": difference(squares.cpu().numpy(), shared["squares_logits"]),
    }
    version = f"torch {torch.__version__}, {torch.get_num_threads()} threads"
    version += f", {job['readers']} that read" if job["readers"] else ""
    return (
        predict, {"version": version, "errors": errors},
        lambda: {"memory_gib": torch_memory(device)},
    )  # fmt: skip


def difference(ours: np.ndarray, theirs: np.ndarray) -> float:
    """The largest difference divided by the largest value."""
    return float(np.abs(ours - theirs).max() / np.abs(theirs).max())


if __name__ == "__main__":
    raise SystemExit(main())
