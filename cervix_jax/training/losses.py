"""Training losses: pure functions of logits and targets."""

import jax
import numpy as np
import optax
from sklearn.utils.class_weight import compute_class_weight

from cervix_jax.config.fields import CLASS_WEIGHTS
from cervix_jax.errors import check_choice


def class_weights(kind: str, labels: np.ndarray, num_classes: int) -> np.ndarray:
    """Weight of each class in the loss.

    Args:
      kind: "none" gives ones; "balanced" gives N / (K * count), with K the number of classes that
        occur among the labels, so that these classes have equal total weight and the mean over the
        examples is 1. A class without examples has weight 0.
      labels: integer labels [N] of the training split.
      num_classes: number of classes.

    Returns:
      float32 [num_classes].

    Raises:
      InputError: `kind` is unknown.
    """
    check_choice("loss.class_weights", kind, CLASS_WEIGHTS)
    if kind == "none":
        return np.ones(num_classes, np.float32)
    present = np.unique(labels)
    weights = np.zeros(num_classes, np.float32)
    weights[present] = compute_class_weight("balanced", classes=present, y=labels)
    return weights


def cross_entropy(
    logits: jax.Array, targets: jax.Array, weights: jax.Array, *, label_smoothing: float = 0.0
) -> jax.Array:
    """Softmax cross-entropy with soft targets, smoothing and class weights.

    Args:
      logits: float32 [..., C].
      targets: float32 [..., C], rows sum to 1 (one-hot, or mixed by mixup or cutmix). A row of
        zeros contributes no loss.
      weights: float32 [C], weight of each class; an example's weight is its targets' mean weight.
      label_smoothing: share of the target spread evenly over the classes, in [0, 1).

    Returns:
      float32 [...], the loss of each example.
    """
    smooth = optax.smooth_labels(targets, label_smoothing)
    return (targets @ weights) * optax.softmax_cross_entropy(logits, smooth)
