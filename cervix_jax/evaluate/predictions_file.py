"""The CSV file that keeps predictions."""

import csv
import dataclasses
from pathlib import Path

import numpy as np
from scipy.special import softmax

from cervix_jax.errors import InputError
from cervix_jax.files.atomic import replacing
from cervix_jax.statistics.table import UNKNOWN, PredictionTable

SUFFIX = "_predictions.csv"
FIELDS = ("filename", "group", "label")
PREFIX = "p_"
ENERGY = "energy"


def logits_path(path: Path) -> Path:
    """Where the logits of a predictions file lie, if they were kept."""
    return path.with_name(path.name.removesuffix(".csv") + "_logits.npy")


def write_table(path: Path, table: PredictionTable) -> None:
    """Write `filename, group, label, p_<class>...`, six digits, and any logits beside it."""
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow([*FIELDS, *(f"{PREFIX}{name}" for name in table.class_names)])
        for filename, group, label, row in zip(
            table.filenames, table.groups, table.labels, table.probabilities, strict=True
        ):
            rows.writerow([filename, group, table.class_names[label], *(f"{p:.6g}" for p in row)])
    if table.logits is not None:
        with replacing(logits_path(path)) as temporary, temporary.open("wb") as file:
            np.save(file, np.asarray(table.logits, np.float32), allow_pickle=False)


def read_table(path: str | Path, *, labelled: bool = True) -> PredictionTable:
    """Read a predictions file: `filename, p_<class>...`, `label`, and `group` if there is one.

    Without groups every image is its own. Logits are taken from beside it where they agree, else
    from a column `energy`, which has what probabilities lack of them. Tables of `python -m
    cervix_jax.predict` call the file name `path`.

    Args:
      path: the CSV file.
      labelled: whether every image must have the label of a known class.

    Raises:
      InputError: there is no such file, or it does not hold predictions.
    """
    path = Path(path)
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, strict=True)
            header = list(reader.fieldnames or [])
            if "filename" not in header:
                header = ["filename" if name == "path" else name for name in header]
                reader.fieldnames = header
            names = tuple(name.removeprefix(PREFIX) for name in header if name.startswith(PREFIX))
            wanted = [*FIELDS[:: 2 if labelled else 3], *([] if names else [f"{PREFIX}<class>"])]
            missing = [name for name in wanted if name not in header]
            if missing or len(set(header)) != len(header):
                raise InputError(
                    f"{path}: not a file of predictions: "
                    f"{'no column ' + ', '.join(missing) if missing else 'columns occur twice'}; "
                    "give a CSV with filename, group, label and p_<class> of every class."
                )
            if "" in names or len(names) == 1:
                kind = "a class without a name" if "" in names else "one class"
                raise InputError(
                    f"{path}: predictions of {kind}; give a column p_<class> of every class."
                )
            rows = []
            for row in reader:
                if None in row or None in row.values() or not row["filename"]:
                    raise InputError(
                        f"{path}: line {reader.line_num}: it has no file name, or not the "
                        f"{len(header)} columns of the first line; repair it."
                    )
                rows.append(row)
    except FileNotFoundError as error:
        raise InputError(f"{path}: there is no such file; give a file of predictions.") from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: not a readable CSV file ({error}).") from error
    if not rows:
        raise InputError(f"{path}: holds no predictions.")
    filenames = tuple(row["filename"] or "" for row in rows)
    if len(set(filenames)) != len(filenames):
        twice = next(name for name in filenames if filenames.count(name) > 1)
        raise InputError(f"{path}: {twice!r} occurs more than once; give each image one row.")
    table = PredictionTable(
        filenames,
        np.asarray([row.get("group") or row["filename"] for row in rows], str),
        _labels(path, rows, names, labelled),
        _probabilities(path, rows, names),
        names,
    )
    logits = _logits(path, table)
    if logits is None and ENERGY in header:
        logits = _logits_of_energy(path, rows, table.probabilities)
    return dataclasses.replace(table, logits=logits)


def _labels(path: Path, rows: list[dict], names: tuple[str, ...], labelled: bool) -> np.ndarray:
    number = {name: index for index, name in enumerate(names)}
    labels = [number.get(row.get("label") or "", UNKNOWN) for row in rows]
    if labelled and UNKNOWN in labels:
        row = labels.index(UNKNOWN)
        raise InputError(
            f"{path}: line {row + 2}: the label {rows[row]['label']!r} is none of the classes "
            f"{', '.join(names)}."
        )
    return np.asarray(labels, np.int64)


def _probabilities(path: Path, rows: list[dict], names: tuple[str, ...]) -> np.ndarray:
    values = np.empty((len(rows), len(names)))
    for number, row in enumerate(rows):
        try:
            values[number] = [float(row[f"{PREFIX}{name}"]) for name in names]
        except (TypeError, ValueError) as error:
            raise InputError(f"{path}: line {number + 2}: not a number ({error}).") from error
    total = values.sum(1)
    wrong = ~((values >= 0).all(1) & (np.abs(total - 1) < 1e-3))
    if wrong.any():
        number = int(np.flatnonzero(wrong)[0])
        raise InputError(
            f"{path}: line {number + 2}: {', '.join(f'{p:g}' for p in values[number])} are no "
            "probabilities; they must be at least 0 and sum to 1."
        )
    return values / total[:, None]


def _logits(path: Path, table: PredictionTable) -> np.ndarray | None:
    """Kept logits, unless they are of another version of the file."""
    try:
        logits = np.load(logits_path(path), allow_pickle=False).astype(np.float64)
    except (OSError, ValueError):
        return None
    if logits.shape != table.probabilities.shape:
        return None
    agrees = np.allclose(softmax(logits, axis=1), table.probabilities, atol=1e-4)
    return logits if agrees else None


def _logits_of_energy(path: Path, rows: list[dict], probabilities: np.ndarray) -> np.ndarray:
    """The logits from their softmax and -log sum exp, which is the energy."""
    try:
        energies = np.asarray([float(row[ENERGY]) for row in rows])
    except ValueError as error:
        raise InputError(f"{path}: column {ENERGY}: not a number ({error}).") from error
    if not np.isfinite(energies).all():
        raise InputError(f"{path}: column {ENERGY}: holds values that are not finite.")
    smallest = np.finfo(np.float32).tiny  # tables round to 0 what float32 did not
    return np.log(np.maximum(probabilities, smallest)) - energies[:, None]
