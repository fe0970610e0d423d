"""Statistics of confusion matrices, for any number of matrices at once.

Matrices are [..., C, C], rows true and columns predicted; every function reduces the last two axes.
A quotient with denominator 0 is NaN.
"""

from collections.abc import Sequence

import numpy as np


def quotient(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """`numerator / denominator`, NaN if the denominator is 0."""
    numerator, denominator = np.broadcast_arrays(numerator, denominator)
    out = np.full(numerator.shape, np.nan)
    return np.divide(numerator, denominator, out=out, where=denominator != 0)


def mean_defined(values: np.ndarray) -> np.ndarray:
    """Mean over the last axis, without NaN; NaN if all values are NaN."""
    known = ~np.isnan(values)
    return quotient(np.where(known, values, 0.0).sum(-1), known.sum(-1))


def one_v_rest(matrices: np.ndarray) -> dict[str, np.ndarray]:
    """`tp, fp, fn, tn` of each class against the others, each [..., C]."""
    tp = np.diagonal(matrices, axis1=-2, axis2=-1)
    fp, fn = matrices.sum(-2) - tp, matrices.sum(-1) - tp
    return {"tp": tp, "fp": fp, "fn": fn, "tn": matrices.sum((-2, -1))[..., None] - tp - fp - fn}


def accuracy(matrices: np.ndarray) -> np.ndarray:
    """Share of examples on the diagonal."""
    return quotient(np.trace(matrices, axis1=-2, axis2=-1), matrices.sum((-2, -1)))


def balanced_accuracy(matrices: np.ndarray) -> np.ndarray:
    """Mean sensitivity of the classes that occur."""
    counts = one_v_rest(matrices)
    return mean_defined(quotient(counts["tp"], counts["tp"] + counts["fn"]))


def f1(matrices: np.ndarray) -> np.ndarray:
    """F1 of each class [..., C]; NaN for a class that neither occurs nor is predicted."""
    counts = one_v_rest(matrices)
    return quotient(2 * counts["tp"], 2 * counts["tp"] + counts["fp"] + counts["fn"])


def macro_f1(matrices: np.ndarray) -> np.ndarray:
    """Mean F1 of the classes that occur or are predicted."""
    return mean_defined(f1(matrices))


def weighted_f1(matrices: np.ndarray) -> np.ndarray:
    """Mean F1, weighted by the number of examples of each class."""
    support = matrices.sum(-1)
    return quotient((support * np.nan_to_num(f1(matrices))).sum(-1), support.sum(-1))


def matthews(matrices: np.ndarray) -> np.ndarray:
    """Correlation of true and predicted class (Gorodkin 2004, eq. 8), in [-1, 1].

    NaN if all examples, or all predictions, are of one class.
    """
    true, predicted = matrices.sum(-1), matrices.sum(-2)
    total = matrices.sum((-2, -1))
    covariance = total * np.trace(matrices, axis1=-2, axis2=-1) - (true * predicted).sum(-1)
    spread = (total**2 - (true**2).sum(-1)) * (total**2 - (predicted**2).sum(-1))
    return quotient(covariance, np.sqrt(spread))


def kappa(matrices: np.ndarray, disagreement: np.ndarray | None = None) -> np.ndarray:
    """Agreement beyond chance, in [-1, 1] (Cohen 1960; weighted, 1968).

    Args:
      matrices: [..., C, C].
      disagreement: [C, C], cost of each confusion; None gives all the same cost.

    Returns:
      [...]; NaN if agreement by chance is complete (one class).
    """
    if disagreement is None:
        disagreement = 1.0 - np.eye(matrices.shape[-1])
    true, predicted = matrices.sum(-1), matrices.sum(-2)
    total = matrices.sum((-2, -1))[..., None, None]
    by_chance = quotient(true[..., :, None] * predicted[..., None, :], total)
    return 1 - quotient(
        (disagreement * matrices).sum((-2, -1)), (disagreement * by_chance).sum((-2, -1))
    )


def squared_distances(class_names: Sequence[str], order: Sequence[str]) -> np.ndarray:
    """Disagreement for the quadratically weighted kappa, [C, C]: squared difference of ranks."""
    rank = np.asarray([list(order).index(name) for name in class_names], float)
    return (rank[:, None] - rank[None, :]) ** 2
