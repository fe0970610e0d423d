"""Phantom cells as the networks see them, and changed where it is known what that changes."""

import ground_truth_runs as runs
import numpy as np

from cervix_jax.data.catalog import Dataset
from cervix_jax.data.decode import resize_square
from cervix_jax.explain import measures
from cervix_jax.explain.function import Output, exact_scores
from cervix_jax.runs.run import Run


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


def falls(run: Run, dataset: Dataset, rows: np.ndarray, output: Output) -> np.ndarray:
    """How far the score of the class falls when a part takes the colour of what surrounds it.

    Nucleus and halo become cytoplasm, cytoplasm and other cells become background, the background
    becomes even; each takes the median colour.

    Returns:
      float64 [N, K], by region; NaN where the image has none, or the network gets it wrong anyway.
    """
    pixels, labels = squares(dataset, rows), dataset.labels[rows]
    regions = measures.cell_regions(dataset, rows, size=runs.IMAGE_SIZE)
    right = run.predict(pixels).argmax(-1) == labels

    def score_of(images: np.ndarray) -> np.ndarray:
        return exact_scores(run.logits(images)[:, None], labels, output)[:, 0]

    before, found = score_of(pixels), []
    masks = dict(zip(regions.names, regions.masks.swapaxes(0, 1), strict=True))
    for region, inside in masks.items():
        around = masks["cytoplasm" if region in ("nucleus", "halo") else "background"]
        changed = pixels.copy()
        for image, part, source in zip(changed, inside, around, strict=True):
            if source.any():
                image[part] = np.median(image[source], axis=0)
        found.append(np.where(right & inside.any((1, 2)), before - score_of(changed), np.nan))
    return np.stack(found, axis=1)
