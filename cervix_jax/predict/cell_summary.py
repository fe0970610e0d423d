"""Summary of the cells of a field or slide in one row: counts, share, worst finding, class.

    row = summarise("a.svs", size=(40_000, 30_000), mpp=0.25, probabilities=p, severity=order)
    rows = suspicious(p, order)     # indices of the cells to look at first

All counts refer to detected cells. The class of a cell is its most probable class.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from cervix_jax.errors import InputError, check_number
from cervix_jax.evaluate.predictions_file import PREFIX
from cervix_jax.predict.severity import Severity
from cervix_jax.statistics.aggregation import RULES
from cervix_jax.statistics.intervals import wilson_interval

MOST_SUSPICIOUS = 16
COUNT = "cells_"
DIGITS = 6  # of probabilities, as in tables: cells that look equal in a table also rank as equal
ABNORMAL = ("abnormal", "abnormal_low", "abnormal_high")
WORST = ("worst", "worst_probability", "worst_cell", "min_probability")


def columns(severity: Severity) -> list[str]:
    """Columns of the row that `summarise` returns, in its order."""
    names = severity.class_names
    return [
        *("path", "width", "height", "mpp", "cells"),
        *(f"{COUNT}{name}" for name in names),
        *(ABNORMAL if severity.abnormal is not None else ()),
        *(WORST if severity.known else ()),
        *("rule", "class"),
        *(f"{PREFIX}{name}" for name in names),
        "suspicious",
    ]


def summarise(
    path: str,
    *,
    size: tuple[int, int],
    mpp: float | None,
    probabilities: np.ndarray,
    severity: Severity,
    min_probability: float = 0.5,
    rule: str = "mean",
) -> dict[str, Any]:
    """The row of one field or slide.

    The interval of the abnormal share is the Wilson interval of the share among the detected cells,
    which assumes independent cells. It ignores four sources of error. Neighbouring cells and cells
    of one cluster resemble each other, which makes the true interval wider. The network makes
    errors, more often on some classes than on others, so even the share of a million cells is not
    the true share of abnormal cells. The detector misses cells and detects other objects. Another
    smear of the same woman would contain other cells.

    The class of the slide comes from a rule for images that share a class. Most cells of most
    abnormal slides are normal. Therefore "mean", "mean_log_probability" and "vote" call such a
    slide normal, and "noisy_or" gives equal probabilities once there are many cells of each kind.
    The worst finding and the abnormal share answer the clinical question better.

    Args:
      path: path of the field or slide for the table.
      size: width and height in pixels of the finest level.
      mpp: micrometres per pixel of the finest level; None if unknown.
      probabilities: float64 [n, C], one row per cell, in the order of the cell numbers, which
        start at 1. n may be 0.
      severity: the C classes and their order.
      min_probability: minimum probability for a class to count as the worst finding, 0 to 1.
      rule: one of `statistics.aggregation.RULES`.

    Returns:
      `columns(severity)` to their values. Without cells, shares and probabilities are None; if no
      class reaches `min_probability`, the worst finding is None.

    Raises:
      InputError: the rule or `min_probability` is invalid.
      ValueError: the shape of the probabilities does not fit the classes.
    """
    _check(probabilities, severity)
    check_number("--min_probability", min_probability, 0, 1)
    if rule not in RULES:
        raise InputError(f"--aggregate={rule}: choose one of {', '.join(RULES)}.")
    names, total = severity.class_names, len(probabilities)
    counts = np.bincount(probabilities.argmax(1), minlength=len(names)).tolist()
    row: dict[str, Any] = {"path": path, "width": size[0], "height": size[1], "mpp": mpp}
    row |= {"cells": total}
    row |= {f"{COUNT}{name}": count for name, count in zip(names, counts, strict=True)}
    if severity.abnormal is not None:
        row |= dict(zip(ABNORMAL, _share(counts, severity.abnormal), strict=True))
    if severity.known:
        name, probability, cell = severity.worst(probabilities, min_probability) or ("", None, None)
        number = None if cell is None else cell + 1
        row |= dict(zip(WORST, (name, probability, number, min_probability), strict=True))
    row |= {"rule": rule, "class": ""} | {f"{PREFIX}{name}": None for name in names}
    if total:
        joined = RULES[rule](probabilities)
        row["class"] = names[int(joined.argmax())]
        row |= {f"{PREFIX}{name}": float(p) for name, p in zip(names, joined, strict=True)}
    chosen = (suspicious(probabilities, severity, min_probability) + 1).tolist()
    return row | {"suspicious": "|".join(map(str, chosen))}


def _share(
    counts: Sequence[int], abnormal: np.ndarray
) -> tuple[float, float, float] | tuple[None, None, None]:
    """The share of cells with an abnormal class, and its interval."""
    total, found = sum(counts), int(np.dot(counts, abnormal))
    return (found / total, *wilson_interval(found, total)) if total else (None, None, None)


def suspicious(
    probabilities: np.ndarray,
    severity: Severity,
    min_probability: float = 0.5,
    most: int = MOST_SUSPICIOUS,
) -> np.ndarray:
    """The cells to look at first.

    If abnormal classes are known, these are the cells with the greatest probability of being
    abnormal; ties go to the more severe class. If only an order is known, these are the cells with
    the most severe class that reaches `min_probability`, sorted by the probability of that class or
    a more severe one; cells of the least severe class are sorted by that of all other classes.
    Remaining ties go to the earlier cell.

    Args:
      probabilities: float64 [n, C].
      severity: the C classes and their order.
      min_probability: minimum probability for a class to count, 0 to 1.
      most: maximum number of cells.

    Returns:
      int64 [m], m at most `most`: indices into `probabilities`, from 0, the most suspicious first;
      a cell's number is one more. Empty if neither an order nor abnormal classes are known.
    """
    _check(probabilities, severity)
    if severity.abnormal is None and not severity.known:
        return np.zeros(0, np.int64)
    reached, beyond = _worst_of_each(probabilities, severity, min_probability)
    keys = [beyond.round(DIGITS), reached]  # the last key has the highest priority
    if severity.abnormal is not None:
        keys.append(probabilities[:, severity.abnormal].sum(1).round(DIGITS))
    # The sort is stable, so equal cells keep their order.
    return np.lexsort([-key for key in keys])[:most]


def _worst_of_each(
    probabilities: np.ndarray, severity: Severity, least: float
) -> tuple[np.ndarray, np.ndarray]:
    """Rank int [n] of each cell's most severe class that reaches `least`, and a float [n].

    The float is the probability of that class or a more severe one; in the lowest rank, and if no
    class reaches `least`, that of all more severe classes.
    """
    ranks = severity.ranks
    low = int(ranks.min())
    reached = np.where(probabilities >= least, ranks, low).max(1, initial=low)
    beyond = np.zeros(len(probabilities))
    for rank in np.unique(ranks).tolist():
        worse = ranks > rank if rank == low else ranks >= rank
        of_rank = reached == rank
        beyond[of_rank] = probabilities[of_rank][:, worse].sum(1)
    return reached, beyond


def _check(probabilities: np.ndarray, severity: Severity) -> None:
    classes = len(severity.class_names)
    if probabilities.ndim != 2 or probabilities.shape[1] != classes:
        raise ValueError(f"{probabilities.shape} are no probabilities of {classes} classes")
