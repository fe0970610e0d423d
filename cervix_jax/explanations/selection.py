"""Selection of the images to explain, and of the class explained for each."""

import dataclasses
import hashlib
from collections.abc import Sequence
from typing import Literal

import numpy as np

from cervix_jax.data.catalog import Dataset
from cervix_jax.data.pipeline import Pipeline
from cervix_jax.errors import InputError
from cervix_jax.progress import Bar
from cervix_jax.runs.inference import probabilities_of
from cervix_jax.runs.run import Run

Target = Literal["predicted", "label"]


@dataclasses.dataclass(frozen=True)
class Selection:
    """N images of a data set; the first images of the order are stratified like the whole.

    Attributes:
      dataset: data set of the images.
      indices: int [N], positions of the images in the data set.
      pixels: uint8 [N, S, S, 3].
      images: float32 [N, S, S, 3], preprocessed for the network.
      probabilities: float32 [N, C].
      target: "predicted" or "label".
      targets: int [N], the class to explain.
      right: bool [N], whether the prediction is the label; None if the data set has other classes
        than the network.
    """

    dataset: Dataset
    indices: np.ndarray
    pixels: np.ndarray
    images: np.ndarray
    probabilities: np.ndarray
    target: Target
    targets: np.ndarray
    right: np.ndarray | None

    @property
    def labels(self) -> np.ndarray:
        """Labels of the images, int [N], in the classes of the data set."""
        return self.dataset.labels[self.indices]

    @property
    def groups(self) -> np.ndarray:
        """Groups of the images, str [N]."""
        return np.asarray(self.dataset.groups, str)[self.indices]

    @property
    def filenames(self) -> list[str]:
        """N file names."""
        return [self.dataset.filenames[index] for index in self.indices]

    @property
    def pixels_digest(self) -> str:
        """One digest of the pixels of all N images; it detects other images of the same names."""
        digests = [self.dataset.digests[index] for index in self.indices]
        return hashlib.sha256(" ".join(digests).encode()).hexdigest()

    def take(self, rows: np.ndarray) -> "Selection":
        """A part of the selection, by positions in it."""
        return dataclasses.replace(
            self,
            indices=self.indices[rows],
            pixels=self.pixels[rows],
            images=self.images[rows],
            probabilities=self.probabilities[rows],
            targets=self.targets[rows],
            right=None if self.right is None else self.right[rows],
        )

    def first(self, count: int) -> "Selection":
        """The first `count` images, or all if there are fewer."""
        return self.take(np.arange(min(count, len(self.indices))))


def choose(
    labels: np.ndarray,
    right: np.ndarray | None,
    count: int,
    *,
    seed: int = 0,
    confidence: np.ndarray | None = None,
) -> np.ndarray:
    """Positions of `count` examples, selected in rounds.

    Each round takes one correctly classified example of every class, then one wrongly classified
    example of every class. A stratum without further examples is skipped. Errors are rare, so they
    are over-represented.

    Args:
      labels: int [N].
      right: bool [N], whether the example is correctly classified; None does not stratify by it.
      count: number of examples; if there are fewer, all are taken.
      seed: seed of the random order within a stratum, used without `confidence`.
      confidence: float [N], the probability of the predicted class. With it, errors of a class are
        ordered by falling confidence, and correct examples alternate between the highest and the
        lowest confidence.

    Returns:
      int [at most count].
    """
    outcome = np.ones(len(labels), bool) if right is None else right
    if confidence is None:
        order = np.random.default_rng(seed).permutation(len(labels))
    else:
        order = np.argsort(-confidence, kind="stable")
    strata = []
    for wanted in (True, False):
        for label in np.unique(labels):
            own = order[(labels[order] == label) & (outcome[order] == wanted)].tolist()
            strata.append(own if confidence is None or not wanted else _both_ends(own))
    longest = max(map(len, strata), default=0)
    found = [own[turn] for turn in range(longest) for own in strata if turn < len(own)]
    return np.asarray(found[:count], np.int64)


def _both_ends(ordered: list[int]) -> list[int]:
    """The first, the last, the second, the last but one, and so on."""
    return [ordered[i // 2] if i % 2 == 0 else ordered[-1 - i // 2] for i in range(len(ordered))]


def select(
    run: Run,
    dataset: Dataset,
    pipeline: Pipeline,
    candidates: np.ndarray,
    *,
    count: int,
    target: Target = "predicted",
    seed: int = 0,
    batch_size: int = 32,
    progress: str = "",
) -> Selection:
    """Select images and predict their classes.

    Args:
      run: the run.
      dataset: the run's own data set, or another.
      pipeline: pipeline of that data set, with the run's size and resize rule.
      candidates: int, positions to choose from.
      count: number of images; 0 means all.
      target: "predicted", or "label" if the data set has the network's classes.
      seed: seed of the selection.
      batch_size: images in one batch.
      progress: label of the progress bar.

    Raises:
      InputError: `target` is "label" and the data set has other classes.
    """
    right = None
    if tuple(dataset.class_names) == run.class_names:  # all are predicted to find the errors
        found = _predict(run, pipeline, candidates, batch_size, progress)
        right = found.argmax(-1) == dataset.labels[candidates]
    rows = choose(dataset.labels[candidates], right, count or len(candidates), seed=seed)
    return selection_of(run, dataset, pipeline, candidates[rows], target, batch_size=batch_size)


def selection_of(
    run: Run,
    dataset: Dataset,
    pipeline: Pipeline,
    indices: np.ndarray,
    target: Target = "predicted",
    *,
    batch_size: int = 32,
) -> Selection:
    """A selection of the images at given positions; arguments and errors as for `select`."""
    own = tuple(dataset.class_names) == run.class_names
    if target == "label" and not own:
        raise InputError(
            f"target=label: {dataset.name} has other classes than the run; give target=predicted."
        )
    pixels = pipeline.images(indices)
    probabilities = probabilities_of(run.logits(pixels, batch_size=batch_size))
    predicted, labels = probabilities.argmax(-1), dataset.labels[indices]
    return Selection(
        dataset,
        indices,
        pixels,
        np.asarray(run.preprocess(pixels)),
        probabilities,
        target,
        (labels if target == "label" else predicted).astype(np.int64),
        predicted == labels if own else None,
    )


def _predict(
    run: Run, pipeline: Pipeline, indices: np.ndarray, batch_size: int, progress: str
) -> np.ndarray:
    found = []
    starts: Sequence[int] = range(0, len(indices), batch_size)
    for start in Bar(starts, desc=progress, unit="batch", leave=False, disable=not progress):
        batch = np.resize(indices[start : start + batch_size], batch_size)
        pixels = pipeline.images(batch)
        found.append(run.logits(pixels, batch_size=batch_size)[: len(indices) - start])
    return probabilities_of(np.concatenate(found))
