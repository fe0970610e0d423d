"""Infidelity: does the map predict the change of the score under perturbations of the image?

Yeh et al. (2019), "On the (In)fidelity and Sensitivity of Explanations", definition 2.1.
"""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from cervix_jax import rng
from cervix_jax.errors import InputError, check_count
from cervix_jax.explain.baselines import Baselines
from cervix_jax.explain.batches import score_samples
from cervix_jax.explain.function import LogitsFn, Output
from cervix_jax.explain.measures.maps import Ids, check_call, checked_ids

# (key, image [H, W, 3]) -> the perturbation subtracted from it, [H, W, 3]; hashable, traceable.
Perturbation = Callable[[jax.Array, jax.Array], jax.Array]


@dataclasses.dataclass(frozen=True)
class GaussianNoise:
    """Independent normal noise on every value.

    Attributes:
      deviation: standard deviation in the units of the images.
    """

    deviation: float = 0.2

    def __call__(self, key: jax.Array, image: jax.Array) -> jax.Array:
        """The noise, float32 [H, W, 3]."""
        return self.deviation * jax.random.normal(key, image.shape, image.dtype)


@dataclasses.dataclass(frozen=True)
class SquareRemoval:
    """Replaces a square at a random position by a constant (Yeh et al., section 3.2).

    Attributes:
      side: side of the square in pixels; at most the height and width.
      value: the constant, in the units of the images.
    """

    side: int
    value: float = 0.0

    def __call__(self, key: jax.Array, image: jax.Array) -> jax.Array:
        """The image minus the constant inside the square, 0 outside, float32 [H, W, 3]."""
        height, width = image.shape[:2]
        if not 1 <= self.side <= min(height, width):
            raise InputError(
                f"SquareRemoval(side={self.side}): give 1 to {min(height, width)} pixels."
            )
        ends = jnp.array([height - self.side + 1, width - self.side + 1])
        top, left = jax.random.randint(key, (2,), 0, ends)
        row, column = jnp.arange(height)[:, None], jnp.arange(width)[None]
        inside = (row >= top) & (row < top + self.side)
        inside &= (column >= left) & (column < left + self.side)
        return jnp.where(inside[..., None], image - self.value, 0)


@dataclasses.dataclass(frozen=True)
class Infidelity:
    """Infidelity of N maps; attributes are float64 [N].

    I is the perturbation, a the map, f the score of image x, and df = f(x) - f(x - I).

    Attributes:
      infidelity: E[(I . a - df)^2], in squared units of the score; low is good.
      beta: the factor on the map with the lowest infidelity, E[(I . a) df] / E[(I . a)^2]; NaN if
        I . a is always 0, as for a map of zeros.
      normalised: infidelity of the map times beta, which does not depend on the map's scale.
      change: E[df^2], the infidelity of a map of zeros, for comparison.
    """

    infidelity: np.ndarray
    beta: np.ndarray
    normalised: np.ndarray
    change: np.ndarray


def infidelity(
    fn: LogitsFn,
    images: ArrayLike,
    targets: ArrayLike,
    maps: ArrayLike,
    *,
    perturbation: Perturbation = GaussianNoise(),
    multiplied_by: ArrayLike | None = None,
    samples: int = 32,
    ids: Ids = None,
    baselines: Baselines = None,
    output: Output = "logit",
    batch_size: int = 32,
    seed: int = 0,
    progress: str = "",
) -> Infidelity:
    """Mean squared error when the change of the score is predicted as I . a, see `Infidelity`.

    Args:
      fn: as for `explain.saliency`.
      images: float [N, H, W, 3].
      targets: int [N], or one class for all.
      maps: float [N, H, W, 3], not reduced; or [N, H, W], used for every channel.
      perturbation: makes I: `GaussianNoise`, `SquareRemoval` or your own function.
      multiplied_by: the factor by which the method multiplied the gradients, broadcastable to the
        images: the image for `input_x_gradient`, and the image minus the baseline for
        `integrated_gradients`. The map is divided by it, since I . a needs gradients; where it is
        0, the gradient counts as 0.
      samples: number of perturbations of each image.
      ids: see `maps.checked_ids`.
      baselines: not used; `perturbation` replaces them.
      output: the score that the maps explain.
      batch_size: perturbed images in one batch.
      seed: random seed of the perturbations.
      progress: label of the progress bar.

    Raises:
      InputError: an argument is invalid.
    """
    del baselines
    fn, examples, values = check_call(fn, images, targets, maps, output)
    examples["slopes"] = _sensitivities(values, examples["images"], multiplied_by)
    examples["ids"] = np.asarray(checked_ids(ids, len(values)), np.int32)
    check_count("samples", samples)
    scores, _, predicted = score_samples(
        _take_away,
        fn,
        examples,
        np.int32(seed),
        output=output,
        samples=1 + samples,  # the first is the image itself
        batch_size=batch_size,
        progress=progress,
        perturbation=perturbation,
    )
    change = scores[:, :1] - scores[:, 1:]
    predicted = predicted[:, 1:].astype(np.float64)
    power = (predicted**2).mean(axis=1)
    beta = np.full(len(change), np.nan)
    np.divide((predicted * change).mean(axis=1), power, out=beta, where=power > 0)
    best = np.nan_to_num(beta)[:, None] * predicted
    return Infidelity(
        infidelity=((predicted - change) ** 2).mean(axis=1),
        beta=beta,
        normalised=((best - change) ** 2).mean(axis=1),
        change=(change**2).mean(axis=1),
    )


def _sensitivities(
    maps: np.ndarray, images: np.ndarray, multiplied_by: ArrayLike | None
) -> np.ndarray:
    maps = np.broadcast_to(maps if maps.ndim == 4 else maps[..., None], images.shape)
    if multiplied_by is not None:
        try:
            factor = np.broadcast_to(np.asarray(multiplied_by, np.float64), maps.shape)
        except ValueError:
            raise InputError(
                f"multiplied_by has shape {np.shape(multiplied_by)}; give an array that broadcasts "
                f"to the images, {images.shape}."
            ) from None
        maps = np.divide(maps, factor, out=np.zeros(maps.shape), where=factor != 0)
    return maps.astype(np.float32)


def _take_away(examples, sample, seed, *, perturbation):
    def one(image: jax.Array, slopes: jax.Array, own: jax.Array, number: jax.Array):
        key = jax.random.fold_in(rng.stream(seed, "infidelity", own), number - 1)
        taken = jnp.where(number > 0, perturbation(key, image), 0)
        return image - taken, jnp.sum(taken * slopes)

    return jax.vmap(one)(examples["images"], examples["slopes"], examples["ids"], sample)
