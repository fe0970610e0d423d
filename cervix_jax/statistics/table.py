"""Predictions as a table."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from cervix_jax.data import classes
from cervix_jax.errors import InputError

UNKNOWN = -1


@dataclasses.dataclass(frozen=True)
class PredictionTable:
    """Predictions on N images.

    Attributes:
      filenames: N unique names.
      groups: str [N], name of the slide, cluster or field that the image belongs to.
      labels: int [N]; -1 if unknown.
      probabilities: float64 [N, C]; rows sum to 1.
      class_names: C names.
      logits: float [N, C], if known; their softmax is `probabilities`.
    """

    filenames: tuple[str, ...]
    groups: np.ndarray
    labels: np.ndarray
    probabilities: np.ndarray
    class_names: tuple[str, ...]
    logits: np.ndarray | None = None

    @property
    def predicted(self) -> np.ndarray:
        """The most probable class of each image, int [N]."""
        return self.probabilities.argmax(-1)

    @property
    def correct(self) -> np.ndarray:
        """Whether the predicted class is the label, bool [N]."""
        return self.predicted == self.labels

    def take(self, rows: np.ndarray) -> "PredictionTable":
        """Some of the images, by their positions."""
        return dataclasses.replace(
            self,
            filenames=tuple(self.filenames[row] for row in rows),
            groups=self.groups[rows],
            labels=self.labels[rows],
            probabilities=self.probabilities[rows],
            logits=None if self.logits is None else self.logits[rows],
        )

    def with_probabilities(self, probabilities: np.ndarray) -> "PredictionTable":
        """The same images with other probabilities."""
        return dataclasses.replace(self, probabilities=probabilities, logits=None)

    def in_order_of(self, class_names: Sequence[str]) -> "PredictionTable":
        """The same predictions with the classes in another order, which must name all C."""
        columns = np.asarray([self.class_names.index(name) for name in class_names])
        labels = np.where(self.labels == UNKNOWN, UNKNOWN, np.argsort(columns)[self.labels])
        return dataclasses.replace(
            self,
            labels=labels,
            probabilities=self.probabilities[:, columns],
            class_names=tuple(class_names),
            logits=None if self.logits is None else self.logits[:, columns],
        )

    def coarsen(self, level: int) -> "PredictionTable":
        """Predictions of joined classes (summed probabilities), see `cervix_jax.data.classes`."""
        return self._joined(*classes.coarsen(self.class_names, level))

    def screened(self) -> "PredictionTable | None":
        """Predictions of normal and abnormal; None if no class is known to be negative."""
        abnormal = classes.screening(self.class_names)
        names = classes.NORMAL_ABNORMAL.names
        return None if abnormal is None else self._joined(names, abnormal.astype(np.int64))

    def _joined(self, names: tuple[str, ...], index: np.ndarray) -> "PredictionTable":
        joined = self.probabilities @ np.eye(len(names))[index]
        labels = np.where(self.labels == UNKNOWN, UNKNOWN, index[self.labels])
        return PredictionTable(self.filenames, self.groups, labels, joined, names)


def align(first: PredictionTable, second: PredictionTable, names: Sequence[str]) -> PredictionTable:
    """The second table with rows and columns in the order of the first.

    Args:
      first: sets the order.
      second: predictions of the same images.
      names: names of the two for error messages.

    Raises:
      InputError: the tables differ in classes, images or labels.
    """
    a, b = names
    if sorted(first.class_names) != sorted(second.class_names):
        raise InputError(
            f"{a} has the classes {', '.join(first.class_names)} and {b} has "
            f"{', '.join(second.class_names)}; give predictions of the same classes."
        )
    place = {filename: row for row, filename in enumerate(second.filenames)}
    alone = [name for name in first.filenames if name not in place]
    if alone or len(first.filenames) != len(second.filenames):
        known = set(first.filenames)
        example = alone[0] if alone else next(n for n in second.filenames if n not in known)
        raise InputError(
            f"{a} has {len(first.filenames)} images and {b} {len(second.filenames)}, and the "
            f"images differ ({example} is only in {a if alone else b}); compare runs that were "
            "tested on the same images: one protocol, fold and data set."
        )
    second = second.take(np.asarray([place[name] for name in first.filenames]))
    second = second.in_order_of(first.class_names)
    differing = np.flatnonzero(second.labels != first.labels)
    if len(differing):
        raise InputError(
            f"the labels of {len(differing)} images differ between {a} and {b} "
            f"({first.filenames[differing[0]]} first); correct one of the two."
        )
    return second


def concatenate(tables: Sequence[PredictionTable]) -> PredictionTable:
    """Concatenate tables, without their logits, as these are from different models.

    Raises:
      InputError: the tables differ in classes, or share an image.
    """
    first = tables[0]
    filenames = tuple(name for table in tables for name in table.filenames)
    if len({table.class_names for table in tables}) > 1 or len(set(filenames)) < len(filenames):
        raise InputError(
            f"the predictions of {len(tables)} folds are not of one cross-validation: their "
            "classes differ, or folds share images; give folds of one cross-validation."
        )
    return PredictionTable(
        filenames,
        np.concatenate([table.groups for table in tables]),
        np.concatenate([table.labels for table in tables]),
        np.concatenate([table.probabilities for table in tables]),
        first.class_names,
    )
