"""Random predictions that several tests share."""

import numpy as np

from cervix_jax.statistics.table import PredictionTable


def random_table(seed: int, n: int = 60, num_classes: int = 3, num_groups: int = 12):
    """Predictions that know something of the labels, with ties, in groups of unequal sizes."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, num_classes, n)
    logits = random.normal(size=(n, num_classes)) + 1.5 * np.eye(num_classes)[labels]
    logits = np.round(logits, 1)  # so that scores tie
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    return PredictionTable(
        tuple(f"image{i:03d}.png" for i in range(n)),
        np.asarray([f"g{g}" for g in random.integers(0, num_groups, n)]),
        labels,
        probabilities,
        tuple("abcdefgh"[:num_classes]),
        logits,
    )
