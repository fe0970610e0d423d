"""From the cells of a field or slide to its one row: counts, share, worst lesion, class.

    row = summarise("a.svs", size=(40_000, 30_000), mpp=0.25, probabilities=p, severity=order)
    rows = suspicious(p, order)     # of the cells to look at first

What is counted are the cells that the detector found. A cell has the class that is most probable
for it.
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
DIGITS = 6  # of probabilities in tables, too: cells that a table shows as equal rank as equal
ABNORMAL = ("abnormal", "abnormal_low", "abnormal_high")
WORST = ("worst", "worst_probability", "worst_cell", "min_probability")


def columns(severity: Severity) -> list[str]:
    """Columns of a row that `summarise` makes, in its order."""
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

    The interval of the abnormal share is Wilson's, of the share among the cells that were found on
    this slide, as if each were an independent draw. So it leaves out that neighbouring cells and
    cells of one cluster resemble each other, which makes the true interval wider; that the network
    errs, more often on one class than on another, so that even a share of a million cells is no
    share of abnormal cells; that the detector misses cells and takes other things for cells; and
    that another smear of the same woman would hold other cells.

    The class of the slide comes from a rule for images that share a class. Most cells of most
    abnormal slides are normal, so "mean", "mean_log_probability" and "vote" call such a slide
    normal, and "noisy_or" ends at equal probabilities once there are many cells of each kind. The
    worst lesion and the abnormal share answer the clinical question better.

    Args:
      path: of the field or slide, as the table shall have it.
      size: its width and height in pixels of its finest level.
      mpp: micrometres a pixel there; None where nobody knows.
      probabilities: float64 [n, C], a row for each cell, in the order of their numbers, which
        begin at 1. n may be 0.
      severity: the C classes and their order.
      min_probability: what a class needs in some cell to count as the worst, 0 to 1.
      rule: one of `statistics.aggregation.RULES`.

    Returns:
      `columns(severity)` to their values. None where there is nothing to tell: shares and
      probabilities of no cells, and the worst lesion where no class reaches `min_probability`.

    Raises:
      InputError: the rule or `min_probability` is none.
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
    """The share of the abnormal classes and its interval."""
    total, found = sum(counts), int(np.dot(counts, abnormal))
    return (found / total, *wilson_interval(found, total)) if total else (None, None, None)


def suspicious(
    probabilities: np.ndarray,
    severity: Severity,
    min_probability: float = 0.5,
    most: int = MOST_SUSPICIOUS,
) -> np.ndarray:
    """The cells that one should look at first.

    Where abnormal classes are known: those with the greatest probability of being abnormal; of
    equal ones, the worse. Where only an order is known: those with the worst class that reaches
    `min_probability`, and of these the ones with the greatest probability of that or worse; in the
    least severe class, of anything worse. Of cells that are still equal, the earlier one.

    Args:
      probabilities: float64 [n, C].
      severity: the C classes and their order.
      min_probability: what a class needs to count, 0 to 1.
      most: how many at most.

    Returns:
      int64 [m], m at most `most`: rows of `probabilities` from 0 on, the most suspicious first; a
      cell's number is one more. Empty where neither an order nor abnormal classes are known.
    """
    _check(probabilities, severity)
    if severity.abnormal is None and not severity.known:
        return np.zeros(0, np.int64)
    reached, beyond = _worst_of_each(probabilities, severity, min_probability)
    keys = [beyond.round(DIGITS), reached]  # the last one counts first
    if severity.abnormal is not None:
        keys.append(probabilities[:, severity.abnormal].sum(1).round(DIGITS))
    # Stable, so that equal cells stay in their order.
    return np.lexsort([-key for key in keys])[:most]


def _worst_of_each(
    probabilities: np.ndarray, severity: Severity, least: float
) -> tuple[np.ndarray, np.ndarray]:
    """Rank int [n] of each cell's worst class that reaches `least`, and float [n] of it or worse.

    In the lowest rank, and where none is reached, the latter is of anything worse than that.
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
