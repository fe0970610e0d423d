"""Predictions of images, one row each."""

import dataclasses
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
from tqdm import tqdm

from cervix_jax.data.decode import resize_square
from cervix_jax.errors import InputError
from cervix_jax.evaluate.predictions_file import PREFIX
from cervix_jax.files.images import UnreadableImage, read_rgb
from cervix_jax.files.threads import map_in_order
from cervix_jax.predict.calibration import Calibration
from cervix_jax.predict.names import shown
from cervix_jax.predict.network import Network, Scores
from cervix_jax.predict.output import Output, Row
from cervix_jax.predict.overlays import Overlays
from cervix_jax.statistics.outliers import energy
from cervix_jax.statistics.table import UNKNOWN, PredictionTable
from cervix_jax.training.preemption import StopRequest

# Images that are named on stderr as they are left out; the file names them all.
_NAMED = 20


@dataclasses.dataclass(frozen=True)
class ImageSettings:
    """What is written of each image.

    Attributes:
      group_of: maps a path to the name of its group, or None for no such column.
      calibration: where conformal sets come from.
      overlays: draws explanations, or None.
      strict: fail at the first image that cannot be read.
      max_pixels: see `files.images.read_image`.
    """

    group_of: Callable[[str], str] | None
    calibration: Calibration
    overlays: Overlays | None
    strict: bool
    max_pixels: int

    def columns(self, class_names: Sequence[str]) -> list[str]:
        """Columns of the table."""
        return [
            "path",
            *(["group"] if self.group_of else []),
            "class",
            *(f"{PREFIX}{name}" for name in class_names),
            *([] if self.calibration.threshold is None else ["conformal_set"]),
            "confidence",
            "energy",
            *(["overlay"] if self.overlays else []),
        ]


def predict_images(
    network: Network,
    paths: Iterator[str],
    output: Output,
    settings: ImageSettings,
    stop: StopRequest,
    total: int | None = None,
) -> None:
    """Write a row for every image that can be read, and a reason for every other.

    Args:
      network: what predicts.
      paths: the images that are left to do.
      output: where rows go, after every batch.
      settings: what they hold.
      stop: asked after every batch.
      total: how many images there are with those done, for the bar.

    Raises:
      InputError: an image cannot be read and `settings.strict` is set.
      Preempted: it was asked to stop; what is written so far is kept.
    """
    squares = read_squares(paths, network.image_size, network.resize, settings.max_pixels)
    with tqdm(total=total, initial=output.images, desc="predicting", unit="image") as bar:
        for batch in batches(squares, network.batch_size):
            names, images, skipped = batch
            for path, reason in skipped:
                report(path, reason, output.skipped, settings.strict, bar)
            rows: list[Row] = []
            if images:
                whole = np.stack(list(images.values()))
                rows = _rows(network, list(images), whole, settings)
            output.add(names, rows, skipped)
            bar.update(len(names))
            stop.check("predicting")


def read_squares(
    paths: Iterable[str], size: int, resize: str, max_pixels: int
) -> Iterator[tuple[str, np.ndarray | UnreadableImage]]:
    """The images as the network takes them, in order, decoded a few ahead in threads.

    Args:
      paths: files; taken from their iterator as they are needed.
      size: side of the result in pixels.
      resize: see `cervix_jax.data.decode.resize_square`.
      max_pixels: see `cervix_jax.files.images.read_image`.

    Yields:
      The path with uint8 [size, size, 3], or with what is wrong with it.
    """

    def load(path: str) -> tuple[str, np.ndarray | UnreadableImage]:
        try:
            return path, resize_square(read_rgb(path, max_pixels=max_pixels), size, resize)
        except UnreadableImage as error:
            return path, error

    return map_in_order(load, paths)


Batch = tuple[list[str], dict[str, np.ndarray], list[tuple[str, str]]]


def batches(
    squares: Iterator[tuple[str, np.ndarray | UnreadableImage]], batch_size: int
) -> Iterator[Batch]:
    """Groups images for the network.

    Yields:
      All paths in order; those that were read, at most `batch_size`, with their pixels; path and
      reason of those that were not. A batch ends where it is full, or 16 batches were looked at.
    """
    names: list[str] = []
    images: dict[str, np.ndarray] = {}
    skipped: list[tuple[str, str]] = []
    for path, found in squares:
        names.append(path)
        if isinstance(found, UnreadableImage):
            skipped.append((path, found.reason))
        else:
            images[path] = found
        if len(images) == batch_size or len(names) == 16 * batch_size:
            yield names, images, skipped
            names, images, skipped = [], {}, []
    if names:
        yield names, images, skipped


def report(path: str, reason: str, before: int, strict: bool, bar: tqdm) -> None:
    """Say on stderr that an image is left out.

    Args:
      path: of the image.
      reason: why.
      before: how many were left out up to the last batch.
      strict: fail instead.
      bar: the progress bar, which must not be torn.

    Raises:
      InputError: with `strict`.
    """
    if strict:
        raise InputError(f"{shown(path)}: {reason}; mend or remove it, or leave out --strict.")
    if before < _NAMED:
        bar.write(f"left out: {shown(path)}: {reason}", file=sys.stderr)


def _rows(
    network: Network, paths: list[str], images: np.ndarray, settings: ImageSettings
) -> list[Row]:
    scores: Scores = network(images)
    names = network.run.class_names
    best = scores.probabilities.argmax(-1)
    table = PredictionTable(
        tuple(paths),
        np.asarray(paths, str),
        np.full(len(paths), UNKNOWN),
        scores.raw,
        names,
        scores.logits,
    )
    energies = energy(table)
    sets = settings.calibration.sets(scores.raw)
    drawn = settings.overlays.write(paths, images, best) if settings.overlays else None
    rows: list[Row] = []
    for number, path in enumerate(paths):
        p = scores.probabilities[number]
        row = {"path": shown(path), "class": names[best[number]]}
        row |= {f"{PREFIX}{name}": float(value) for name, value in zip(names, p, strict=True)}
        row |= {"confidence": float(p.max()), "energy": float(energies[number])}
        if settings.group_of:
            row["group"] = settings.group_of(path)
        if sets is not None:
            row["conformal_set"] = [names[k] for k in np.flatnonzero(sets[number])]
        if drawn:
            row["overlay"] = drawn[number]
        rows.append(row)
    return rows
