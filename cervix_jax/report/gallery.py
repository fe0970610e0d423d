"""Right and wrong cases as pictures, with explanations and outlines to lay over them."""

import base64
import dataclasses
import io
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from PIL import Image
from skimage.segmentation import find_boundaries

from cervix_jax import explain
from cervix_jax.data.catalog import Dataset
from cervix_jax.data.experiment import ExperimentData
from cervix_jax.explain.measures import cell_regions
from cervix_jax.runs.run import Run
from cervix_jax.statistics.table import PredictionTable

# A method's strongest colour is at this quantile of its absolute values over the whole gallery.
SCALE_QUANTILE = 0.995
STEPS = 32
POSITIVE, NEGATIVE = (178, 24, 43), (33, 102, 172)  # ends of ColorBrewer's RdBu
OUTLINES = {"nucleus": (255, 230, 0), "cytoplasm": (0, 230, 118)}


@dataclasses.dataclass(frozen=True)
class Case:
    """One image of the gallery; the pictures are data URIs.

    Attributes:
      filename: of the image.
      label: its class.
      predicted: the most probable class.
      probability: of that class, in [0, 1].
      label_probability: of its own class, in [0, 1].
      image: as the network sees it.
      overlays: method to its map, transparent where it is zero.
      outlines: nucleus and cytoplasm; "" where nobody marked them.
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
    """Cases and what their colours mean.

    Attributes:
      cases: the wrong ones first, the surest first.
      scales: method to the absolute value of the strongest colour.
    """

    cases: list[Case]
    scales: dict[str, float]

    @property
    def has_outlines(self) -> bool:
        """Whether any case has outlines."""
        return any(case.outlines for case in self.cases)


def choose(table: PredictionTable, most: int) -> np.ndarray:
    """Rows of up to `most` cases: the surest errors (at most half), and right ones of every class.

    Of the right ones each class gives its surest and its least sure in turn.
    """
    confidence = table.probabilities.max(1)
    wrong = np.flatnonzero(~table.correct)
    wrong = wrong[np.argsort(-confidence[wrong], kind="stable")][: most // 2]
    turns = []
    for label in range(len(table.class_names)):
        own = np.flatnonzero(table.correct & (table.labels == label))
        own = own[np.argsort(-confidence[own], kind="stable")]
        ends = [own[i // 2] if i % 2 == 0 else own[-1 - i // 2] for i in range(len(own))]
        turns.append(ends)
    longest = max(map(len, turns), default=0)
    right = [own[i] for i in range(longest) for own in turns if i < len(own)]
    return np.asarray([*wrong, *right[: most - len(wrong)]], np.int64)


def make_gallery(
    run: Run, data: ExperimentData, table: PredictionTable, *, most: int, progress: str = ""
) -> Gallery:
    """Choose cases and explain the predicted class of each.

    Args:
      run: the trained run.
      data: its data.
      table: its predictions on a split of them.
      most: how many cases.
      progress: what the bars are called; "" shows none.
    """
    rows = choose(table, most)
    place = {name: index for index, name in enumerate(data.dataset.filenames)}
    indices = np.asarray([place[table.filenames[row]] for row in rows], np.int64)
    pixels = np.asarray(data.pipeline.images(indices))
    images = np.asarray(run.preprocess(pixels))
    maps = {
        name: method(run, images, table.predicted[rows], progress and f"{progress}: {name}")
        for name, method in METHODS.items()
    }
    scales = {
        name: float(np.quantile(np.abs(found), SCALE_QUANTILE)) if found.size else 0.0
        for name, found in maps.items()
    }
    config = run.config
    outlines = outlines_of(data.dataset, indices, config.image_size, config.data.resize)
    cases = []
    for number, row in enumerate(rows):
        cases.append(
            Case(
                table.filenames[row],
                table.class_names[table.labels[row]],
                table.class_names[table.predicted[row]],
                float(table.probabilities[row].max()),
                float(table.probabilities[row, table.labels[row]]),
                _uri(pixels[number], "JPEG"),
                {name: _uri(colour(found[number], scales[name])) for name, found in maps.items()},
                outlines[number],
            )
        )
    return Gallery(cases, scales)


def outlines_of(
    dataset: Dataset, indices: Sequence[int] | np.ndarray, size: int, resize: str
) -> list[str]:
    """`outline` of some examples; "" for those, or all of a data set, that nobody marked."""
    if "nucleus_mask" not in dataset.features:
        return [""] * len(indices)
    regions = cell_regions(dataset, indices, size=size, resize=resize)
    return [
        outline(dict(zip(regions.names, masks, strict=True))) if marked else ""
        for masks, marked in zip(regions.masks, regions.marked, strict=True)
    ]


def _saliency(run: Run, images: np.ndarray, targets: np.ndarray, progress: str) -> np.ndarray:
    return np.abs(explain.saliency(run.logits_fn, images, targets, progress=progress)).sum(-1)


def _integrated(run: Run, images: np.ndarray, targets: np.ndarray, progress: str) -> np.ndarray:
    white = explain.baselines.white(run.input_range)  # slides are bright where nothing is
    found = explain.integrated_gradients(
        run.logits_fn, images, targets, baselines=white, steps=STEPS, progress=progress
    )
    return found.sum(-1)


def _grad_cam(run: Run, images: np.ndarray, targets: np.ndarray, progress: str) -> np.ndarray:
    return explain.grad_cam(
        run.features_fn, images, targets, feature_map="stage4", progress=progress
    )


Method = Callable[[Run, np.ndarray, np.ndarray, str], np.ndarray]
METHODS: Mapping[str, Method] = {
    "saliency": _saliency,
    "integrated gradients": _integrated,
    "Grad-CAM": _grad_cam,
}
DESCRIPTIONS = {
    "saliency": "absolute gradient of the logit of the predicted class, summed over the channels",
    "integrated gradients": f"from a white image, {STEPS} steps, summed over the channels; red "
    "speaks for the predicted class, blue against it",
    "Grad-CAM": "at the last stage; red speaks for the predicted class, blue against it",
}


def colour(values: np.ndarray, scale: float) -> np.ndarray:
    """A map as colour over nothing: red above zero, blue below, opaque at `scale` and beyond.

    Args:
      values: float [S, S], signed.
      scale: positive, or zero for a map that is zero throughout.

    Returns:
      uint8 [S, S, 4], RGBA.
    """
    found = np.zeros((*values.shape, 4), np.uint8)
    found[..., :3] = np.where(values[..., None] > 0, POSITIVE, NEGATIVE)
    if scale > 0:
        found[..., 3] = np.rint(255 * np.minimum(np.abs(values) / scale, 1))
    return found


def outline(masks: Mapping[str, np.ndarray]) -> str:
    """Outlines of nucleus and cell, as a data URI.

    Args:
      masks: region to bool [S, S]; the nucleus and the cytoplasm are drawn.
    """
    size = next(iter(masks.values())).shape
    found = np.zeros((*size, 4), np.uint8)
    nucleus = masks.get("nucleus", np.zeros(size, bool))
    cell = nucleus | masks.get("cytoplasm", np.zeros(size, bool))
    for name, mask in (("cytoplasm", cell), ("nucleus", nucleus)):
        found[find_boundaries(mask, mode="inner")] = (*OUTLINES[name], 255)
    return _uri(found)


def _uri(pixels: np.ndarray, kind: str = "PNG") -> str:
    buffer = io.BytesIO()
    options = {"quality": 92, "subsampling": 0} if kind == "JPEG" else {"optimize": True}
    Image.fromarray(pixels).save(buffer, kind, **options)
    encoded = base64.b64encode(buffer.getvalue()).decode("ascii")
    return f"data:image/{kind.lower()};base64,{encoded}"
