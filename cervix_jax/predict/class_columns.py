"""Columns on the class of an image or cell: class, probabilities, conformal set, energy."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from cervix_jax.evaluate.predictions_file import PREFIX
from cervix_jax.predict.network import ClassScores
from cervix_jax.predict.validation import Validation
from cervix_jax.statistics.outliers import energy
from cervix_jax.statistics.table import UNKNOWN, PredictionTable


def class_columns(class_names: Sequence[str], validation: Validation) -> list[str]:
    """The columns, in their order."""
    return [
        "class",
        *(f"{PREFIX}{name}" for name in class_names),
        *([] if validation.threshold is None else ["conformal_set"]),
        "confidence",
        "energy",
    ]


def class_values(
    scores: ClassScores, class_names: Sequence[str], validation: Validation
) -> Iterator[dict[str, Any]]:
    """The values of these columns for each image of a batch."""
    names = tuple(class_names)
    count = len(scores.logits)
    unnamed = tuple(map(str, range(count)))
    energies = energy(
        PredictionTable(
            unnamed,
            np.asarray(unnamed, str),
            np.full(count, UNKNOWN),
            scores.raw,
            names,
            scores.logits,
        )
    )
    sets = validation.sets(scores.raw)
    for number, p in enumerate(scores.probabilities):
        row: dict[str, Any] = {"class": names[int(p.argmax())]}
        row |= {f"{PREFIX}{name}": float(value) for name, value in zip(names, p, strict=True)}
        row |= {"confidence": float(p.max()), "energy": float(energies[number])}
        if sets is not None:
            row["conformal_set"] = [names[k] for k in np.flatnonzero(sets[number])]
        yield row
