"""Temperature and threshold fitted on validation images, for predicting unlabelled images."""

import dataclasses
import json
import math
from pathlib import Path

import numpy as np

from cervix_jax.errors import InputError
from cervix_jax.statistics.conformal import lac_scores


@dataclasses.dataclass(frozen=True)
class Validation:
    """Decisions fitted for the same weights, or the reason why there are none.

    Attributes:
      temperature: divisor of the logits, or None.
      threshold: greatest score 1 - p of a class in a conformal set, or None.
      missing: reason if both are None, else "".
    """

    temperature: float | None = None
    threshold: float | None = None
    missing: str = ""

    def sets(self, raw: np.ndarray) -> np.ndarray | None:
        """Conformal sets as bool [n, C] of uncalibrated probabilities [n, C]; see `conformal`."""
        return None if self.threshold is None else lac_scores(raw) <= self.threshold


def read_validation(workdir: Path | None, step: int, coverage: float) -> Validation:
    """Read `evaluate/test_decisions.json`, if it is of the same step.

    Args:
      workdir: the run's folder; None for a run in memory, which has none.
      step: the training step of the weights.
      coverage: target coverage of conformal sets.

    Raises:
      InputError: the file is damaged, or has no sets of that coverage.
    """
    if workdir is None:
        return Validation(missing="the run has no folder, so it has no evaluation")
    folder = workdir / "evaluate"
    path = folder / "test_decisions.json"
    if not path.is_file():
        return Validation(
            missing=f"{path} does not exist; `python -m cervix_jax.evaluate --workdir={workdir}` "
            "makes it if the run has enough validation images"
        )
    try:
        decided_at = json.loads((folder / "test.json").read_text(encoding="utf-8"))["step"]
        decisions = json.loads(path.read_text(encoding="utf-8"))
        temperature = float(decisions["temperature"]["temperature"])
        thresholds = {
            row["target"]: math.inf if row["threshold"] is None else float(row["threshold"])
            for row in decisions["conformal"]["lac"]
        }
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path}: cannot be used ({type(error).__name__}: {error}); evaluate the run again."
        ) from error
    if decided_at != step:
        return Validation(
            missing=f"{path} is of step {decided_at}, but the weights are of step {step}; "
            f"`python -m cervix_jax.evaluate --workdir={workdir} --step={step}` makes it again"
        )
    if coverage not in thresholds:
        known = ", ".join(f"{target:g}" for target in sorted(thresholds))
        raise InputError(f"--coverage={coverage:g}: {path} has sets for {known}; choose one.")
    return Validation(temperature, thresholds[coverage])
