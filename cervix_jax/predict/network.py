"""The network of a run for predictions, with one batch size and one compiled program."""

from typing import NamedTuple

import numpy as np
from PIL import Image
from scipy.special import softmax

from cervix_jax import distributed
from cervix_jax.data.decode import resize_square
from cervix_jax.errors import InputError
from cervix_jax.runs.inference import probabilities_of
from cervix_jax.runs.run import Run
from cervix_jax.runs.squares import image_scale


class ClassScores(NamedTuple):
    """Output of the network for n images.

    Attributes:
      logits: float32 [n, C].
      raw: float64 [n, C], softmax of the logits, as `evaluate` writes it.
      probabilities: float64 [n, C], the softmax after division by the temperature.
    """

    logits: np.ndarray
    raw: np.ndarray
    probabilities: np.ndarray


class Network:
    """Maps uint8 images to scores.

    Args:
      run: the trained run.
      mpp: pixel size of the images in micrometres, for a run that resizes images to one resolution;
        None uses that of its data set.
      batch_size: images per batch, rounded up so that devices get equal shares; the default is
        that of the run's own evaluation, so both run the same program.
      temperature: divisor of the logits, or None.

    Raises:
      InputError: the batch size is negative, or a required resolution is unknown.
    """

    def __init__(
        self,
        run: Run,
        batch_size: int = 0,
        temperature: float | None = None,
        mpp: float | None = None,
    ):
        self.run, self.temperature = run, temperature
        wanted: int = batch_size or run.config.eval_batch_size
        if wanted < 1:
            raise InputError(f"--batch_size={wanted}: give a positive number of images.")
        self.batch_size = distributed.filled_up(wanted, distributed.make_mesh())
        self.image_size: int = run.config.image_size
        self.resize: str = run.config.data.resize
        self.scale = image_scale(run.config, run.dataset, mpp)

    def square(self, image: np.ndarray | Image.Image) -> np.ndarray:
        """An image, uint8 [H, W, 3] or RGB, as the network's input uint8 [S, S, 3]."""
        return resize_square(image, self.image_size, self.resize, self.scale)

    def __call__(self, images: np.ndarray) -> ClassScores:
        """Scores of uint8 [n, S, S, 3], n from 1 to the batch size."""
        count = len(images)
        # Batches are always full, so that the last one runs the same program as the others.
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
        """The facts that decide its predictions; a resumed command must have the same."""
        return {
            "weights": self.run.weights_digest(),
            "step": self.run.step,
            "class_names": list(self.run.class_names),
            "image_size": self.image_size,
            "resize": self.resize,
            **({} if self.scale is None else {"scale": self.scale}),
            "normalization": self.run.config.model.normalization,
            "batch_size": self.batch_size,
            "temperature": self.temperature,
        }
