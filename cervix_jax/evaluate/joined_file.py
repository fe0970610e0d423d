"""CSV file of the predictions of all folds and seeds of a cross-validation.

seed,fold,filename,group,label,predicted,p_<class>...
"""

import csv
from pathlib import Path

import numpy as np

from cervix_jax.errors import InputError
from cervix_jax.evaluate.predictions_file import FIELDS, PREDICTED, PREFIX
from cervix_jax.files import compressed
from cervix_jax.files.tables import Row, Table
from cervix_jax.statistics.side_by_side import Member, Side
from cervix_jax.statistics.table import UNKNOWN, PredictionTable

MEMBER = ("seed", "fold")


def write_joined(path: Path, side: Side) -> None:
    """Write the predictions of all runs of a cross-validation as one CSV.

    The columns are `seed, fold` and those of a single run's file. A name that ends in `.gz` gives a
    gzip-compressed file.
    """
    tables = sorted(side.tables.items())
    names = tables[0][1].class_names
    with compressed.written(path) as file:
        rows = csv.writer(file)
        rows.writerow([*MEMBER, *FIELDS, PREDICTED, *(f"{PREFIX}{name}" for name in names)])
        for member, table in tables:
            for number, filename in enumerate(table.filenames):
                label, values = table.labels[number], table.probabilities[number]
                given = "" if label == UNKNOWN else names[label]
                cells = [filename, table.groups[number], given, names[int(values.argmax())]]
                rows.writerow([*member, *cells, *(f"{value:.6g}" for value in values)])


def is_joined(path: str | Path) -> bool:
    """Whether a table has the columns `seed` and `fold`, that is, predictions of several runs.

    Raises:
      InputError: it cannot be read.
    """
    return set(MEMBER) <= set(Table(path, (*MEMBER, *FIELDS)).columns)


def read_joined(path: str | Path) -> Side:
    """Read a file of `write_joined`: predictions by seed and fold, without logits.

    Raises:
      InputError: it cannot be read, or lacks labelled predictions with each image once per run.
    """
    table = Table(path, (*MEMBER, *FIELDS))
    table.require(*MEMBER, *FIELDS)
    columns = [name for name in table.columns if name.startswith(PREFIX)]
    number = {name.removeprefix(PREFIX): index for index, name in enumerate(columns)}
    found: dict[Member, dict[str, tuple[str, int, list[float]]]] = {}
    for row in table:
        lines = found.setdefault((_whole(row, "seed"), _whole(row, "fold")), {})
        filename, label = row["filename"], row["label"]
        if filename in lines:
            raise InputError(
                f"{row.where}: {filename!r} occurs more than once in this seed and fold; keep one "
                "row per image and run."
            )
        if label not in number:
            raise InputError(
                f"{row.where}: the label {label!r} is none of the classes {', '.join(number)}."
            )
        values = [row.number(column, least=0) for column in columns]
        if not sum(values):
            raise InputError(f"{row.where}: all probabilities are 0; correct the row.")
        lines[filename] = (row["group"] or filename, number[label], values)
    if not found:
        raise InputError(f"{path}: holds no predictions.")
    tables = {}
    for member, lines in sorted(found.items()):
        groups, labels, values = zip(*lines.values(), strict=True)
        probabilities = np.asarray(values)
        tables[member] = PredictionTable(
            tuple(lines),
            np.asarray(groups),
            np.asarray(labels),
            probabilities / probabilities.sum(1, keepdims=True),
            tuple(number),
        )
    return Side(str(path), tables, {})


def _whole(row: Row, name: str) -> int:
    value = row.number(name, least=0)
    if value != int(value):
        raise InputError(f"{row.where}: {name}={value:g} must be a whole number.")
    return int(value)
