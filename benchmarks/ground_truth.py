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
import json
from collections.abc import Callable, Mapping
from pathlib import Path

import ground_truth_methods as methods
import ground_truth_runs as runs
import numpy as np
from flax import nnx
from ground_truth_picture import draw
from ground_truth_tables import tables
from tqdm import tqdm

from cervix_jax import atomic
from cervix_jax.audit.baselines import shortcut_table
from cervix_jax.audit.features import border_percentiles
from cervix_jax.audit.model import audit_run
from cervix_jax.audit.perturbations import keep_border
from cervix_jax.data.catalog import Dataset
from cervix_jax.data.decode import resize_labels, resize_square
from cervix_jax.data.experiment import ExperimentData, open_data
from cervix_jax.data.splits import split_dataset
from cervix_jax.distributed import make_mesh
from cervix_jax.explain import measures
from cervix_jax.run import Run, build_model
from cervix_jax.startup import cache_compilations

REFERENCES = 64  # training images for expected gradients
RANDOMISED = 24  # of the explained cells, which the randomised network explains too
FRAMED_CELLS = 2  # of each cluster of the framed class
FOLDS = 5


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
    atomic.write_json(args.out / "ground_truth.json", {"settings": study.settings} | found)
    draw(study.picture(), args.out / "ground_truth.png")
    print(tables(found))


class Study:
    """The three networks, the maps made of them, and the measures of the maps."""

    def __init__(self, out: Path, clusters: int):
        self.out = out
        self.settings = {
            "clusters": clusters, "image_size": runs.IMAGE_SIZE, "epochs": runs.EPOCHS,
            "gradients": methods.GRADIENTS, "masks": methods.MASKS, "methods": [*methods.METHODS],
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
        data, run = self.data[runs.FREE], self.runs[runs.FREE]
        rows = self.chosen(runs.FREE, [runs.FREE])
        regions = measures.cell_regions(data.dataset, rows, size=runs.IMAGE_SIZE)
        given = self.explained(runs.FREE, runs.FREE, rows)
        located = {
            name: self.by_class(maps, name, regions, rows)
            for name, maps in self.maps("parts", given).items()
        }
        test = data.indices("test")
        return {
            "accuracy": self.accuracy(runs.FREE, squares(data.dataset, test), test),
            "cells": len(rows),
            "located": located,
            "filled": self.filled(run, data, test),
        }

    def by_class(self, maps, name: str, regions: measures.Regions, rows: np.ndarray) -> dict:
        """For each class and region the share of mass and of the top pixels, against the area."""
        dataset, reduction = self.data[runs.FREE].dataset, methods.METHODS[name].reduction
        area = measures.area_share(regions.masks)
        values = {
            "mass": measures.relevance_mass(maps, regions.masks, reduction=reduction),
            "rank": measures.relevance_rank(maps, regions.masks, reduction=reduction),
        }
        found: dict = {}
        for k, region in enumerate(regions.names):
            for measure, shares in values.items():
                summaries = measures.summarise_by_class(
                    shares[:, k], groups(dataset, rows), dataset.labels[rows],
                    dataset.class_names, chance=area[:, k],
                )  # fmt: skip
                for label, summary in summaries.items():
                    found.setdefault(label, {}).setdefault(region, {})[measure] = summary
        return found

    def filled(self, run: Run, data: ExperimentData, rows: np.ndarray) -> dict:
        """Fall of the probability of the class when a part takes the colour of what surrounds it.

        Nucleus and halo become cytoplasm, and all others the background. Of test cells that the
        network gets right.
        """
        dataset = data.dataset
        pixels = squares(dataset, rows)
        regions = measures.cell_regions(dataset, rows, size=runs.IMAGE_SIZE)
        masks = dict(zip(regions.names, regions.masks.swapaxes(0, 1), strict=True))
        labels, each = dataset.labels[rows], np.arange(len(rows))
        before = run.predict(pixels)
        right = before.argmax(-1) == labels
        found: dict = {}
        for region, inside in masks.items():
            around = "cytoplasm" if region in ("nucleus", "halo") else "background"
            if region == "background":
                around = region  # its own median: what lies in it goes, its colour stays
            changed = pixels.copy()
            for image, part, source in zip(changed, inside, masks[around], strict=True):
                if source.any():
                    image[part] = np.median(image[source], axis=0)
            fall = before[each, labels] - run.predict(changed)[each, labels]
            defined = right & inside.any((1, 2))
            found[region] = measures.summarise_by_class(
                np.where(defined, fall, np.nan), groups(dataset, rows), labels, dataset.class_names
            )
        return found

    def sanity(self) -> dict:
        """How alike the maps stay when all weights are fresh, and how alike they are to edges."""
        all_rows = self.chosen(runs.FREE, [runs.FREE])
        few = np.linspace(0, len(all_rows) - 1, min(RANDOMISED, len(all_rows))).astype(int)
        given = self.explained(runs.FREE, runs.FREE, all_rows)
        trained = {name: maps[few] for name, maps in self.maps("parts", given).items()}
        rows = all_rows[few]
        fresh = self.explained(runs.FREE, runs.FREE, rows).with_variables(
            fresh_variables(self.runs[runs.FREE])
        )
        names = groups(self.data[runs.FREE].dataset, rows)
        found = {}
        for name, maps in self.maps("fresh", fresh).items():
            if name in methods.REFERENCES:
                continue
            reduction = methods.METHODS[name].reduction
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
            f"cell {cell}, background {around}": composites(
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
        maps = {
            name: self.maps(f"colour_{name}", self.explained(name, runs.CONFOUNDED, rows))
            for name in data
        }
        outside = masks.masks[:, [masks.names.index("background")]]
        moved = {
            name: self.compared(maps, name, outside[:, 0], dataset, rows)
            for name in methods.METHODS
        }
        return {"accuracy": accuracy, "cells": len(rows), "background": moved}

    def compared(self, maps: Mapping, name: str, masks, dataset: Dataset, rows) -> dict:
        """Mass and rank within masks in the maps of two networks, and the paired difference."""
        reduction, area = methods.METHODS[name].reduction, measures.area_share(masks)
        names = groups(dataset, rows)
        found: dict = {}
        for measure in (measures.relevance_mass, measures.relevance_rank):
            shares = {
                run: measure(own[name], masks, reduction=reduction) for run, own in maps.items()
            }
            without, with_it = shares.values()
            found[measure.__name__] = {
                run: measures.summarise(values, names, chance=area)
                for run, values in shares.items()
            } | {"difference": measures.summarise(with_it - without, names)}
        return found

    def audit(self) -> dict:
        """What the audit says of the frame: forests of border pixels, and changed test images."""
        forests = {}
        for name in (runs.FREE, runs.FRAMED):
            dataset = self.data[name].dataset
            marked = dataset.labels == class_number(dataset)
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
        marked = dataset.labels[test] == class_number(dataset)
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
                hit = self.runs[name].predict(chosen).argmax(-1) == class_number(dataset)
                summary = measures.summarise(hit.astype(float), groups(dataset, test[which]))
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
            name: self.maps(f"frame_{name}", self.explained(name, runs.FRAMED, rows))
            for name in (runs.FREE, runs.FRAMED)
        }
        found = {name: self.compared(maps, name, masks, dataset, rows) for name in methods.METHODS}
        return {"cells": len(rows), "area": float(masks.mean()), "located": found}

    def framed_cells(self) -> np.ndarray:
        """Test cells of the framed class, the first few of each cluster."""
        dataset, test = self.data[runs.FRAMED].dataset, self.data[runs.FRAMED].indices("test")
        return first_of_each(
            dataset, test[dataset.labels[test] == class_number(dataset)], FRAMED_CELLS
        )

    def chosen(self, images: str, networks: list[str]) -> np.ndarray:
        """Test cells that all these networks get right: one of each of the first clusters."""
        dataset, test = self.data[images].dataset, self.data[images].indices("test")
        pixels, labels = squares(dataset, test), dataset.labels[test]
        right = [self.runs[name].predict(pixels).argmax(-1) == labels for name in networks]
        cells = first_of_each(dataset, test[np.all(right, axis=0)], 1)
        number = self.settings["clusters"]
        return np.concatenate([
            cells[dataset.labels[cells] == label][:number]
            for label in range(len(dataset.class_names))
        ])  # fmt: skip

    def explained(self, network: str, images: str, rows: np.ndarray) -> methods.Explained:
        """Images of one data set for one network, with references from its own training set."""
        dataset, own = self.data[images].dataset, self.data[network]
        train = own.indices("train")
        few = train[np.linspace(0, len(train) - 1, REFERENCES).astype(int)]
        return methods.Explained(
            self.runs[network], squares(dataset, rows), dataset.labels[rows],
            squares(own.dataset, few),
        )  # fmt: skip

    def maps(self, folder: str, given: methods.Explained) -> dict[str, np.ndarray]:
        """Maps of every method, from `out` where they are there."""
        found = {}
        for name, method in tqdm(methods.METHODS.items(), folder, leave=False):
            path = self.out / "maps" / folder / f"{name}.npy"
            if not path.is_file():
                path.parent.mkdir(parents=True, exist_ok=True)
                with atomic.replacing(path) as temporary, open(temporary, "wb") as file:
                    np.save(file, np.asarray(method.maps(given), np.float32))
            found[name] = np.load(path)
        return found

    def accuracy(self, network: str, pixels: np.ndarray, rows: np.ndarray) -> dict:
        """Accuracy with its interval by cluster."""
        dataset = self.data[runs.FREE].dataset
        right = self.runs[network].predict(pixels).argmax(-1) == dataset.labels[rows]
        return measures.summarise(right.astype(float), groups(dataset, rows))

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
                for name, method in methods.METHODS.items()
            }
            image = squares(own, positions[[row]])[0]
            found.append({"title": title, "image": image, "maps": maps})
        return found


def squares(dataset: Dataset, rows: np.ndarray) -> np.ndarray:
    """Images as the networks see them, uint8 [N, S, S, 3]."""
    images = (dataset.decoded_source[int(i)]["image"] for i in rows)
    return np.stack([resize_square(image, runs.IMAGE_SIZE) for image in images])


def composites(cells: Dataset, backgrounds: Dataset, rows: np.ndarray) -> np.ndarray:
    """The cells of one data set before the background of another, uint8 [N, S, S, 3]."""
    found = []
    for i in rows:
        example, other = cells.decoded_source[int(i)], backgrounds.decoded_source[int(i)]
        cell = (example["nucleus_mask"] > 0) | (example["cytoplasm_mask"] > 0)
        found.append(
            resize_square(np.where(cell, example["image"], other["image"]), runs.IMAGE_SIZE)
        )
    return np.stack(found)


def groups(dataset: Dataset, rows: np.ndarray) -> np.ndarray:
    """Clusters of the examples."""
    return np.asarray(dataset.groups)[rows]


def class_number(dataset: Dataset) -> int:
    """The number of the class with the frame; folders are called `im_<class>`."""
    return [name.removeprefix("im_") for name in dataset.class_names].index(runs.MARKED)


def first_of_each(dataset: Dataset, rows: np.ndarray, count: int) -> np.ndarray:
    """The first `count` of each cluster by file name."""
    by_name = sorted(rows.tolist(), key=lambda i: dataset.filenames[i])
    kept: dict[str, list[int]] = {}
    for i in by_name:
        kept.setdefault(dataset.groups[i], []).append(i)
    return np.asarray([i for members in kept.values() for i in members[:count]])


def fresh_variables(run: Run) -> dict:
    """Weights of the same network as its initialiser draws them."""
    _, params, stats = nnx.split(build_model(run.config, len(run.class_names), 1), nnx.Param, ...)
    return {"params": nnx.to_pure_dict(params), "stats": nnx.to_pure_dict(stats)}


if __name__ == "__main__":
    main()
