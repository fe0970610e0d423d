"""Cues of errors: distance of a field from the training fields, and its most similar class."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from cervix_jax.data.divide import split_dataset  # noqa: E402

if TYPE_CHECKING:
    from block_errors import Cells


def nearest(
    cells: "Cells", values: np.ndarray, splits: list[np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Nearest training fields of the test cells of every fold.

    Args:
      cells: all cells.
      values: [N, K], features of every cell, averaged by field.
      splits: "train", "val" or "test" of every cell, by fold.

    Returns:
      float [N], distance to the nearest training field of the cell's class; int [N], the class of
      the nearest training field of any.
    """
    own, said = np.full(len(cells.labels), np.nan), np.full(len(cells.labels), -1)
    count = np.bincount(cells.field)
    means = np.stack([np.bincount(cells.field, weights=v) / count for v in values.T], axis=1)
    class_of = np.zeros(len(means), int)
    class_of[cells.field] = cells.labels
    for split in splits:
        fields = np.unique(cells.field[split == "train"])
        scale = means[fields].std(0)
        test = np.flatnonzero(split == "test")
        for field in np.unique(cells.field[test]):
            distance = np.linalg.norm((means[fields] - means[field]) / scale, axis=1)
            rows = test[cells.field[test] == field]
            own[rows] = distance[class_of[fields] == class_of[field]].min()
            said[rows] = class_of[fields][distance.argmin()]
    return own, said


def by_size(cells: "Cells") -> tuple[np.ndarray, np.ndarray]:
    """Size of each test cell in standard deviations from its class mean; most similar class."""
    deviation, said = np.full(len(cells.labels), np.nan), np.full(len(cells.labels), -1)
    for split in cells.splits:
        train, test = split == "train", np.flatnonzero(split == "test")
        sizes = [cells.size[train & (cells.labels == c)] for c in range(len(cells.names))]
        mean, spread = np.array([s.mean() for s in sizes]), np.array([s.std() for s in sizes])
        score = (cells.size[test][:, None] - mean) / spread
        said[test] = (-0.5 * score**2 - np.log(spread)).argmax(1)
        deviation[test] = score[np.arange(len(test)), cells.labels[test]]
    return deviation, said


def cues_of(cells: "Cells") -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """All cues: a distance for each cell, and the class predicted by the cue alone."""
    both = np.hstack([cells.stain, cells.sharp])
    return {
        "stain": nearest(cells, cells.stain, cells.splits),
        "sharpness": nearest(cells, cells.sharp, cells.splits),
        "stain and sharpness": nearest(cells, both, cells.splits),
        "size": by_size(cells),
    }


def where_fields_are_mixed(cells: "Cells", folds: int = 5) -> dict[str, float]:
    """Nearest fields by stain if neighbouring fields are in training, as under `cluster`."""
    splits = [split_dataset(cells.dataset, protocol="cluster", fold=f) for f in range(folds)]
    found = {}
    for name, given in (("block", cells.splits), ("cluster", splits)):
        own, said = nearest(cells, cells.stain, given)
        found[f"{name}: median distance to the nearest field of its class"] = float(np.median(own))
        found[f"{name}: stain alone names the true class"] = float((said == cells.labels).mean())
    return {name: round(value, 3) for name, value in found.items()}


def along(cells: "Cells", chosen: np.ndarray, values: np.ndarray, parts: int = 5) -> dict[str, Any]:
    """Error rate by a quantity: by fifths, Spearman correlation, AUROC for errors."""
    rows = np.flatnonzero(chosen & np.isfinite(values))
    value, error = values[rows], cells.error[rows]
    edges = np.quantile(value, np.linspace(0, 1, parts + 1))
    part = np.clip(np.searchsorted(edges, value, side="right") - 1, 0, parts - 1)
    rates = [float(error[part == p].mean()) if (part == p).any() else None for p in range(parts)]
    return {
        "edges": [round(float(edge), 3) for edge in edges],
        "error_rates": [None if rate is None else round(rate, 4) for rate in rates],
        "spearman": round(float(spearmanr(value, error)[0]), 3),
        "auroc_of_an_error": round(float(roc_auc_score(error, value)), 3),
    }


def named(cells: "Cells", chosen: np.ndarray, said: np.ndarray) -> dict[str, float]:
    """Accuracy of a cue alone, on correctly classified cells and on errors."""
    right, wrong = chosen & ~cells.error, chosen & cells.error
    return {
        "the_true_class_of_all": round(float((said == cells.labels)[chosen].mean()), 3),
        "the_true_class_of_right_cells": round(float((said == cells.labels)[right].mean()), 3),
        "the_true_class_of_errors": round(float((said == cells.labels)[wrong].mean()), 3),
        "the_class_that_errors_are_called": round(float((said == cells.called)[wrong].mean()), 3),
    }
