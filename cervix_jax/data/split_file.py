"""Split files: the train, val and test images of every fold, usable without the data set.

    filename,label,group,fold0,fold1
    im_Dyskeratotic/001_01.bmp,Dyskeratotic,im_Dyskeratotic/001,test,train

A column `fold<k>` assigns every image to "train", "val" or "test"; the test parts of several folds
together contain every image once. `index.json` beside the files describes each file.
"""

import collections
import csv
import dataclasses
import hashlib
import re
from collections.abc import Sequence
from pathlib import Path, PureWindowsPath
from typing import Any

import numpy as np

from cervix_jax.data.splits import SPLITS, Leakage, leakage
from cervix_jax.errors import InputError
from cervix_jax.files import compressed, tables
from cervix_jax.files.atomic import read_json
from cervix_jax.files.paths import nfc

INDEX = "index.json"
COLUMNS = ("filename", "label", "group")
FOLD = "fold"


@dataclasses.dataclass(frozen=True)
class SplitFile:
    """N images and their parts in each of F folds.

    Attributes:
      path: the file.
      filenames: N unique names.
      labels: class names of the N images.
      groups: group names of the N images.
      splits: str [N, F] of "train", "val" and "test".
      facts: the file's entry in the index: `dataset, protocol, seed, version`...; empty if none.
    """

    path: Path
    filenames: tuple[str, ...]
    labels: tuple[str, ...]
    groups: tuple[str, ...]
    splits: np.ndarray
    facts: dict[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def folds(self) -> int:
        """Number of folds; 1 for a single split."""
        return self.splits.shape[1]

    @property
    def test_fold(self) -> np.ndarray:
        """The fold in which each image is tested, int [N]; -1 if it never is."""
        tested = self.splits == "test"
        return np.where(tested.any(axis=1), tested.argmax(axis=1), -1)

    def leakage(self) -> list[Leakage]:
        """For every fold, the number of test images whose group occurs in train or val."""
        return [leakage(column, self.groups, self.filenames) for column in self.splits.T]

    def write(self, path: str | Path) -> None:
        """Write the table atomically; compressed if the name ends in `.gz`."""
        with compressed.written(Path(path)) as stream:
            rows = csv.writer(stream, lineterminator="\n")
            rows.writerow([*COLUMNS, *(f"{FOLD}{fold}" for fold in range(self.folds))])
            for *facts, parts in zip(
                self.filenames, self.labels, self.groups, self.splits.tolist(), strict=True
            ):
                rows.writerow([*facts, *parts])


def read_split_file(path: str | Path) -> SplitFile:
    """Read a split file; a single split may name its column `split` instead of `fold0`.

    Raises:
      InputError: it cannot be read, lacks a column, or is no split; the message names the line.
    """
    path = Path(path)
    table = tables.Table(path, (*COLUMNS, "split"))
    found = [name for name in table.columns if re.fullmatch(rf"{FOLD}\d+", name)]
    columns = [f"{FOLD}{fold}" for fold in range(len(found))] or ["split"]
    missing = [name for name in ("filename", "label", *columns) if name not in table.columns]
    if missing:
        raise table.without(
            missing, "give a table with filename, label, group and fold0, fold1... of every fold."
        )
    rows: dict[str, tuple[str, str, list[str]]] = {}
    for row in table:
        name, label, parts = nfc(row["filename"]), nfc(row["label"]), [row[c] for c in columns]
        if not (name and label):
            raise InputError(f"{row.where}: needs a filename and a label; fill them in.")
        if name in rows:
            raise InputError(f"{row.where}: {name!r} occurs twice; give each image one row.")
        for column, part in zip(columns, parts, strict=True):
            if part not in SPLITS:
                raise InputError(
                    f"{row.where}: {column}={part[:40]!r}; write one of {', '.join(SPLITS)}."
                )
        if len(columns) > 1 and parts.count("test") != 1:
            raise InputError(
                f"{row.where}: {name!r} is tested in {parts.count('test')} of {len(columns)} "
                "folds; every image is tested in one."
            )
        rows[name] = label, nfc(row.get("group")) or name, parts
    splits = np.asarray([parts for *_, parts in rows.values()], str)
    for column, each in zip(columns, splits.T if len(splits) else [[]] * len(columns), strict=True):
        if "test" not in each:
            raise InputError(f"{path}: {column} has no test image; repair it.")
    return SplitFile(
        path,
        tuple(rows),
        tuple(label for label, _, _ in rows.values()),
        tuple(group for _, group, _ in rows.values()),
        splits,
        _facts(path),
    )


def _facts(path: Path) -> dict[str, Any]:
    """Return the entry of the index beside a file, if the file is unchanged."""
    found = ((read_json(path.with_name(INDEX)) or {}).get("files") or {}).get(path.name)
    if not isinstance(found, dict):
        return {}
    if found.get("sha256") != file_digest(path):
        raise InputError(
            f"{path}: is not the file that {INDEX} beside it describes; take both from one "
            f"version, or remove {INDEX}."
        )
    return found


def file_digest(path: Path) -> str:
    """Return the SHA-256 of the content of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def names_digest(filenames: Sequence[str]) -> str:
    """Return the SHA-256 of the names in order, without their suffixes, one per line."""
    text = "".join(f"{name}\n" for name in sorted(map(stem, filenames)))
    return hashlib.sha256(text.encode()).hexdigest()


def stem(name: str) -> str:
    """Return a name without its suffix, with `/` between folders."""
    parts = nfc(PureWindowsPath(name).as_posix())
    folder, slash, last = parts.rpartition("/")
    return f"{folder}{slash}{last.rpartition('.')[0] or last}"


class Names:
    """Finds images by variants of their names.

    A name matches an image if both end in the same file name, without suffixes, and the folders of
    the image are among those of the name. `SIPaKMeD/im_Parabasal/im_Parabasal/CROPPED/008_06.jpg`
    matches `im_Parabasal/008_06.bmp`.

    Args:
      filenames: the names of the images.
    """

    def __init__(self, filenames: Sequence[str]):
        self._places = {name: place for place, name in enumerate(map(stem, filenames))}
        self._by_last: dict[str, list[tuple[set[str], int]]] = collections.defaultdict(list)
        for name, place in self._places.items():
            *folders, last = name.split("/")
            self._by_last[last].append((set(folders), place))

    def find(self, name: str) -> int | None:
        """Return the position of an image; None if no image matches, or several do."""
        bare = stem(name)
        if bare in self._places:
            return self._places[bare]
        *folders, last = bare.split("/")
        known = set(folders)
        fitting = [place for needed, place in self._by_last.get(last, []) if needed <= known]
        return fitting[0] if len(fitting) == 1 else None
