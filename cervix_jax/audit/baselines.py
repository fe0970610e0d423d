"""Shortcut baselines: accuracy of random forests that see no cell shape, per split protocol."""

import warnings
from collections.abc import Mapping, Sequence

import numpy as np
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import recall_score

from cervix_jax.progress import Bar

TREES = 100


def balanced_accuracy(labels: np.ndarray, predicted: np.ndarray) -> float:
    """Mean recall over the classes that occur in `labels`, in [0, 1]."""
    occurring = np.unique(labels)
    return float(recall_score(labels, predicted, labels=occurring, average="macro"))


def cross_validate(
    features: np.ndarray,
    labels: np.ndarray,
    splits_by_fold: Sequence[np.ndarray],
    *,
    trees: int = TREES,
    seed: int = 0,
    jobs: int = 0,
) -> list[float]:
    """Balanced accuracy of a random forest on the test part of every fold.

    There are no hyperparameters to tune, so train and val are both used for training.

    Args:
      features: float [N, F].
      labels: int [N].
      splits_by_fold: for every fold str [N] of "train", "val" or "test".
      trees: number of trees of the forest.
      seed: seed of the forest.
      jobs: number of threads; 0 uses every core. The result does not depend on it.

    Returns:
      One value in [0, 1] per fold.
    """
    scores = []
    for splits in splits_by_fold:
        test = splits == "test"
        predicted = predict(features, labels, test, trees=trees, seed=seed, jobs=jobs)
        scores.append(balanced_accuracy(labels[test], predicted))
    return scores


def predict(
    features: np.ndarray,
    labels: np.ndarray,
    test: np.ndarray,
    *,
    trees: int = TREES,
    seed: int = 0,
    jobs: int = 0,
) -> np.ndarray:
    """Classes of the test images, int [n], by a random forest fitted to all other images.

    Args:
      features: float [N, F].
      labels: int [N].
      test: bool [N].
      trees: see `cross_validate`; likewise the next two.
      seed: see there.
      jobs: see there.
    """
    forest = RandomForestClassifier(trees, random_state=seed, n_jobs=jobs or -1)
    with warnings.catch_warnings():
        # 2026-11: scikit-learn's threads warn about its own settings under some joblib versions.
        warnings.filterwarnings("ignore", message=".*sklearn.utils.parallel.delayed.*")
        forest.fit(features[~test], labels[~test])
        return forest.predict(features[test])


def shortcut_table(
    features: Mapping[str, np.ndarray],
    labels: np.ndarray,
    splits: Mapping[str, Sequence[np.ndarray]],
    *,
    trees: int = TREES,
    jobs: int = 0,
    progress: bool = True,
) -> dict[str, dict[str, dict]]:
    """Accuracy of every baseline under every protocol.

    Args:
      features: baseline name to float [N, F].
      labels: int [N].
      splits: protocol name to its folds, see `cross_validate`.
      trees: see `cross_validate`.
      jobs: see there.
      progress: show a progress bar.

    Returns:
      {baseline: {protocol: {"mean", "deviation" (between folds, n - 1), "folds"}}} of balanced
      accuracy; the deviation of a single fold is None.
    """
    table: dict[str, dict[str, dict]] = {name: {} for name in features}
    total = len(features) * sum(len(folds) for folds in splits.values())
    with Bar(total=total, desc="forests", unit="fit", disable=not progress) as bar:
        for name, values in features.items():
            for protocol, folds in splits.items():
                scores = []
                for fold in folds:
                    scores += cross_validate(values, labels, [fold], trees=trees, jobs=jobs)
                    bar.update()
                table[name][protocol] = {
                    "mean": float(np.mean(scores)),
                    "deviation": float(np.std(scores, ddof=1)) if len(scores) > 1 else None,
                    "folds": scores,
                }
    return table


def share_above_chance(score: float, chance: float) -> float:
    """Position of a score between chance (0) and a perfect score (1)."""
    return (score - chance) / (1 - chance)
