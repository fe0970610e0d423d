"""The usual metrics of one set of predictions."""

import numpy as np
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

from cervix_jax.statistics.intervals import wilson_interval
from cervix_jax.statistics.scores import negative_log_likelihood


def classification_report(
    labels: np.ndarray, probabilities: np.ndarray, class_names: tuple[str, ...]
) -> dict:
    """Final metrics of one set of predictions.

    Args:
      labels: int [N].
      probabilities: float [N, C].
      class_names: C names.

    Returns:
      JSON-ready dict: `n, accuracy, accuracy_interval` (Wilson, 95 %), `balanced_accuracy`
      (mean recall over the classes that occur), `macro_f1`, `nll` (mean negative log-likelihood),
      `confusion_matrix` (rows true, columns predicted) and `per_class` with `precision, recall,
      f1, support`. A ratio whose denominator is 0 counts as 0.
    """
    classes = np.arange(len(class_names))
    predicted = probabilities.argmax(-1)
    correct = int((predicted == labels).sum())
    columns = np.array(
        precision_recall_fscore_support(labels, predicted, labels=classes, zero_division=0)
    )
    names = ("precision", "recall", "f1", "support")
    return {
        "n": len(labels),
        "accuracy": correct / max(len(labels), 1),
        "accuracy_interval": list(wilson_interval(correct, len(labels))),
        "balanced_accuracy": float(columns[1][np.unique(labels)].mean()),
        "macro_f1": float(columns[2].mean()),
        "nll": float(negative_log_likelihood(labels, probabilities).mean()),
        "class_names": list(class_names),
        "confusion_matrix": confusion_matrix(labels, predicted, labels=classes).tolist(),
        "per_class": {
            class_name: {
                name: (int if name == "support" else float)(column[index])
                for name, column in zip(names, columns, strict=True)
            }
            for index, class_name in enumerate(class_names)
        },
    }
