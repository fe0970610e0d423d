"""CSV file of predictions."""

import array
import csv
import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy.special import softmax

from cervix_jax.errors import InputError
from cervix_jax.files import compressed, tables
from cervix_jax.files.atomic import replacing
from cervix_jax.statistics.table import UNKNOWN, PredictionTable

SUFFIX = "_predictions.csv"
FIELDS = ("filename", "group", "label")
PREFIX = "p_"
ENERGY = "energy"
PREDICTED = "predicted"
_MAX_ROUNDING = 0.1  # in the sum of a row


def logits_path(path: Path) -> Path:
    """Path of the logits that belong to a predictions file."""
    return path.with_name(compressed.stem(path) + "_logits.npy")


def write_table(path: Path, table: PredictionTable) -> None:
    """Write `filename, group, label, predicted, p_<class>...` with six digits, and any logits.

    Logits go to a file beside it. A name that ends in `.gz` gives a gzip-compressed file.
    """
    with compressed.written(path) as file:
        rows = csv.writer(file)
        rows.writerow([*FIELDS, PREDICTED, *(f"{PREFIX}{name}" for name in table.class_names)])
        for filename, group, label, row in zip(
            table.filenames, table.groups, table.labels, table.probabilities, strict=True
        ):
            name = "" if label == UNKNOWN else table.class_names[label]
            predicted = table.class_names[int(np.argmax(row))]
            rows.writerow([filename, group, name, predicted, *(f"{p:.6g}" for p in row)])
    if table.logits is not None:
        with replacing(logits_path(path)) as temporary, temporary.open("wb") as file:
            np.save(file, np.asarray(table.logits, np.float32), allow_pickle=False)


def read_table(path: str | Path, *, labelled: bool = True) -> PredictionTable:
    """Read a predictions file: `filename`, `p_<class>...`, `label` and optional `group`.

    Accepts any table that `cervix_jax.files.tables` reads; class names keep their spelling. Without
    groups every image is its own group. Logits come from the file beside the table if they agree
    with it, else from a column `energy`, which restores the scale that probabilities lose. Tables
    of `python -m cervix_jax.predict` call the file name `path`.

    Args:
      path: the table.
      labelled: whether every image must have a label that is a known class.

    Raises:
      InputError: the file does not exist, or does not hold predictions.
    """
    path = Path(path)
    table = tables.Table(path, (*FIELDS, "path", ENERGY))
    name = "filename" if "filename" in table.columns else "path"
    columns = _class_columns(table)
    _check_columns(table, columns, labelled)
    class_names = tuple(tables.clean(column[len(PREFIX) :]) for column in columns)
    _check_classes(path, class_names)
    number = {name: index for index, name in enumerate(class_names)}
    lines: dict[str, int] = {}
    groups: list[str] = []
    labels: list[int] = []
    values, energies = array.array("d"), array.array("d")
    scale = _Scale()
    for row in table:
        filename, label = row[name], row.get("label")
        if not filename:
            raise InputError(f"{row.where}: has no file name; fill it in, or remove the row.")
        if filename in lines:
            raise InputError(
                f"{row.where}: {filename!r} occurs more than once (line {lines[filename]}); give "
                "each image one row."
            )
        if labelled and label not in number:
            raise InputError(
                f"{row.where}: the label {label!r} is none of the classes {', '.join(class_names)}."
            )
        lines[filename] = row.line
        groups.append(row.get("group") or filename)
        labels.append(number.get(label, UNKNOWN))
        values.extend(scale.probabilities(row, columns))
        if ENERGY in table.columns:
            energies.append(_energy(row))
    if not lines:
        raise InputError(f"{path}: holds no predictions; add rows.")
    scale.say(path)
    probabilities = np.asarray(values).reshape(-1, len(columns))
    found = PredictionTable(
        tuple(lines),
        np.asarray(groups, str),
        np.asarray(labels, np.int64),
        probabilities / probabilities.sum(1, keepdims=True),
        class_names,
    )
    logits = _logits(path, found)
    if logits is None and energies:
        smallest = np.finfo(np.float32).tiny  # tables round positive float32 values to 0
        logits = np.log(np.maximum(found.probabilities, smallest)) - np.asarray(energies)[:, None]
    return dataclasses.replace(found, logits=logits)


def require_classes(path: str | Path, table: PredictionTable, class_names: Sequence[str]) -> None:
    """Check that predictions have the given classes in the given order.

    Raises:
      InputError: they have not.
    """
    if table.class_names != tuple(class_names):
        raise InputError(
            f"{path}: its classes differ, or are in another order, than in the predictions "
            "evaluated; give predictions of the same model."
        )


def _class_columns(table: tables.Table) -> tuple[str, ...]:
    """Columns of probabilities; the prefix P_ counts if no column has p_."""
    for prefix in (PREFIX, PREFIX.upper()):
        if columns := tuple(name for name in table.columns if name.startswith(prefix)):
            return columns
    return ()


def _check_columns(table: tables.Table, columns: Sequence[str], labelled: bool) -> None:
    missing = [] if {"filename", "path"} & set(table.columns) else ["filename"]
    missing += ["label"] if labelled and "label" not in table.columns else []
    missing += [] if columns else [f"{PREFIX}<class>"]
    every = f"{PREFIX}<class> of every class"
    if missing:
        raise table.without(missing, f"give a table with filename, group, label and {every}.")
    if len(columns) == 1:
        raise InputError(f"{table.path}: has one class only; give a column {every}.")
    for column in columns:
        name = tables.clean(column[len(PREFIX) :])
        if not name or not name.isprintable():
            kind = "unusual characters in its name" if name else "no name"
            raise InputError(
                f"{table.path}: the column {column!r} is a class with {kind}; rename it."
            )


def _check_classes(path: Path, names: Sequence[str]) -> None:
    """Check that no two columns read as the same class."""
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise InputError(f"{path}: the class {twice!r} has two columns; rename one.")
    tables.refuse_same_number(names, path)


class _Scale:
    """Scale of a table's probabilities (1 or percent), and the number of rounded rows."""

    def __init__(self) -> None:
        self._whole, self._rows, self._rounded, self._first = 0.0, 0, 0, ""

    def probabilities(self, row: tables.Row, columns: Sequence[str]) -> list[float]:
        """Probabilities of a row as parts of 1, which sum to 1 up to rounding of their digits.

        Raises:
          InputError: they are no probabilities, or on another scale than in earlier rows.
        """
        values = [row.number(column, percent=True) for column in columns]
        total = sum(values)
        whole = 1.0 if abs(total - 1) <= 0.5 else 100.0
        off = abs(total - whole) / whole
        if not (min(values) >= 0 and off < 1e-3):  # also true for NaN
            allowed = _rounding([row[column] for column in columns], whole)
            if not (min(values) >= 0 and off <= allowed):
                raise InputError(
                    f"{row.where}: {', '.join(f'{p:g}' for p in values)} are not probabilities; "
                    "they must be at least 0 and sum to 1, or all be percentages that sum to 100."
                )
            self._first = self._first or f"{total:g} in line {row.line}"
            self._rounded += 1
        if self._whole and whole != self._whole:
            raise InputError(
                f"{row.where}: the probabilities sum to {whole:g}, in earlier rows to "
                f"{self._whole:g}; write all as parts of 1, or all in percent."
            )
        self._whole, self._rows = whole, self._rows + 1
        return [value / whole for value in values]

    def say(self, path: Path) -> None:
        """Warn about values that were rescaled."""
        if self._whole == 100:
            tables.say_once(f"{path}: probabilities in percent; divided by 100.")
        if self._rounded:
            tables.say_once(
                f"{path}: the probabilities of {self._rounded} of {self._rows} rows sum to "
                f"{self._whole:g} only up to rounding ({self._first}); divided by their sum."
            )


def _rounding(texts: Sequence[str], whole: float) -> float:
    """Largest change of the sum by rounding to the written digits, as a share of the sum."""
    digits = 0
    for text in texts:
        mantissa, _, exponent = text.removesuffix("%").strip().lower().partition("e")
        decimals = len(mantissa.replace(",", ".").partition(".")[2])
        digits = max(digits, decimals - int(exponent or 0))
    if whole == 1 and not digits:
        return 0.0  # 0 and 1 are exact
    return min(len(texts) * 0.5 * 10.0**-digits / whole, _MAX_ROUNDING) + 1e-9


def _energy(row: tables.Row) -> float:
    value = row.number(ENERGY)
    if not math.isfinite(value):
        raise InputError(f"{row.where}: {ENERGY}={value} is not finite; correct it.")
    return value


def _logits(path: Path, table: PredictionTable) -> np.ndarray | None:
    """Stored logits, unless they belong to another version of the file."""
    try:
        logits = np.load(logits_path(path), allow_pickle=False).astype(np.float64)
    except (OSError, ValueError):
        return None
    if logits.shape != table.probabilities.shape:
        return None
    agrees = np.allclose(softmax(logits, axis=1), table.probabilities, atol=1e-4)
    return logits if agrees else None
