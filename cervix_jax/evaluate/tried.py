"""Predictions of a run on labelled images from elsewhere, computed here or read from a table."""

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path

import jax
import numpy as np

from cervix_jax import distributed
from cervix_jax.data.class_map import ClassMap, match_classes
from cervix_jax.data.decode import resize_square
from cervix_jax.data.fingerprints import Fingerprints
from cervix_jax.data.resolution import network_scale
from cervix_jax.errors import InputError
from cervix_jax.evaluate.labelled_images import LabelledImages
from cervix_jax.evaluate.labels import COLUMNS, join_labels, place_of, read_labels
from cervix_jax.evaluate.predictions_file import read_table
from cervix_jax.files import images, tables
from cervix_jax.files.threads import map_in_order
from cervix_jax.progress import Bar
from cervix_jax.runs.inference import make_forward, over_symmetries, probabilities_of
from cervix_jax.runs.run import Run
from cervix_jax.statistics.table import PredictionTable

PREDICTIONS = "predictions"  # kind of a source that already holds predictions


@dataclasses.dataclass(frozen=True)
class Tried:
    """Labelled predictions of a run, and the fingerprints of their images.

    Attributes:
      title: displayed name of the images.
      source: see `labelled_images.LabelledImages`.
      kind: see there; or "predictions".
      table: predictions and labels in the run's classes.
      class_names: class names in the data.
      prints: fingerprints in the order of the table; None if the images are not available.
      notes: remarks for the reader, one line each.
      skipped: name of each image that cannot be read, and the reason.
    """

    title: str
    source: str
    kind: str
    table: PredictionTable
    class_names: tuple[str, ...]
    prints: Fingerprints | None
    notes: list[str]
    skipped: list[tuple[str, str]]


def predict_labelled(
    run: Run, found: LabelledImages, class_map: ClassMap | None, *, tta: bool, progress: bool
) -> Tried:
    """Predict labelled images, in batches.

    Args:
      run: the trained run.
      found: the images.
      class_map: see `cervix_jax.data.class_map.match_classes`.
      tta: average over 8 symmetries.
      progress: show a progress bar.

    Raises:
      InputError: the images have a class that the run lacks, or no image can be read.
    """
    match = match_classes(run.class_names, found.class_names, class_map)
    reader = _Reader(run, found, tta=tta, progress=progress)
    prints = Fingerprints.of(reader)
    if not reader.kept:
        name, reason = reader.skipped[0] if reader.skipped else (found.source, "there is no image")
        raise InputError(f"--on={found.source}: no image can be used ({name}: {reason}).")
    kept = np.asarray(reader.kept, np.int64)
    logits = np.concatenate(reader.logits)
    table = PredictionTable(
        tuple(found.filenames[index] for index in kept),
        np.asarray(found.groups, str)[kept],
        match[found.labels[kept]],
        probabilities_of(logits).astype(np.float64),
        run.class_names,
        logits,
    )
    notes = []
    if reader.skipped:
        name, reason = reader.skipped[0]
        notes.append(
            f"{len(reader.skipped)} images cannot be read and are left out, e.g. {name}: {reason}"
        )
    return Tried(
        found.title, found.source, found.kind, table, found.class_names, prints, notes,
        reader.skipped,
    )  # fmt: skip


class _Reader:
    """Yields images one by one and collects the network's logits of all of them on the way.

    Each image is thus decoded once, and memory holds only one batch of them.

    Attributes:
      kept: positions of the images that can be read.
      logits: logits of these, float32 [n, C] per batch.
      skipped: name and reason of the others.
    """

    def __init__(self, run: Run, found: LabelledImages, *, tta: bool, progress: bool):
        self._run, self._found, self._progress = run, found, progress
        self._mesh = distributed.make_mesh()
        self._scale = network_scale(run.config.data, found.microns_per_pixel, found.title)
        forward = make_forward(run.graphdef, run.config.model.normalization, self._mesh)
        self._forward = over_symmetries(forward, run.model.views) if tta else forward
        self._size = distributed.filled_up(run.config.eval_batch_size, self._mesh)
        self.kept: list[int] = []
        self.logits: list[np.ndarray] = []
        self.skipped: list[tuple[str, str]] = []

    def __iter__(self) -> Iterator[np.ndarray]:
        config, count = self._run.config, len(self._found)
        squares: list[np.ndarray] = []
        loaded = map_in_order(self._load, range(count))
        for index, image in enumerate(
            Bar(loaded, desc="evaluating", total=count, unit="image", leave=False,
                 disable=not self._progress)
        ):  # fmt: skip
            if isinstance(image, images.UnreadableImage):
                self.skipped.append((self._found.filenames[index], image.reason))
                continue
            self.kept.append(index)
            squares.append(resize_square(image, config.image_size, config.data.resize, self._scale))
            if len(squares) == self._size:
                self._predict(squares)
                squares = []
            yield image
        if squares:
            self._predict(squares)

    def _load(self, index: int) -> np.ndarray | images.UnreadableImage:
        try:
            return np.asarray(self._found.load(index))
        except images.UnreadableImage as error:
            return error

    def _predict(self, squares: Sequence[np.ndarray]) -> None:
        batch = np.stack(squares)
        filled = np.resize(batch, (self._size, *batch.shape[1:]))  # so one program is compiled
        placed = jax.device_put(filled, distributed.batch_sharded(self._mesh))
        self.logits.append(np.asarray(self._forward(self._run.variables, placed))[: len(batch)])


def read_predictions(run: Run, path: Path, labels: str | Path, class_map: ClassMap | None) -> Tried:
    """Read the run's predictions from a table, with its own labels or those of a list.

    Args:
      run: the trained run.
      path: the table.
      labels: the list, see `labels.join_labels`; "" if the table has labels.
      class_map: see `cervix_jax.data.class_map.match_classes`.

    Raises:
      InputError: a file cannot be used, or the classes are not those of the run.
    """
    if not labels and "label" not in tables.Table(path, COLUMNS).columns:
        raise InputError(
            f"{path}: has predictions, but no column label; add --labels with a CSV of path and "
            "label."
        )
    table = _in_order_of(run, read_table(path, labelled=not labels), path)
    class_names, notes = run.class_names, []
    if labels:
        joined = join_labels(
            table, read_labels(labels), where=path, labels=labels, class_map=class_map
        )
        table, class_names, notes = joined.table, joined.class_names, joined.notes
    notes.insert(0, f"predictions were read from {path}, not computed again")
    return Tried(
        path.name, str(path.resolve()), PREDICTIONS, table, class_names,
        _prints_of_files(table.filenames, path), notes, [],
    )  # fmt: skip


def _in_order_of(run: Run, table: PredictionTable, path: Path) -> PredictionTable:
    """Predictions with columns in the order of the run's classes."""
    if sorted(table.class_names) != sorted(run.class_names):
        raise InputError(
            f"{path}: has predictions of the classes {', '.join(table.class_names)}, but the run "
            f"has {', '.join(run.class_names)}; give predictions of this run."
        )
    return table.in_order_of(run.class_names)


def _prints_of_files(filenames: Sequence[str], table: Path) -> Fingerprints | None:
    """Fingerprints of the images that a table names; None unless all can be read."""
    for folder in (Path.cwd(), table.absolute().parent):
        places = [place_of(name, folder) for name in filenames]
        if all(place.is_file() for place in places):
            try:
                return Fingerprints.of(np.asarray(images.read_rgb(place)) for place in places)
            except images.UnreadableImage:
                return None
    return None
