"""Positions of nuclei as peaks of a detector's probability map."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from cervix_jax.models.nucleus_detector import STRIDE

# In pixels of the map, which are about a micrometre wide: the blur that smooths the top of a
# nucleus, the minimum distance of peaks, and the reach of the blur. Blur and distance gave the best
# recall on validation fields of CRIC.
SIGMA, APART, TAPS = 1.0, 2, 3


class Found(NamedTuple):
    """Nuclei of an image, the most probable first.

    Attributes:
      positions: float64 [n, 2], x and y in pixels of the image, (0, 0) its upper left corner.
      scores: float64 [n], from 0 to 1.
    """

    positions: np.ndarray
    scores: np.ndarray


@jax.jit
def peak_scores(logits: jax.Array) -> jax.Array:
    """The probability of a nucleus where it is a local maximum, and 0 elsewhere.

    Args:
      logits: float [B, h, w, 2], of background and nucleus.

    Returns:
      float32 [B, h, w], of the blurred probability.
    """
    probability = jax.nn.softmax(logits.astype(jnp.float32))[..., 1]
    taps = jnp.exp(-0.5 * (jnp.arange(-TAPS, TAPS + 1) / SIGMA) ** 2)
    taps = taps / taps.sum()
    for axis in (1, 2):
        width = [(0, 0)] * 3
        width[axis] = (TAPS, TAPS)
        padded = jnp.pad(probability, width, mode="edge")
        length = probability.shape[axis]
        shifted = [
            taps[k] * lax.slice_in_dim(padded, k, k + length, axis=axis)
            for k in range(2 * TAPS + 1)
        ]
        probability = jnp.sum(jnp.stack(shifted), axis=0)
    window = (1, 2 * APART + 1, 2 * APART + 1)
    highest = lax.reduce_window(probability, -jnp.inf, lax.max, window, (1, 1, 1), "SAME")
    return jnp.where(probability >= highest, probability, 0.0)


def found_in(scores: np.ndarray, least: float) -> Found:
    """The nuclei of one map of `peak_scores`, float [h, w], with at least the score `least`."""
    rows, columns = np.nonzero(scores >= max(least, 1e-6))
    values = scores[rows, columns].astype(np.float64)
    order = np.argsort(-values, kind="stable")
    places = np.stack([columns, rows], axis=1)[order]
    # A map pixel has the label of the image pixel at its middle, see `runs.inference.thinned`.
    return Found(places * STRIDE + STRIDE // 2 + 0.5, values[order])
