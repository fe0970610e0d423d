"""Temperature scaling: one parameter, fitted on validation predictions only.

Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, section 4.2.
"""

import dataclasses
from typing import Any

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

from cervix_jax.statistics.scores import SMALLEST
from cervix_jax.statistics.table import PredictionTable

LOWEST, HIGHEST = 0.05, 20.0


@dataclasses.dataclass(frozen=True)
class Temperature:
    """Divisor of the logits; above 1 if the model was overconfident.

    Attributes:
      value: in [0.05, 20].
      n: number of predictions it was fitted on.
      problem: why it does not maximise the likelihood; else "".
    """

    value: float
    n: int
    problem: str = ""


def scaled(table: PredictionTable, temperature: float) -> PredictionTable:
    """Predictions with their logits divided by a temperature; predicted classes stay the same."""
    return table.with_probabilities(np.exp(log_softmax(_logits(table) / temperature, axis=-1)))


def fit_temperature(validation: PredictionTable) -> Temperature:
    """Fit the temperature of maximum likelihood; the problem is convex in 1/T.

    If every prediction is right, the likelihood grows without limit as T falls, and 1 is kept.

    Args:
      validation: labelled predictions on images used neither to train the model nor to test it.
    """
    logits, rows = _logits(validation), np.arange(len(validation.labels))
    if validation.correct.all():
        return Temperature(1.0, len(rows), "every validation prediction is right; kept at 1")

    def loss(inverse: float) -> float:
        return float(-log_softmax(logits * inverse, axis=-1)[rows, validation.labels].mean())

    low, high = 1 / HIGHEST, 1 / LOWEST
    found: Any = minimize_scalar(
        loss, bounds=(low, high), method="bounded", options={"xatol": 1e-7}
    )
    inverse = float(found.x)
    at_bound = min(inverse - low, high - inverse) < 1e-4
    problem = (
        "at a bound of the search range; the best temperature lies beyond it" if at_bound else ""
    )
    return Temperature(1 / inverse, len(rows), problem)


def _logits(table: PredictionTable) -> np.ndarray:
    """Logits up to a constant per row, which does not change the softmax.

    Probabilities are cut off below at the same value as in the log-likelihood.
    """
    if table.logits is not None:
        return table.logits
    return np.log(np.maximum(table.probabilities, SMALLEST))
