r"""Explanations against known truth: which methods find what decides, and which would fool you.

  python benchmarks/ground_truth.py --out=/tmp/ground_truth

Trains three networks on the phantom, whose every pixel is known: on colours that say nothing of
the class ("free"), on slides that each hold one class ("confounded"), and on the first with a blue
frame about the cells of one class ("framed"). Then every attribution method explains them, and the
measures say how much of each map lies where the class is decided. What decides is itself tested
without any map, by filling or exchanging that part of the image.

Goes on from what is in `--out`. The tables come last; the numbers behind them are in
`--out/ground_truth.json`, the picture in `--out/ground_truth.png`.
"""

import argparse
import dataclasses
import json
from collections.abc import Callable, Mapping
from pathlib import Path

import ground_truth_cells as cells
import ground_truth_methods as methods
import ground_truth_runs as runs
import numpy as np
from flax import nnx
from ground_truth_picture import draw
from ground_truth_tables import tables
from scipy.stats import spearmanr
from tqdm import tqdm

from cervix_jax.audit.baselines import shortcut_table
from cervix_jax.audit.features import border_percentiles
from cervix_jax.audit.model import audit_run
from cervix_jax.audit.perturbations import keep_border
from cervix_jax.command.startup import cache_compilations
from cervix_jax.data.catalog import Dataset
from cervix_jax.data.decode import resize_labels
from cervix_jax.data.experiment import ExperimentData, open_data
from cervix_jax.data.splits import split_dataset
from cervix_jax.distributed import make_mesh
from cervix_jax.explain import measures
from cervix_jax.explanations.methods import Explainer
from cervix_jax.files import atomic
from cervix_jax.models.build import build_model
from cervix_jax.runs.run import Run

REFERENCES = 64  # training images for expected gradients
RANDOMISED = 24  # of the explained cells, which the randomised network explains too
FRAMED_CELLS = 2  # of each cluster of the framed class
FOLDS = 5
FRESH = "fresh"  # the free network with weights as they are drawn


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder for runs, maps and numbers")
    parser.add_argument("--clusters", type=int, default=12, help="of each class, a cell of each")
    args = parser.parse_args()
    cache_compilations()
    study = Study(args.out, args.clusters)
    found = {
        name: study.part(name, getattr(study, name))
        for name in ("parts", "sanity", "colour", "audit", "frame")
    }
    whole = compact({"settings": study.settings} | found)
    atomic.write_text(args.out / "ground_truth.json", json.dumps(whole, separators=(",", ":")))
    draw(study.picture(), args.out / "ground_truth.png")
    print(tables(found))


class Study:
    """The three networks, the maps made of them, and the measures of the maps."""

    def __init__(self, out: Path, clusters: int):
        self.out = out
        self.settings = {
            "clusters": clusters, "image_size": runs.IMAGE_SIZE, "epochs": runs.EPOCHS,
            "methods": {name: dataclasses.asdict(each) for name, each in methods.VARIANTS.items()},
        }  # fmt: skip
        kept = out / "settings.json"
        if kept.is_file():
            if json.loads(kept.read_text(encoding="utf-8")) != self.settings:
                raise SystemExit(f"error: {kept} has other settings; give another --out.")
        else:
            atomic.write_json(kept, self.settings)
        names = (runs.FREE, runs.CONFOUNDED, runs.FRAMED)
        self.runs: dict[str, Run] = {name: runs.train(name, out) for name in names}
        self.data: dict[str, ExperimentData] = {
            name: open_data(run.config, make_mesh(), progress=False)
            for name, run in self.runs.items()
        }

    def part(self, name: str, make: Callable[[], dict]) -> dict:
        """The numbers of one part, from `out` where they are there."""
        path = self.out / f"{name}.json"
        if not path.is_file():
            print(f"{name} ...", flush=True)
            atomic.write_json(path, make())
        return json.loads(path.read_text(encoding="utf-8"))

    def parts(self) -> dict:
        """Where the maps of the free network lie, and what filling each part does to it."""
        dataset, run = self.data[runs.FREE].dataset, self.runs[runs.FREE]
        test = self.data[runs.FREE].indices("test")
        rows = self.chosen(runs.FREE, [runs.FREE])
        regions = measures.cell_regions(dataset, rows, size=runs.IMAGE_SIZE)
        falls = cells.falls(run, dataset, rows, "logit")
        area = measures.area_share(regions.masks)
        located, agreement = {}, {}
        for name, maps in self.maps("parts", runs.FREE, runs.FREE, rows).items():
            located[name] = self.by_class(maps, name, regions, rows)
            mass = measures.relevance_mass(
                maps, regions.masks, reduction=methods.VARIANTS[name].reduction
            )
            # For each pixel of a part, since a larger part has more of either.
            agreement[name] = measures.summarise(
                [spearmanr(*pair, nan_policy="omit").statistic
                 for pair in zip(mass / area, falls / area, strict=True)],
                cells.groups(dataset, rows),
            )  # fmt: skip
        every = cells.falls(run, dataset, test, "probability")
        filled = {
            region: measures.summarise_by_class(
                fall, cells.groups(dataset, test), dataset.labels[test], dataset.class_names
            )
            for region, fall in zip(regions.names, every.T, strict=True)
        }
        return {
            "accuracy": self.accuracy(runs.FREE, cells.squares(dataset, test), test),
            "cells": len(rows),
            "filled": filled,
            "located": located,
            "agreement": agreement,
        }

    def by_class(self, maps, name: str, regions: measures.Regions, rows: np.ndarray) -> dict:
        """For each class and region the share of mass and of the top pixels, against the area."""
        dataset, reduction = self.data[runs.FREE].dataset, methods.VARIANTS[name].reduction
        area = measures.area_share(regions.masks)
        values = {
            "mass": measures.relevance_mass(maps, regions.masks, reduction=reduction),
            "rank": measures.relevance_rank(maps, regions.masks, reduction=reduction),
        }
        found: dict = {}
        for k, region in enumerate(regions.names):
            for measure, shares in values.items():
                summaries = measures.summarise_by_class(
                    shares[:, k], cells.groups(dataset, rows), dataset.labels[rows],
                    dataset.class_names, chance=area[:, k],
                )  # fmt: skip
                for label, summary in summaries.items():
                    found.setdefault(label, {}).setdefault(region, {})[measure] = summary
        return found

    def sanity(self) -> dict:
        """How alike the maps stay when all weights are fresh, and how alike they are to edges."""
        all_rows = self.chosen(runs.FREE, [runs.FREE])
        few = np.linspace(0, len(all_rows) - 1, min(RANDOMISED, len(all_rows))).astype(int)
        rows = all_rows[few]
        trained = {
            name: maps[few]
            for name, maps in self.maps("parts", runs.FREE, runs.FREE, all_rows).items()
        }
        names = cells.groups(self.data[runs.FREE].dataset, rows)
        found = {}
        for name, maps in self.maps("fresh", FRESH, runs.FREE, rows).items():
            if name in methods.REFERENCES:
                continue
            reduction = methods.VARIANTS[name].reduction
            alike = measures.similarity(trained[name], maps, reduction=reduction)
            edges = measures.similarity(
                measures.reduce_channels(trained[name], reduction), trained[methods.EDGES]
            )
            found[name] = {
                "rank": measures.summarise(alike.spearman_signed, names),
                "rank_absolute": measures.summarise(alike.spearman_absolute, names),
                "ssim": measures.summarise(alike.ssim_absolute, names),
                "edges": measures.summarise(edges.spearman_absolute, names),
            }
        return found

    def colour(self) -> dict:
        """What the confounded network does with colour, beside the free one, on the same images."""
        data = {name: self.data[name] for name in (runs.FREE, runs.CONFOUNDED)}
        test = data[runs.FREE].indices("test")
        dataset = data[runs.CONFOUNDED].dataset
        if dataset.filenames != data[runs.FREE].dataset.filenames:
            raise AssertionError("the two phantoms must show the same cells in the same order")
        mixed = {
            f"cell {cell}, background {around}": cells.composites(
                data[cell].dataset, data[around].dataset, test
            )
            for cell in data
            for around in data
        }
        accuracy = {
            name: {images: self.accuracy(name, pixels, test) for images, pixels in mixed.items()}
            for name in data
        }
        rows = self.chosen(runs.CONFOUNDED, list(data))
        masks = measures.cell_regions(dataset, rows, size=runs.IMAGE_SIZE)
        maps = {name: self.maps(f"colour_{name}", name, runs.CONFOUNDED, rows) for name in data}
        outside = masks.masks[:, [masks.names.index("background")]]
        moved = {
            name: self.compared(maps, name, outside[:, 0], dataset, rows)
            for name in methods.VARIANTS
        }
        return {"accuracy": accuracy, "cells": len(rows), "background": moved}

    def compared(self, maps: Mapping, name: str, masks, dataset: Dataset, rows) -> dict:
        """Mass and rank within masks in the maps of two networks, and the paired differences."""
        reduction, area = methods.VARIANTS[name].reduction, measures.area_share(masks)
        names = cells.groups(dataset, rows)
        kinds = {"mass": measures.relevance_mass, "rank": measures.relevance_rank}
        found: dict = {}
        for kind, measure in kinds.items():
            shares = {
                run: measure(own[name], masks, reduction=reduction) for run, own in maps.items()
            }
            without, with_it = shares.values()
            found[kind] = {
                run: measures.summarise(values, names, chance=area)
                for run, values in shares.items()
            } | {"difference": measures.summarise(with_it - without, names)}
        return found

    def audit(self) -> dict:
        """What the audit says of the frame: forests of border pixels, and changed test images."""
        forests = {}
        for name in (runs.FREE, runs.FRAMED):
            dataset = self.data[name].dataset
            marked = dataset.labels == cells.class_number(dataset)
            border = np.stack([border_percentiles(each["image"]) for each in
                               tqdm(dataset.decoded_source, "borders", leave=False)])  # fmt: skip
            folds = [
                split_dataset(dataset, protocol="cluster", fold=fold, folds=FOLDS)
                for fold in range(FOLDS)
            ]
            forests[name] = {
                task: shortcut_table({"border": border}, labels, {"cluster": folds},
                                     progress=False)["border"]["cluster"]
                for task, labels in (("five classes", dataset.labels),
                                     (f"{runs.MARKED} or not", marked.astype(int)))
            }  # fmt: skip
        changed = {
            name: audit_run(self.runs[name], self.data[name], progress=False)
            for name in (runs.FREE, runs.FRAMED)
        }
        return {"forests": forests, "runs": changed, "called": self.called()}

    def called(self) -> dict:
        """The share of test cells called by the framed class, with and without a frame."""
        dataset = self.data[runs.FREE].dataset
        test = self.data[runs.FREE].indices("test")
        marked = dataset.labels[test] == cells.class_number(dataset)
        plain = [dataset.decoded_source[int(i)]["image"] for i in test]
        framed = [runs.add_frame(image) for image in plain]
        kinds = {
            "its cells, framed": (framed, marked),
            "its cells, no frame": (plain, marked),
            "its cells, only the frame kept": ([keep_border(image) for image in framed], marked),
            "other cells, framed": (framed, ~marked),
            "other cells, no frame": (plain, ~marked),
        }
        found: dict = {}
        for name in (runs.FREE, runs.FRAMED):
            for kind, (images, which) in kinds.items():
                chosen = [image for image, wanted in zip(images, which, strict=True) if wanted]
                hit = self.runs[name].predict(chosen).argmax(-1) == cells.class_number(dataset)
                summary = measures.summarise(hit.astype(float), cells.groups(dataset, test[which]))
                found.setdefault(kind, {})[name] = summary
        return found

    def frame(self) -> dict:
        """The share of the maps in the frame: of the framed network, and of the free one."""
        dataset = self.data[runs.FRAMED].dataset
        rows = self.framed_cells()
        masks = np.stack([
            resize_labels(
                runs.frame_mask(dataset.decoded_source[int(i)]["image"].shape).astype(np.uint8),
                runs.IMAGE_SIZE,
            ) > 0
            for i in rows
        ])  # fmt: skip
        maps = {
            name: self.maps(f"frame_{name}", name, runs.FRAMED, rows)
            for name in (runs.FREE, runs.FRAMED)
        }
        found = {name: self.compared(maps, name, masks, dataset, rows) for name in methods.VARIANTS}
        return {"cells": len(rows), "area": float(masks.mean()), "located": found}

    def framed_cells(self) -> np.ndarray:
        """Test cells of the framed class, the first few of each cluster."""
        dataset, test = self.data[runs.FRAMED].dataset, self.data[runs.FRAMED].indices("test")
        return cells.first_of_each(
            dataset, test[dataset.labels[test] == cells.class_number(dataset)], FRAMED_CELLS
        )

    def chosen(self, images: str, networks: list[str]) -> np.ndarray:
        """Test cells that all these networks get right: one of each of the first clusters."""
        dataset, test = self.data[images].dataset, self.data[images].indices("test")
        pixels, labels = cells.squares(dataset, test), dataset.labels[test]
        right = [self.runs[name].predict(pixels).argmax(-1) == labels for name in networks]
        firsts = cells.first_of_each(dataset, test[np.all(right, axis=0)], 1)
        number = self.settings["clusters"]
        return np.concatenate([
            firsts[dataset.labels[firsts] == label][:number]
            for label in range(len(dataset.class_names))
        ])  # fmt: skip

    def maps(self, folder: str, network: str, images: str, rows: np.ndarray) -> dict:
        """Maps of every method by name, from `out` where they are there.

        Args:
          folder: below `out / "maps"`.
          network: a run, or `FRESH`; expected gradients start from its own training images.
          images: whose data set is explained.
          rows: positions in it.
        """
        own = runs.FREE if network == FRESH else network
        run, train = self.runs[own], self.data[own].indices("train")
        if network == FRESH:
            run = run.with_variables(fresh_variables(run))
        few = train[np.linspace(0, len(train) - 1, REFERENCES).astype(int)]
        references = run.preprocess(cells.squares(self.data[own].dataset, few))
        explainer = Explainer(run, methods.SETTINGS, np.asarray(references))
        dataset = self.data[images].dataset
        pixels = np.asarray(run.preprocess(cells.squares(dataset, rows)))
        found = {}
        for name, variant in tqdm(methods.VARIANTS.items(), folder, leave=False):
            path = self.out / "maps" / folder / f"{name}.npy"
            if not path.is_file():
                path.parent.mkdir(parents=True, exist_ok=True)
                with atomic.replacing(path) as temporary, open(temporary, "wb") as file:
                    maps = variant.maps(explainer, pixels, dataset.labels[rows])
                    np.save(file, np.asarray(maps, np.float32))
            found[name] = np.load(path)
        return found

    def accuracy(self, network: str, pixels: np.ndarray, rows: np.ndarray) -> dict:
        """Accuracy with its interval by cluster."""
        dataset = self.data[runs.FREE].dataset
        right = self.runs[network].predict(pixels).argmax(-1) == dataset.labels[rows]
        return measures.summarise(right.astype(float), cells.groups(dataset, rows))

    def picture(self) -> list[dict]:
        """Rows of the picture: a title, the image, and maps by method."""
        rows = self.chosen(runs.CONFOUNDED, [runs.FREE, runs.CONFOUNDED])
        dataset = self.data[runs.CONFOUNDED].dataset
        halo = int(np.argmax(dataset.labels[rows] == dataset.class_names.index("Koilocytotic")))
        wanted = [
            ("halo, free", "parts", self.data[runs.FREE].dataset, self.chosen(
                runs.FREE, [runs.FREE]), None),
            ("own stain, free", "colour_free", dataset, rows, halo),
            ("own stain, confounded", "colour_confounded", dataset, rows, halo),
            ("frame, free", "frame_free", self.data[runs.FRAMED].dataset, self.framed_cells(), 0),
            ("frame, framed", "frame_framed", self.data[runs.FRAMED].dataset,
             self.framed_cells(), 0),
        ]  # fmt: skip
        found = []
        for title, folder, own, positions, row in wanted:
            if row is None:
                labels = own.labels[positions]
                row = int(np.argmax(labels == own.class_names.index("Koilocytotic")))
            maps = {
                name: measures.reduce_channels(
                    np.load(self.out / "maps" / folder / f"{name}.npy")[row][None],
                    method.reduction,
                )[0]
                for name, method in methods.VARIANTS.items()
            }
            image = cells.squares(own, positions[[row]])[0]
            found.append({"title": title, "image": image, "maps": maps})
        return found


def compact(value):
    """The same with four decimals, and of each summary only the numbers."""
    if isinstance(value, dict):
        return {key: compact(of) for key, of in value.items() if key not in ("method", "why")}
    if isinstance(value, list):
        return [compact(of) for of in value]
    return round(value, 4) if isinstance(value, float) else value


def fresh_variables(run: Run) -> dict:
    """Weights of the same network as its initialiser draws them."""
    _, params, stats = nnx.split(build_model(run.config, len(run.class_names), 1), nnx.Param, ...)
    return {"params": nnx.to_pure_dict(params), "stats": nnx.to_pure_dict(stats)}


if __name__ == "__main__":
    main()
