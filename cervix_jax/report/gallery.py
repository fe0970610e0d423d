"""Correctly and wrongly classified images, with explanation maps and outlines as overlays."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import ml_collections
import numpy as np

from cervix_jax.data.catalog import Dataset
from cervix_jax.data.resolution import network_scale
from cervix_jax.explain import registry
from cervix_jax.explain.cam import FeatureMap, find_fine
from cervix_jax.explain.measures import cell_regions
from cervix_jax.explain.measures.maps import reduce_channels
from cervix_jax.explain.pictures import colour, outline, scale_of
from cervix_jax.explanations.selection import choose
from cervix_jax.figures.html import data_uri
from cervix_jax.runs.run import Run
from cervix_jax.statistics.table import PredictionTable

METHODS_SHOWN = ("saliency", "integrated_gradients", "grad_cam")


@dataclasses.dataclass(frozen=True)
class Case:
    """One image of the gallery; the pictures are data URIs.

    Attributes:
      filename: file name of the image.
      label: its true class.
      predicted: the most probable class.
      probability: probability of the predicted class, in [0, 1].
      label_probability: probability of the true class, in [0, 1].
      image: the image at the size of the network's input.
      overlays: label of a method to its map, transparent where the map is zero.
      outlines: outlines of nucleus and cytoplasm; "" for an image without annotation.
    """

    filename: str
    label: str
    predicted: str
    probability: float
    label_probability: float
    image: str
    overlays: dict[str, str]
    outlines: str

    @property
    def right(self) -> bool:
        """Whether the prediction is the label."""
        return self.label == self.predicted


@dataclasses.dataclass(frozen=True)
class Gallery:
    """Cases and the meaning of their colours.

    Attributes:
      cases: errors first, by falling probability, then correct cases.
      scales: label of a method to the absolute value of the strongest colour.
      descriptions: label of a method to its description and the meaning of its colours.
    """

    cases: list[Case]
    scales: dict[str, float]
    descriptions: dict[str, str]

    @property
    def has_outlines(self) -> bool:
        """Whether any case has outlines."""
        return any(case.outlines for case in self.cases)


def choose_cases(table: PredictionTable, most: int) -> np.ndarray:
    """Rows of up to `most` cases: errors by falling probability, then correct ones by class."""
    confidence = table.probabilities.max(1)
    rows = choose(table.labels, table.correct, most, confidence=confidence)
    wrong = rows[~table.correct[rows]]
    surest_first = wrong[np.argsort(-confidence[wrong], kind="stable")]
    return np.concatenate([surest_first, rows[table.correct[rows]]])


def make_gallery(
    run: Run,
    table: PredictionTable,
    rows: np.ndarray,
    pixels: np.ndarray,
    outlines: Sequence[str],
    *,
    progress: str = "",
) -> Gallery:
    """Explain the predicted class of chosen cases.

    Class activation maps are omitted if the network has no feature map of at least 7 x 7.

    Args:
      run: the trained run.
      table: predictions.
      rows: rows of the cases in the table, int [n], see `choose_cases`.
      pixels: their images at the network's input size, uint8 [n, S, S, 3].
      outlines: data URIs, see `outlines_of`.
      progress: label of the progress bars; "" shows none.
    """
    images = np.asarray(run.preprocess(pixels))
    maps, descriptions = {}, {}
    grid = find_fine(run.features_fn, images.shape[1:])
    for name in METHODS_SHOWN:
        method = registry.METHODS[name]
        if method.features and grid is None:
            continue
        settings: dict[str, Any] = {"feature_map": grid.name} if method.features and grid else {}
        found = registry.explain(
            name, run.features_fn, images, table.predicted[rows], input_range=run.input_range,
            progress=progress and f"{progress}: {method.label}", **settings,
        )  # fmt: skip
        maps[method.label] = reduce_channels(found, method.reduction)
        descriptions[method.label] = describe(method, grid)
    scales = {label: scale_of(found) for label, found in maps.items()}
    cases = []
    for number, row in enumerate(rows):
        cases.append(
            Case(
                table.filenames[row],
                table.class_names[table.labels[row]],
                table.class_names[table.predicted[row]],
                float(table.probabilities[row].max()),
                float(table.probabilities[row, table.labels[row]]),
                data_uri(pixels[number], "JPEG"),
                {
                    label: data_uri(colour(found[number], scales[label]))
                    for label, found in maps.items()
                },
                outlines[number],
            )
        )
    return Gallery(cases, scales, descriptions)


def describe(method: registry.Method, grid: FeatureMap | None = None) -> str:
    """A method in words: what it computes, its settings, and the meaning of its colours.

    Args:
      method: the method.
      grid: the feature map from which class activation maps are computed.
    """
    shown: dict[str, Any] = {"baseline": "white"} if method.baseline == "colour" else {}
    shown |= {key: value for key, value in method.settings.items() if key == "steps"}
    if method.features and grid:
        shown["feature_map"] = grid
    settings = ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in shown.items())
    if method.reduction == "sum_absolute":
        colours = "absolute values, summed over the colour channels"
    else:
        colours = "red raises the score of the predicted class, blue lowers it"
    return "; ".join(filter(None, [method.description, settings, colours]))


def outlines_of(
    dataset: Dataset, indices: Sequence[int] | np.ndarray, config: ml_collections.ConfigDict
) -> list[str]:
    """Outlines of examples as data URIs, in the square input that a run of `config` makes of them.

    "" stands for an example without annotation; all are "" in a data set without annotations.
    """
    if "nucleus_mask" not in dataset.features:
        return [""] * len(indices)
    resize, size = config.data.resize, config.image_size
    scale = network_scale(config.data, dataset.microns_per_pixel, dataset.name)
    regions = cell_regions(dataset, indices, size=size, resize=resize, scale=scale)
    return [
        data_uri(outline(dict(zip(regions.names, masks, strict=True)))) if marked else ""
        for masks, marked in zip(regions.masks, regions.marked, strict=True)
    ]
