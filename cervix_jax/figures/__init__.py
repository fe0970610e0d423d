"""Pictures of numbers: plots, the letters that fonts have, and figures that fit their texts.

`cervix_jax.figures.html` has what pages share.
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
