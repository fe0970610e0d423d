"""The CSV file that keeps the predictions of all folds and seeds of a cross-validation.

seed,fold,filename,group,label,predicted,p_<class>...
"""

import csv
from pathlib import Path

import numpy as np

from cervix_jax.errors import InputError
from cervix_jax.evaluate.predictions_file import FIELDS, PREDICTED, PREFIX
from cervix_jax.files import compressed
from cervix_jax.files.tables import Table
from cervix_jax.statistics.side_by_side import Side
from cervix_jax.statistics.table import UNKNOWN, PredictionTable

MEMBER = ("seed", "fold")


def write_joined(path: Path, side: Side) -> None:
    """Write the predictions of all runs of a cross-validation as one CSV.

    Its columns are `seed, fold` and those of a run's own file. A name that ends on `.gz` gives a
    file that is compressed with gzip.
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


def read_joined(path: str | Path) -> Side:
    """Read what `write_joined` wrote: predictions by seed and fold.

    Raises:
      InputError: it cannot be read, or is no such file.
    """
    table = Table(path, (*MEMBER, *FIELDS))
    table.require(*MEMBER, *FIELDS)
    if not any(name.startswith(PREFIX) for name in table.columns):
        raise InputError(f"{path}: has no columns {PREFIX}<class>; give a file of predictions.")
    columns = [name for name in table.columns if name.startswith(PREFIX)]
    names = tuple(name.removeprefix(PREFIX) for name in columns)
    found: dict[tuple[int, int], list[tuple[str, str, int, list[float]]]] = {}
    for row in table:
        member = (int(row.number("seed", least=0)), int(row.number("fold", least=0)))
        label = names.index(row["label"]) if row["label"] in names else UNKNOWN
        values = [row.number(column) for column in columns]
        found.setdefault(member, []).append((row["filename"], row["group"], label, values))
    tables = {}
    for member, lines in found.items():
        filenames, groups, labels, values = zip(*lines, strict=True)
        probabilities = np.asarray(values)
        probabilities /= probabilities.sum(1, keepdims=True)
        tables[member] = PredictionTable(
            filenames, np.asarray(groups), np.asarray(labels), probabilities, names
        )
    return Side(str(path), tables, {})
