"""The network of a run as predictions take it: one batch size, one compiled program."""

from typing import NamedTuple

import numpy as np
from scipy.special import softmax

from cervix_jax import distributed
from cervix_jax.errors import InputError
from cervix_jax.runs.inference import probabilities_of
from cervix_jax.runs.run import Run


class ClassScores(NamedTuple):
    """What the network says of n images.

    Attributes:
      logits: float32 [n, C].
      raw: float64 [n, C], softmax of the logits; what `evaluate` writes.
      probabilities: float64 [n, C], the same after the temperature.
    """

    logits: np.ndarray
    raw: np.ndarray
    probabilities: np.ndarray


class Network:
    """Maps uint8 images to scores.

    Args:
      run: the trained run.
      batch_size: images at a time, raised to what the devices share equally; the default is that
        of the run's own evaluation, so that both run the same program.
      temperature: what the logits are divided by, or None.

    Raises:
      InputError: the batch size is negative.
    """

    def __init__(self, run: Run, batch_size: int = 0, temperature: float | None = None):
        self.run, self.temperature = run, temperature
        wanted: int = batch_size or run.config.eval_batch_size
        if wanted < 1:
            raise InputError(f"--batch_size={wanted}: give a positive number of images.")
        self.batch_size = distributed.filled_up(wanted, distributed.make_mesh())
        self.image_size: int = run.config.image_size
        self.resize: str = run.config.data.resize

    def __call__(self, images: np.ndarray) -> ClassScores:
        """Scores of uint8 [n, S, S, 3], n from 1 to the batch size."""
        count = len(images)
        # Always a whole batch, so that the last one runs the same program as the others.
        logits = self.run.logits(self.fill(images), batch_size=self.batch_size)
        raw = probabilities_of(logits)[:count].astype(np.float64)
        logits = logits[:count]
        if self.temperature is None:
            return ClassScores(logits, raw, raw)
        return ClassScores(
            logits, raw, softmax(logits.astype(np.float64) / self.temperature, axis=-1)
        )

    def fill(self, images: np.ndarray) -> np.ndarray:
        """The images, repeated to the size of a batch."""
        return np.resize(images, (self.batch_size, *images.shape[1:]))

    def facts(self) -> dict[str, object]:
        """What decides its predictions, for a later command that goes on."""
        return {
            "weights": self.run.weights_digest(),
            "step": self.run.step,
            "class_names": list(self.run.class_names),
            "image_size": self.image_size,
            "resize": self.resize,
            "normalization": self.run.config.model.normalization,
            "batch_size": self.batch_size,
            "temperature": self.temperature,
        }
