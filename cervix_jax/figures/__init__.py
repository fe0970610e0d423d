"""Figures: plots, fonts for class names, and layouts that adapt to the length of texts.

`cervix_jax.figures.html` has the common parts of HTML pages.
"""

from cervix_jax.figures.fitting import LABEL_SIZE, save, wrap, wrapped
from cervix_jax.figures.letters import drawable, letter
from cervix_jax.figures.plots import (
    confusion_matrix,
    decision_curves,
    detection_curves,
    grouped_bars,
    intervals,
    learning_curves,
    reliability,
    roc_curves,
    runs_learning_curves,
)

__all__ = [
    "LABEL_SIZE",
    "confusion_matrix",
    "decision_curves",
    "detection_curves",
    "drawable",
    "grouped_bars",
    "intervals",
    "learning_curves",
    "letter",
    "reliability",
    "roc_curves",
    "runs_learning_curves",
    "save",
    "wrap",
    "wrapped",
]
