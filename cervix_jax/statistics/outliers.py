"""Scores for out-of-distribution images, and how well they detect another data set."""

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.special import logsumexp

from cervix_jax.errors import InputError
from cervix_jax.statistics.intervals import resampled
from cervix_jax.statistics.ranking import auroc_and_average_precision
from cervix_jax.statistics.resampling import Resamples
from cervix_jax.statistics.table import PredictionTable


def max_softmax(table: PredictionTable) -> np.ndarray:
    """1 - maximum probability (Hendrycks and Gimpel 2017), float [N]; higher is less familiar."""
    return 1 - table.probabilities.max(-1)


def energy(table: PredictionTable) -> np.ndarray:
    """-log sum exp of the logits (Liu et al. 2020, eq. 4, T = 1), float [N].

    Higher is less familiar.

    Raises:
      InputError: the logits are unknown; they cannot be recovered from probabilities.
    """
    if table.logits is None:
        raise InputError("the energy needs logits, which these predictions do not have.")
    return -logsumexp(table.logits, axis=-1)


SCORES: dict[str, Callable[[PredictionTable], np.ndarray]] = {
    "max_softmax": max_softmax,
    "energy": energy,
}


def outlier_report(
    known: PredictionTable, strange: PredictionTable, *, seed: int = 0
) -> dict[str, Any]:
    """How well each score separates out-of-distribution images from the model's test images.

    Args:
      known: predictions on the model's own test images.
      strange: predictions of the same model on images of another data set; labels are not used.
      seed: seed of the bootstrap. Groups of both sets are resampled together, so the shares of the
        two vary; the AUROC does not depend on these shares.

    Returns:
      `n` and, per score, the AUROC with its interval; an entry with `why` if logits are missing.
    """
    groups = [*(f"known {g}" for g in known.groups), *(f"strange {g}" for g in strange.groups)]
    resamples = Resamples(groups, seed=seed)
    is_strange = np.repeat([False, True], [len(known.labels), len(strange.labels)])
    report: dict[str, Any] = {"n": len(known.labels), "n_outliers": len(strange.labels)}
    for name, score in SCORES.items():
        if name == "energy" and (known.logits is None or strange.logits is None):
            undefined = np.full(1, np.nan)
            report[name] = resampled(
                undefined, len(is_strange), resamples.num_groups, "the logits were not stored"
            )
            continue
        values = np.concatenate([score(known), score(strange)])
        auroc, _ = auroc_and_average_precision(resamples, values, is_strange)
        report[name] = resampled(
            auroc,
            len(is_strange),
            resamples.num_groups,
            "no in-distribution or no out-of-distribution predictions",
        )
    return report
