"""Lists of labels (path, label, optional group), and their join with predictions.

A list may name images as the table of predictions does, by other paths to the same files, or by
file names alone if these are unique.
"""

import dataclasses
import os
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path, PureWindowsPath

import numpy as np

from cervix_jax.data.class_map import ClassMap, match_classes
from cervix_jax.errors import InputError
from cervix_jax.evaluate.predictions_file import PREFIX
from cervix_jax.files import tables
from cervix_jax.files.paths import nfc, on_disk
from cervix_jax.statistics.table import UNKNOWN, PredictionTable

COLUMNS = ("path", "filename", "label", "group")


@dataclasses.dataclass(frozen=True)
class LabelRow:
    """A row of a list of labels.

    Attributes:
      name: the image as named in the list.
      label: its class.
      group: "" if none is given.
      where: file and line, for messages.
    """

    name: str
    label: str
    group: str
    where: str


def read_labels(path: str | Path) -> list[LabelRow]:
    """Read a list with the columns path (or filename), label and optional group.

    Raises:
      InputError: the list cannot be read, lacks a column or a cell, or has an image twice.
    """
    table = tables.Table(path, COLUMNS)
    name = "path" if "path" in table.columns else "filename"
    missing = [] if name in table.columns else ["path"]
    missing += [] if "label" in table.columns else ["label"]
    if missing:
        raise table.without(missing, "give a list with path, label and, where known, group.")
    rows: dict[str, LabelRow] = {}
    for row in table:
        text, label = nfc(row[name]), nfc(row["label"])
        for column, cell in ((name, text), ("label", label)):
            if not cell:
                raise InputError(f"{row.where}: has no {column}; fill it in, or remove the row.")
        if text in rows:
            raise InputError(
                f"{row.where}: {text!r} occurs more than once (first in "
                f"{rows[text].where.rpartition(', ')[2]}); give each image one row."
            )
        rows[text] = LabelRow(text, label, row.get("group"), row.where)
    if not rows:
        raise InputError(f"{path}: lists no images; add rows.")
    tables.refuse_same_number([row.label for row in rows.values()], path)
    return list(rows.values())


def place_of(name: str, folder: Path) -> Path:
    """Path of an image in a list: absolute, or relative to the list's folder."""
    place = on_disk(folder / Path(name).expanduser())
    if not place.is_file() and "\\" in name:
        place = on_disk(folder / PureWindowsPath(name).as_posix())
    return place


def holds_predictions(path: str | Path) -> bool:
    """Whether a table has columns of probabilities; raises `InputError` if it is not a table."""
    columns = tables.Table(path, COLUMNS).columns
    return any(name.casefold().startswith(PREFIX) for name in columns)


@dataclasses.dataclass(frozen=True)
class Joined:
    """Predictions joined with the labels of a list.

    Attributes:
      table: the images with both a prediction and a label.
      class_names: the classes of the list.
      unlabelled: names of images with a prediction but no label.
      unpredicted: names of images with a label but no prediction.
      by: property that joined the two, such as "path".
    """

    table: PredictionTable
    class_names: tuple[str, ...]
    unlabelled: tuple[str, ...]
    unpredicted: tuple[str, ...]
    by: str

    @property
    def notes(self) -> list[str]:
        """Remarks on the join for the reader; one line each."""
        found = [] if self.by == "path" else [f"labels were joined to predictions by {self.by}"]
        for names, what in (
            (self.unlabelled, "predicted images have no label and are left out"),
            (self.unpredicted, "labelled images have no prediction"),
        ):
            if names:
                found.append(f"{len(names)} {what}, e.g. {names[0]}")
        return found


def join_labels(
    predictions: PredictionTable,
    rows: Sequence[LabelRow],
    *,
    where: str | Path,
    labels: str | Path,
    class_map: ClassMap | None = None,
) -> Joined:
    """Join predictions with the labels, and any groups, of a list.

    Images match by name. If no names match, they match by absolute path (relative to the folder of
    the list, the folder of the table, or the current folder); if none of these match, by file name,
    provided that file names are unique.

    Args:
      predictions: the predictions; their own labels are ignored.
      rows: the list.
      where: file of the predictions.
      labels: file of the list.
      class_map: classes with another name in the list, see `match_classes`.

    Raises:
      InputError: no image is in both, or the list has a class that the predictions lack.
    """
    class_names = tuple(sorted({row.label for row in rows}))
    match = match_classes(predictions.class_names, class_names, class_map)
    number = dict(zip(class_names, match.tolist(), strict=True))
    names = [row.name for row in rows]
    for by, of_table, of_list in (
        ("path", _plain, _plain),
        ("absolute path", _absolute(where), _absolute(labels)),
        ("file name", _last, _last),
    ):
        place = _unique([of_list(name) for name in names])
        asked = [of_table(name) for name in predictions.filenames]
        found = [place.get(key, UNKNOWN) for key in asked]
        if by == "file name" and len(_unique(asked)) < len(asked):
            continue
        if any(row != UNKNOWN for row in found):
            break
    else:
        raise InputError(
            f"{labels}: has labels for none of the images of {where}, e.g. not for "
            f"{predictions.filenames[0]}; write paths as in that table."
        )
    kept = np.flatnonzero(np.asarray(found) != UNKNOWN)
    chosen = [rows[found[row]] for row in kept]
    table = dataclasses.replace(
        predictions.take(kept),
        labels=np.asarray([number[row.label] for row in chosen], np.int64),
        groups=np.asarray(
            [
                row.group or group
                for row, group in zip(chosen, predictions.groups[kept], strict=True)
            ],
            str,
        ),
    )
    used = {found[row] for row in kept}
    return Joined(
        table,
        class_names,
        tuple(name for name, row in zip(predictions.filenames, found, strict=True) if row < 0),
        tuple(name for row, name in enumerate(names) if row not in used),
        by,
    )


def _plain(name: str) -> str:
    return nfc(os.path.normpath(PureWindowsPath(name).as_posix()))


def _last(name: str) -> str:
    return nfc(PureWindowsPath(name).name)


def _absolute(source: str | Path) -> Callable[[str], str]:
    """Absolute paths of the names in a file, relative to its folder if the image exists there."""
    folder = Path(source).absolute().parent

    def absolute(name: str) -> str:
        place = place_of(name, folder)
        if not place.is_file() and place_of(name, Path.cwd()).is_file():
            place = place_of(name, Path.cwd())
        return nfc(os.path.realpath(place))

    return absolute


def _unique(keys: Sequence[str]) -> dict[str, int]:
    """Position of each key that occurs exactly once."""
    counts = Counter(keys)
    return {key: row for row, key in enumerate(keys) if counts[key] == 1}
