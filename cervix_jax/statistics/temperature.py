"""Temperature scaling: one number, fitted on validation predictions, never on those it judges.

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
    """What logits are divided by: above 1 the model was too sure of itself.

    Attributes:
      value: in [0.05, 20].
      n: number of predictions it was fitted on.
      problem: why it is not the greatest likelihood's, else "".
    """

    value: float
    n: int
    problem: str = ""


def scaled(table: PredictionTable, temperature: float) -> PredictionTable:
    """Predictions with their logits divided by a temperature; no class becomes more probable."""
    return table.with_probabilities(np.exp(log_softmax(_logits(table) / temperature, axis=-1)))


def fit_temperature(validation: PredictionTable) -> Temperature:
    """The temperature of the greatest likelihood; in 1/T the problem is convex.

    Where every prediction is right, the surer the likelier: nothing sets a limit, and 1 is kept.

    Args:
      validation: labelled predictions that neither trained the model nor test it.
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
    problem = "at a bound of the search, which the likelihood would go beyond" if at_bound else ""
    return Temperature(1 / inverse, len(rows), problem)


def _logits(table: PredictionTable) -> np.ndarray:
    """Logits up to a constant per row, which softmax does not see.

    Probabilities are told apart from 0 down to where the log-likelihood does so.
    """
    if table.logits is not None:
        return table.logits
    return np.log(np.maximum(table.probabilities, SMALLEST))
