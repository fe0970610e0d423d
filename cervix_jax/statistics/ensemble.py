"""Predictions of several runs as one: averaged over seeds and joined over folds."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from cervix_jax.errors import InputError
from cervix_jax.statistics.side_by_side import Side
from cervix_jax.statistics.table import PredictionTable, align, concatenate


def average(tables: Sequence[PredictionTable], names: Sequence[str]) -> PredictionTable:
    """The mean of the probabilities (a deep ensemble, Lakshminarayanan et al. 2017).

    Args:
      tables: predictions of different models on the same images, in any order.
      names: name of each table for error messages.

    Returns:
      A table in the order of the first; a single table is returned unchanged, with its logits.

    Raises:
      InputError: the tables differ in classes, images or labels.
    """
    first = tables[0]
    if len(tables) == 1:
        return first
    aligned = [
        align(first, table, (names[0], name)) for table, name in zip(tables, names, strict=True)
    ]
    return first.with_probabilities(np.mean([table.probabilities for table in aligned], axis=0))


@dataclasses.dataclass(frozen=True)
class Ensemble:
    """Several runs as one.

    Attributes:
      table: predictions on the test images of all folds.
      members: number of models that predict each image.
      folds: folds whose test images the table holds.
    """

    table: PredictionTable
    members: int
    folds: tuple[int, ...]


def ensemble(sides: Sequence[Side]) -> Ensemble:
    """Average the models of each fold, then concatenate the folds.

    Args:
      sides: runs, cross-validations or files of predictions; all with the same folds.

    Raises:
      InputError: the test images of a fold differ between runs, or folds share images.
    """
    folds = sorted({fold for side in sides for _, fold in side.tables})
    per_fold = []
    for fold in folds:
        found = [
            (f"{side.name}, seed {seed}, fold {fold}", table)
            for side in sides
            for (seed, own), table in side.tables.items()
            if own == fold
        ]
        names, tables = zip(*found, strict=True)
        per_fold.append((average(tables, names), len(tables)))
    counts = {count for _, count in per_fold}
    if len(counts) > 1:
        raise InputError(
            f"the folds {folds} have {', '.join(str(count) for _, count in per_fold)} models; "
            "finish every fold of every seed first."
        )
    tables = [table for table, _ in per_fold]
    return Ensemble(
        tables[0] if len(tables) == 1 else concatenate(tables), counts.pop(), tuple(folds)
    )
