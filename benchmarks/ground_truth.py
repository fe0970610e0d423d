r"""Tests explanations against a known truth: which methods mark the parts that the model uses.

  python benchmarks/ground_truth.py --out=/tmp/ground_truth

The script trains three networks on the phantom, in which the part of every pixel is known: with
colours independent of the class ("free"), with stains that occur in one class only ("confounded"),
and with the first data plus a blue frame around the cells of one class ("framed"). It explains the
networks with every attribution method. It measures how much of each map lies on each part of the
cell, and how similar the maps are to those of a network with random weights. The effect of each
part on the prediction is measured without any map, by filling the part.

Existing runs and maps in `--out` are not made again. The script prints its tables of
docs/ground_truth.md.
"""

import argparse
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.stats import spearmanr
from tqdm import tqdm

from cervix_jax.command.startup import cache_compilations
from cervix_jax.data import catalog
from cervix_jax.data.decode import resize_labels, resize_square
from cervix_jax.data.experiment import ExperimentData
from cervix_jax.explain import measures
from cervix_jax.explain.baselines import several
from cervix_jax.explain.registry import METHODS
from cervix_jax.explanations.explainer import Explainer, MapSettings
from cervix_jax.explanations.fresh import fresh_variables
from cervix_jax.files import atomic
from cervix_jax.runs.run import Run, load_run
from cervix_jax.training.run import train_and_evaluate
from configs import efficientnet_lite0

PHANTOM, SIZE = "cervix_phantom/single_cell", 64
FREE, CONFOUNDED, FRAMED = "free", "confounded", "framed"
EPOCHS = {FREE: 5, CONFOUNDED: 5, FRAMED: 2}  # the frame is learnt quickly
MARKED, COLOUR, WIDTH = "Metaplastic", (70, 90, 200), 3 / 64  # the frame's class; share of the side
REFERENCES = 64  # training images for expected gradients
RANDOMISED = 24  # number of explained cells that the untrained network explains too
FRAMED_CELLS = 2  # of each cluster of the framed class
RANDOM, EDGES = "random map", "Sobel edges"


def settings(**changed) -> MapSettings:
    """Settings with fewer steps and masks than the defaults of the command."""
    common = {"baseline": "mean", "steps": 16, "samples": 32, "masks": 300, "window": 12}
    return MapSettings(**common | changed)


# Label to method and settings; some methods in two.
VARIANTS = {
    "saliency": ("saliency", settings()),
    "input x gradient": ("input_x_gradient", settings()),
    "SmoothGrad": ("smooth_grad", settings()),
    "integrated gradients, white": ("integrated_gradients", settings(baseline="white")),
    "integrated gradients, black": ("integrated_gradients", settings(baseline="black")),
    "expected gradients": ("expected_gradients", settings()),
    "blur-integrated gradients": ("blur_integrated_gradients", settings()),
    "guided backpropagation": ("guided_backprop", settings()),
    "Grad-CAM, 2 x 2": ("grad_cam", settings(feature_map="stage4")),
    "Grad-CAM, 4 x 4": ("grad_cam", settings(feature_map="stage3")),
    "Grad-CAM++, 4 x 4": ("grad_cam_plus_plus", settings(feature_map="stage3")),
    "LayerCAM, 8 x 8": ("layer_cam", settings(feature_map="stage2")),
    "guided Grad-CAM, 4 x 4": ("guided_grad_cam", settings(feature_map="stage3")),
    "occlusion, 12 pixels": ("occlusion", settings()),
    "RISE": ("rise", settings()),
    RANDOM: ("random", settings()),
    EDGES: ("edges", settings()),
}


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="folder of runs and maps")
    parser.add_argument(
        "--clusters",
        type=int,
        default=12,
        help="clusters of each class; one cell of each is explained",
    )
    args = parser.parse_args()
    cache_compilations()
    study = Study(args.out, args.clusters)
    for make in (study.filled, study.located, study.sanity, study.background, study.frame):
        print(f"\n{make()}", flush=True)


class Study:
    """The three networks, their maps, and the tables of measures."""

    def __init__(self, out: Path, clusters: int):
        self.out, self.clusters = out, clusters
        self.runs: dict[str, Run] = {name: train(name, out) for name in EPOCHS}
        self.data: dict[str, ExperimentData] = {
            name: run.open_data() for name, run in self.runs.items()
        }

    def filled(self) -> str:
        """Fall of the probability of the class when a part is filled; uses no map."""
        dataset, test = self.data[FREE].dataset, self.data[FREE].indices("test")
        names, falls = fill_parts(self.runs[FREE], dataset, test, Run.predict)
        found = {
            region: measures.summarise_by_class(
                fall, groups(dataset, test), dataset.labels[test], dataset.class_names
            )
            for region, fall in zip(names, falls.T, strict=True)
        }
        rows = (
            [region, *(estimate(by_class.get(label)) for label in dataset.class_names)]
            for region, by_class in found.items()
        )
        return table(["part filled: fall of the probability", *dataset.class_names], rows)

    def located(self) -> str:
        """Location of the maps of the free network, and their agreement with filling."""
        dataset, rows = self.data[FREE].dataset, self.chosen(FREE, [FREE])
        regions = measures.cell_regions(dataset, rows, size=SIZE)
        area = measures.area_share(regions.masks)
        _, falls = fill_parts(self.runs[FREE], dataset, rows, Run.logits)
        wanted = [("halo", "Koilocytotic", "mass"), ("halo", "Koilocytotic", "rank")] + [
            ("nucleus", label, "mass")
            for label in ("Koilocytotic", "Dyskeratotic", "Parabasal", "Superficial-Intermediate")
        ]
        lines = []
        for name, maps in self.maps("parts", self.runs[FREE], FREE, rows).items():
            reduction = METHODS[VARIANTS[name][0]].reduction
            shares = {
                "mass": measures.relevance_mass(maps, regions.masks, reduction=reduction),
                "rank": measures.relevance_rank(maps, regions.masks, reduction=reduction),
            }
            cells = []
            for region, label, kind in wanted:
                column = regions.names.index(region)
                by_class = measures.summarise_by_class(
                    shares[kind][:, column], groups(dataset, rows), dataset.labels[rows],
                    dataset.class_names, chance=area[:, column],
                )  # fmt: skip
                cells.append(
                    estimate(by_class[label]["times_chance"] if label in by_class else None)
                )
            # Divided by the area, because a larger part has more of both.
            alike = [
                spearmanr(*pair, nan_policy="omit")[0]
                for pair in zip(shares["mass"] / area, falls / area, strict=True)
            ]
            cells.append(
                estimate(measures.summarise(np.asarray(alike, np.float64), groups(dataset, rows)))
            )
            lines.append([name, *cells])
        heads = [
            f"{region}: {kind}" if region == "halo" else f"{region}, {label}: {kind}"
            for region, label, kind in wanted
        ]
        return table(
            ["method (share of relevance / share of area)", *heads, "agrees with filling"], lines
        )

    def sanity(self) -> str:
        """Similarity of the maps to those of random weights, and to edges."""
        rows = self.chosen(FREE, [FREE])
        few = np.linspace(0, len(rows) - 1, min(RANDOMISED, len(rows))).astype(int)
        run, names = self.runs[FREE], groups(self.data[FREE].dataset, rows[few])
        trained = self.maps("parts", run, FREE, rows)
        untrained = run.with_variables(fresh_variables(run, 1))
        lines = []
        for name, maps in self.maps("fresh", untrained, FREE, rows[few]).items():
            method = METHODS[VARIANTS[name][0]]
            if method.reference:
                continue
            own = trained[name][few]
            alike = measures.similarity(own, maps, reduction=method.reduction)
            reduced = measures.reduce_channels(own, method.reduction)
            edges = measures.similarity(reduced, trained[EDGES][few]).spearman_absolute
            values = (alike.spearman_signed, alike.spearman_absolute, alike.ssim_absolute, edges)
            lines.append([name, *(estimate(measures.summarise(v, names)) for v in values)])
        heads = [
            "rank correlation",
            "rank correlation of absolute values",
            "SSIM",
            "trained model: rank correlation with the edges",
        ]
        return table(["method", *heads], lines)

    def background(self) -> str:
        """Mass on the background: the confounded and the free network on the same images."""
        networks, dataset = (FREE, CONFOUNDED), self.data[CONFOUNDED].dataset
        rows = self.chosen(CONFOUNDED, networks)
        regions = measures.cell_regions(dataset, rows, size=SIZE)
        masks = regions.masks[:, [regions.names.index("background")]]
        return self.compared("colour", networks, CONFOUNDED, rows, masks[:, 0], "background")

    def frame(self) -> str:
        """Mass on the frame: the framed network and a network trained without frames."""
        dataset, test = self.data[FRAMED].dataset, self.data[FRAMED].indices("test")
        label = dataset.class_names.index(f"im_{MARKED}")
        rows = first_of_each(dataset, test[dataset.labels[test] == label], FRAMED_CELLS)
        masks = [
            resize_labels(frame_mask(dataset.decoded_source[int(i)]["image"].shape), SIZE) > 0
            for i in rows
        ]
        return self.compared("frame", (FREE, FRAMED), FRAMED, rows, np.stack(masks), "frame")

    def compared(
        self, folder: str, networks: tuple[str, str], images: str, rows: np.ndarray,
        masks: np.ndarray, region: str,
    ) -> str:  # fmt: skip
        """Mass and rank inside masks for the maps of two networks, and paired differences."""
        area, names = measures.area_share(masks), groups(self.data[images].dataset, rows)
        maps = [self.maps(f"{folder}_{n}", self.runs[n], images, rows, n) for n in networks]
        lines = []
        for label, (name, _) in VARIANTS.items():
            reduction, cells, moved = METHODS[name].reduction, [], []
            for measure in (measures.relevance_mass, measures.relevance_rank):
                before, after = (measure(m[label], masks, reduction=reduction) for m in maps)
                moved.append(estimate(measures.summarise(after - before, names)))
                if not cells:
                    cells = [
                        estimate(measures.summarise(each, names, chance=area)["times_chance"])
                        for each in (before, after)
                    ]
            lines.append([label, *cells, *moved])
        heads = [f"method (mass on the {region} / its area)", *networks]
        return table([*heads, "difference of mass", "difference of rank"], lines)

    def chosen(self, images: str, networks: Iterable[str]) -> np.ndarray:
        """Test cells that all networks classify correctly: one of each of the first clusters."""
        dataset, test = self.data[images].dataset, self.data[images].indices("test")
        pixels, labels = squares(dataset, test), dataset.labels[test]
        right = [self.runs[name].predict(pixels).argmax(-1) == labels for name in networks]
        firsts = first_of_each(dataset, test[np.all(right, axis=0)], 1)
        own = [firsts[dataset.labels[firsts] == k] for k in range(len(dataset.class_names))]
        return np.concatenate([each[: self.clusters] for each in own])

    def maps(
        self, folder: str, run: Run, images: str, rows: np.ndarray, own: str = FREE
    ) -> dict[str, np.ndarray]:
        """Maps of every variant, read from `out / "maps" / folder` if present.

        Args:
          folder: name of the folder.
          run: the network.
          images: name of the run whose data set is explained.
          rows: positions in the data set.
          own: name of the run whose training images are baselines of expected gradients.
        """
        train = self.data[own].indices("train")
        few = train[np.linspace(0, len(train) - 1, REFERENCES).astype(int)]
        starts = several(run.preprocess(squares(self.data[own].dataset, few)))
        dataset = self.data[images].dataset
        pixels, found = np.asarray(run.preprocess(squares(dataset, rows))), {}
        for label, (name, told) in tqdm(VARIANTS.items(), folder, leave=False):
            path = self.out / "maps" / folder / f"{label}.npy"
            if not path.is_file():
                maps = Explainer(run, told, starts).explain(name, pixels, dataset.labels[rows])
                with atomic.replacing(path) as temporary, open(temporary, "wb") as file:
                    np.save(file, np.asarray(maps, np.float32))
            found[label] = np.load(path)
            if len(found[label]) != len(rows):
                raise SystemExit(f"error: {path} is of other images; give another --out.")
        return found


def train(name: str, out: Path) -> Run:
    """A run in `out / name`; trained or continued if it is not finished."""
    config = efficientnet_lite0.get_config(PHANTOM)
    config.image_size, config.num_epochs = SIZE, EPOCHS[name]
    config.data.data_dir = str(out / "data")
    if name == FRAMED:
        own = efficientnet_lite0.get_config("image_folder/default")
        config.data.update(
            {"dataset": "image_folder/default", "manual_dir": str(write_framed(out))}
        )
        config.data.settings = own.data.settings
        config.data.settings.group_pattern = "folder_and_number"
    else:
        config.data.settings.confounding = float(name == CONFOUNDED)
    if not (out / name / "evaluate" / "test.json").is_file():
        train_and_evaluate(config, out / name)
    return load_run(out / name)


def write_framed(out: Path) -> Path:
    """The unconfounded phantom as a folder of images, with a frame around those of one class."""
    folder = out / "framed_images"
    if folder.is_dir():
        return folder
    dataset = catalog.load(PHANTOM, data_dir=out / "data", settings={"confounding": 0.0})
    with atomic.new_folder(folder) as temporary:
        rows = zip(dataset.filenames, dataset.labels, dataset.decoded_source, strict=True)
        for filename, label, example in tqdm(rows, "framing", len(dataset), leave=False):
            image = example["image"]
            if dataset.class_names[label] == MARKED:
                image = np.where(
                    frame_mask(image.shape)[..., None], np.asarray(COLOUR, np.uint8), image
                )
            path = temporary / filename
            path.parent.mkdir(exist_ok=True, parents=True)
            Image.fromarray(image).save(path)
    return folder


def frame_mask(shape: tuple[int, ...]) -> np.ndarray:
    """Mask of the frame in an image of this height and width, uint8 [H, W]."""
    inside = np.ones(shape[:2], np.uint8)
    high, wide = (max(2, round(WIDTH * side)) for side in shape[:2])
    inside[high:-high, wide:-wide] = 0
    return inside


def squares(dataset: catalog.Dataset, rows: np.ndarray) -> np.ndarray:
    """Images at the networks' input size, uint8 [N, S, S, 3]."""
    images = (dataset.decoded_source[int(i)]["image"] for i in rows)
    return np.stack([resize_square(image, SIZE) for image in images])


def groups(dataset: catalog.Dataset, rows: np.ndarray) -> np.ndarray:
    """Clusters of the examples."""
    return np.asarray(dataset.groups)[rows]


def first_of_each(dataset: catalog.Dataset, rows: np.ndarray, count: int) -> np.ndarray:
    """The first `count` of each cluster by file name."""
    kept: dict[str, list[int]] = {}
    for i in sorted(rows.tolist(), key=lambda i: dataset.filenames[i]):
        kept.setdefault(dataset.groups[i], []).append(i)
    return np.asarray([i for members in kept.values() for i in members[:count]])


def fill_parts(
    run: Run,
    dataset: catalog.Dataset,
    rows: np.ndarray,
    score: Callable[[Run, np.ndarray], np.ndarray],
) -> tuple[tuple[str, ...], np.ndarray]:
    """Fall of the score of the class when a part is filled with the colour of its surroundings.

    Nucleus and halo are filled with the median colour of the cytoplasm; cytoplasm, other cells and
    background with the median colour of the background.

    Returns:
      K names of regions; float64 [N, K], NaN if the image has no such region or is misclassified.
    """
    pixels, labels = squares(dataset, rows), dataset.labels[rows]
    regions = measures.cell_regions(dataset, rows, size=SIZE)
    masks = dict(zip(regions.names, regions.masks.swapaxes(0, 1), strict=True))
    right, each = run.predict(pixels).argmax(-1) == labels, np.arange(len(rows))
    before, found = score(run, pixels)[each, labels], []
    for region, inside in masks.items():
        around = masks["cytoplasm" if region in ("nucleus", "halo") else "background"]
        changed = pixels.copy()
        for image, part, source in zip(changed, inside, around, strict=True):
            if source.any():
                image[part] = np.median(image[source], axis=0)
        fall = before - score(run, changed)[each, labels]
        found.append(np.where(right & inside.any((1, 2)), fall, np.nan))
    return regions.names, np.stack(found, axis=1)


def table(heads: list[str], rows: Iterable[list[str]]) -> str:
    """Rows of Markdown."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def estimate(summary: Mapping | None) -> str:
    """A mean with its interval; empty if undefined."""
    if summary is None or summary["estimate"] is None:
        return ""
    interval = summary["interval"]
    spread = f" ({interval[0]:.2f} to {interval[1]:.2f})" if interval else ""
    return f"{summary['estimate']:.2f}{spread}"


if __name__ == "__main__":
    main()
