"""Rules that predict the worst finding of a field from its cells, fitted across folds.

The docstring of `fields_or_cells.py` describes the rules; that script compares them with models of
whole fields.
"""

import dataclasses
import sys
from collections.abc import Callable, Mapping

import numpy as np
from scipy.special import logit
from sides import ROOT
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

sys.path.insert(0, str(ROOT))

from cervix_jax.data import classes
from cervix_jax.errors import InputError
from cervix_jax.statistics import confusion
from cervix_jax.statistics.table import PredictionTable

DEPTH = 3  # maximum number of cells of a field that a rule uses
GRID = np.arange(1, 20) / 20
SEVERITY = classes.CRIC.names
STEPS = confusion.squared_distances(SEVERITY, SEVERITY)


@dataclasses.dataclass(frozen=True)
class Fields:
    """Predictions for F fields, from their cells or from the whole field.

    Attributes:
      names: F names.
      labels: int [F], in the order of `SEVERITY`.
      folds: int [F], the fold that tests each field.
      worst: int [F], the worst of the predicted classes of the cells.
      reached: float [F, DEPTH, C - 1], the k-th largest probability of at least class 1, 2, ...; 0
        if a field has fewer cells.
      features: float [F, D], features of the logistic regression.
    """

    names: tuple[str, ...]
    labels: np.ndarray
    folds: np.ndarray
    worst: np.ndarray
    reached: np.ndarray
    features: np.ndarray

    def take(self, rows: np.ndarray) -> "Fields":
        """The same for some of the fields."""
        return Fields(
            tuple(np.asarray(self.names)[rows]),
            *(getattr(self, f.name)[rows] for f in dataclasses.fields(self)[1:]),
        )


def gather(tables: Mapping[int, PredictionTable]) -> Fields:
    """Fields from the predictions of cells, or of fields, by fold.

    Raises:
      InputError: the classes are not CRIC's, or a field is in several folds.
    """
    rows: list[tuple[str, int, int, int, np.ndarray, np.ndarray]] = []
    for fold, table in tables.items():
        if sorted(table.class_names) != sorted(SEVERITY):
            raise InputError(
                f"fold {fold}: the classes are {', '.join(table.class_names)}, not CRIC's six; "
                "give runs of cric/cell and cric/field."
            )
        table = table.in_order_of(SEVERITY)
        for name in np.unique(table.groups).tolist():
            own = table.groups == name
            p = table.probabilities[own]
            at_least = np.clip(p[:, ::-1].cumsum(1)[:, ::-1][:, 1:], 1e-6, 1 - 1e-6)
            falling = -np.sort(-at_least, axis=0)
            reached = np.zeros((DEPTH, len(SEVERITY) - 1))
            reached[: len(falling)] = falling[:DEPTH]
            odds = logit(falling)
            features = np.concatenate([odds[0], odds[:DEPTH].mean(0), odds.mean(0)])
            worst = int(p.argmax(1).max())
            rows.append((name, int(table.labels[own].max()), fold, worst, reached, features))
    rows.sort(key=lambda row: row[0])
    names, labels, folds, worst, reached, features = zip(*rows, strict=True)
    if len(set(names)) < len(names):
        raise InputError("a field is in several folds; give one cross-validation by field.")
    return Fields(names, *map(np.asarray, (labels, folds, worst, reached, features)))


Rule = Callable[[Fields], tuple[np.ndarray, np.ndarray]]
"""Gives of F fields the class, int [F], and how abnormal each is, float [F]."""


def kappa(labels: np.ndarray, predicted: np.ndarray) -> float:
    """Quadratic kappa; -1 if undefined."""
    size = len(SEVERITY)
    matrix = np.bincount(labels * size + predicted, minlength=size * size).reshape(size, size)
    return float(np.nan_to_num(confusion.kappa(matrix[None], STEPS), nan=-1.0)[0])


def _passed(reached: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """The worst class whose threshold is reached, from float [F, C - 1]."""
    passed = reached >= thresholds
    return np.where(passed.any(1), passed.shape[1] - passed[:, ::-1].argmax(1), 0)


def worst_class(fields: Fields) -> Rule:
    """The worst of the predicted classes; without fitting."""
    return lambda f: (f.worst, f.reached[:, 0, 0])


def one_threshold(fields: Fields) -> Rule:
    """One threshold for all classes."""
    size = len(SEVERITY) - 1
    found = [
        (kappa(fields.labels, _passed(fields.reached[:, k], np.full(size, t))), -k, t)
        for k in range(DEPTH)
        for t in GRID
    ]
    _, k, t = max(found)
    return lambda f: (_passed(f.reached[:, -k], np.full(size, t)), f.reached[:, -k, 0])


def class_thresholds(fields: Fields) -> Rule:
    """A threshold for each class, by coordinate ascent from one threshold for all."""
    best = (-2.0, 0, GRID)
    for k in range(DEPTH):
        reached = fields.reached[:, k]

        def worth(t: np.ndarray, reached: np.ndarray = reached) -> float:
            return kappa(fields.labels, _passed(reached, t))

        start = max(GRID, key=lambda t: worth(np.full(reached.shape[1], t)))
        thresholds = np.full(reached.shape[1], start)
        for _ in range(3):
            for column in range(len(thresholds)):
                tried = np.repeat(thresholds[None], len(GRID) + 1, 0)
                tried[1:, column] = GRID
                thresholds = tried[int(np.argmax([worth(t) for t in tried]))]
        best = max(best, (worth(thresholds), -k, thresholds), key=lambda found: found[:2])
    _, k, chosen = best
    return lambda f: (_passed(f.reached[:, -k], chosen), f.reached[:, -k, 0])


def logistic(weight: str | None) -> Callable[[Fields], Rule]:
    """Multinomial logistic regression; "balanced" gives classes equal weight."""

    def fit(fields: Fields) -> Rule:
        model = make_pipeline(
            StandardScaler(), LogisticRegression(C=0.1, class_weight=weight, max_iter=2000)
        ).fit(fields.features, fields.labels)

        def rule(f: Fields) -> tuple[np.ndarray, np.ndarray]:
            p = model.predict_proba(f.features)
            return model.classes_[p.argmax(1)], 1 - p[:, model.classes_ == 0].sum(1)

        return rule

    return fit


RULES: dict[str, Callable[[Fields], Rule]] = {
    "worst": worst_class,
    "threshold": one_threshold,
    "thresholds": class_thresholds,
    "logistic": logistic(None),
    "balanced logistic": logistic("balanced"),
}


def crossed(fields: Fields, kind: str) -> tuple[np.ndarray, np.ndarray]:
    """Decisions and scores; each fold uses a rule that was fitted on the other folds."""
    decided, score = np.zeros(len(fields.labels), int), np.zeros(len(fields.labels))
    for fold in np.unique(fields.folds):
        inside = np.flatnonzero(fields.folds == fold)
        rule = RULES[kind](fields.take(np.flatnonzero(fields.folds != fold)))
        decided[inside], score[inside] = rule(fields.take(inside))
    return decided, score


def choose(fields: Fields) -> str:
    """The kind of rule with the best cross-validated quadratic kappa."""
    return max(RULES, key=lambda kind: kappa(fields.labels, crossed(fields, kind)[0]))
