"""Evaluate files of predictions from any model.

report = evaluate_file("mine.csv", split_file="benchmarks/splits/sipakmed_cells-block.csv")
"""

from pathlib import Path
from typing import Any

from cervix_jax.errors import InputError
from cervix_jax.evaluate.benchmark import evaluate_on_splits, members_of_seeds
from cervix_jax.evaluate.joined_file import is_joined, read_joined
from cervix_jax.evaluate.labels import join_labels, read_labels
from cervix_jax.evaluate.predictions_file import read_table, require_classes
from cervix_jax.evaluate.write import write_report
from cervix_jax.files import compressed
from cervix_jax.statistics.ensemble import ensemble


def file_place(path: str | Path) -> tuple[Path, str]:
    """The default output of `evaluate_file`: a folder beside the file, and a stem for its files."""
    path = Path(path)
    name = compressed.stem(path)
    return path.with_name(f"{name}_evaluation"), name.removesuffix("_predictions")


def evaluate_file(
    path: str | Path,
    *,
    labels: str | Path = "",
    validation: str | Path = "",
    split_file: str | Path = "",
    out: str | Path | None = None,
) -> dict[str, Any]:
    """Evaluate predictions from any model.

    Args:
      path: a CSV, see `cervix_jax.evaluate.predictions_file.read_table`. If it also has the columns
        `seed` and `fold`, see `cervix_jax.evaluate.joined_file`, seeds are averaged.
      labels: a CSV with the labels, if the predictions have none (as the tables of `predict`); see
        `cervix_jax.evaluate.labels.join_labels`.
      validation: a CSV of validation predictions, to fit a temperature, conformal sets and
        thresholds on.
      split_file: a split file. The predictions must hold each of its test images once; labels and
        groups come from the split file; see `cervix_jax.evaluate.benchmark`.
      out: output folder; default `<path without .csv or .csv.gz>_evaluation`.

    Returns:
      The contents of `<name>.json`.

    Raises:
      InputError: a file cannot be read, the two files have different classes, or the predictions do
        not match the split.
    """
    if labels and split_file:
        raise InputError(f"--labels={labels}: the labels come from --split_file; leave it out.")
    members = read_joined(path) if is_joined(path) else None
    if members is None:
        table = read_table(path, labelled=not (labels or split_file))
    else:
        table = ensemble([members]).table
    notes = []
    if labels:
        joined = join_labels(table, read_labels(labels), where=path, labels=labels)
        table, notes = joined.table, joined.notes
    known = read_table(validation) if validation else None
    if known is not None:
        require_classes(validation, known, table.class_names)
    folder, name = file_place(path)
    folder = Path(out) if out is not None else folder
    if split_file:
        return evaluate_on_splits(table, path, split_file, folder, name, known, members)
    facts: dict[str, Any] = {"dataset": Path(path).name, "split": "predictions"}
    facts |= {"protocol": None, "leakage": None} | members_of_seeds(members)
    if labels:
        facts |= {"labels": str(Path(labels).resolve()), "notes": notes}
    return write_report(folder, name, table, facts, known)
