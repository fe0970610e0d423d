"""Baselines: images without evidence, from which a path starts or which replace covered parts.

A baseline is in the space of the model's preprocessed input, in which black is rarely zero.
Therefore `black` and `white` take the range of that space (`run.input_range`). Every method and
measure accepts the same `baselines`:

- an array that broadcasts to the images [N, H, W, 3]: a number, a colour, one image, or one image
  for each;
- a function of the images that returns such an array, such as `mean`;
- several baselines for every image, over which the result is averaged: `uniform` draws them and
  `several` holds given images;
- None, which means `mean`: each image's own mean colour.
"""

import dataclasses
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from cervix_jax import rng
from cervix_jax.data.normalization import InputRange
from cervix_jax.errors import InputError, check_count


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Uniform:
    """`count` images of independent uniform noise between `low` and `high`; see `uniform`."""

    low: jax.Array
    high: jax.Array
    key: jax.Array
    count: int = dataclasses.field(metadata={"static": True})

    def pick(self, number: jax.Array, shape: tuple[int, ...]) -> jax.Array:
        """The baselines of these numbers: int [B] to [B, *shape]."""
        draws = jax.vmap(lambda n: jax.random.uniform(jax.random.fold_in(self.key, n), shape))
        return self.low + (self.high - self.low) * draws(number)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Several:
    """Given baselines, float32 [count, H, W, 3]; see `several`."""

    images: jax.Array

    @property
    def count(self) -> int:
        """Number of baselines."""
        return len(self.images)

    def pick(self, number: jax.Array, shape: tuple[int, ...]) -> jax.Array:
        """The baselines of these numbers: int [B] to [B, *shape]."""
        return jnp.broadcast_to(self.images[number], (len(number), *shape))


Baselines = ArrayLike | Callable[[np.ndarray], ArrayLike] | Uniform | Several | None


def black(input_range: InputRange) -> np.ndarray:
    """The darkest colour that a pixel can have, [3]."""
    return np.asarray(input_range.low, np.float32)


def white(input_range: InputRange) -> np.ndarray:
    """The brightest colour that a pixel can have, [3]; close to the colour of an empty slide."""
    return np.asarray(input_range.high, np.float32)


def mean(images: np.ndarray | jax.Array) -> np.ndarray:
    """Each image's own mean colour, [N, 1, 1, 3]."""
    return np.asarray(images, np.float32).mean((1, 2), keepdims=True)


def blur(images: np.ndarray | jax.Array, sigma: float) -> np.ndarray:
    """Each image blurred by a Gaussian of standard deviation `sigma` pixels, [N, H, W, 3].

    Raises:
      InputError: `sigma` is not positive.
    """
    if not (np.isfinite(sigma) and sigma > 0):
        raise InputError(f"sigma={sigma}: give a positive number of pixels.")
    # One at a time, because memory matters more than speed here.
    blurred = [np.asarray(_blur_one(image, np.float32(sigma))) for image in np.asarray(images)]
    return np.stack(blurred) if blurred else np.zeros(np.shape(images), np.float32)


def uniform(input_range: InputRange, count: int = 10, seed: int = 0) -> Uniform:
    """Images of uniform noise over the range of the input, as in arXiv 2106.00557.

    The paper ("Towards Interpretable Attention Networks for Cervical Cancer Analysis") averages
    integrated gradients over 10 such baselines. The images depend on the seed only and are the same
    for every image. They are drawn on use and are never all in memory at once.

    Raises:
      InputError: `count` is below 1.
    """
    check_count("count", count)
    low, high = (jnp.asarray(value, jnp.float32) for value in input_range)
    return Uniform(low, high, rng.stream(seed, "baselines"), count)


def several(images: np.ndarray | jax.Array) -> Several:
    """Given images [count, H, W, 3] (or [count, 1, 1, 3]), each a baseline for every image.

    Raises:
      InputError: the shape is different, there is no image, or values are not finite.
    """
    values = np.asarray(images, np.float32)
    if values.ndim != 4 or values.shape[-1] != 3 or not len(values):
        raise InputError(f"baselines have shape {list(values.shape)}; give [count, H, W, 3].")
    if not np.isfinite(values).all():
        raise InputError("the baselines have values that are not finite.")
    return Several(jnp.asarray(values))


def gaussian_blur(images: jax.Array, sigma: jax.Array) -> jax.Array:
    """Blurs each image by its own standard deviation; differentiable in the standard deviation.

    Near the border the weights inside the image are scaled to sum to 1, so that a constant image
    does not change.

    Args:
      images: [B, H, W, C].
      sigma: [B], positive, in pixels.
    """

    def weights(size: int) -> jax.Array:
        place = jnp.arange(size, dtype=jnp.float32)
        squared = jnp.square(place[:, None] - place)
        return jax.nn.softmax(-squared / (2 * jnp.square(sigma)[:, None, None]), axis=-1)

    rows, columns = (weights(size) for size in images.shape[1:3])
    high = jax.lax.Precision.HIGHEST
    blurred = jnp.einsum("bhwc,bHh->bHwc", images, rows, precision=high)
    return jnp.einsum("bHwc,bWw->bHWc", blurred, columns, precision=high)


@jax.jit
def _blur_one(image: jax.Array, sigma: jax.Array) -> jax.Array:
    return gaussian_blur(image[None], sigma[None])[0]


def own_baselines(given: Baselines, images: np.ndarray) -> np.ndarray | Uniform | Several:
    """Baselines as an array [N, 1 or H, 1 or W, 1 or 3] of one for each image, or several for all.

    Args:
      given: baselines from the user.
      images: [N, H, W, 3].

    Raises:
      InputError: the baselines do not match the images, or have values that are not finite.
    """
    hint = "give one of explain.baselines, or an array that broadcasts to the images"
    if isinstance(given, Uniform | Several):
        if isinstance(given, Several):
            _check_fit(given.images.shape[1:], images.shape[1:], hint)
        return given
    if given is None or callable(given):
        given = (given or mean)(images)
    try:
        values = np.asarray(given, np.float32)
    except (TypeError, ValueError):
        raise InputError(f"baselines are {given!r}; {hint}.") from None
    _check_fit(values.shape, images.shape, hint)
    if not np.isfinite(values).all():
        raise InputError("the baselines have values that are not finite.")
    values = values.reshape((1,) * (4 - values.ndim) + values.shape)
    return np.broadcast_to(values, (len(images), *values.shape[1:]))


def attach(
    examples: dict[str, np.ndarray], given: Baselines
) -> tuple[dict[str, np.ndarray], Uniform | Several | None, int]:
    """The examples with their baselines, for `pick`.

    Args:
      examples: "images" [N, H, W, 3] and other arrays.
      given: baselines from the user.

    Returns:
      The examples, with a "baseline" if each image has its own; the baselines that all images
      share, or None; and the number of baselines of each image.

    Raises:
      InputError: as for `own_baselines`.
    """
    found = own_baselines(given, examples["images"])
    if isinstance(found, Uniform | Several):
        return examples, found, found.count
    return examples | {"baseline": found}, None, 1


def pick(
    examples: Mapping[str, jax.Array], several: Uniform | Several | None, number: jax.Array
) -> jax.Array:
    """The baselines of these numbers, int [B], broadcastable to the images; see `attach`."""
    if several is None:
        return examples["baseline"]
    return several.pick(number, examples["images"].shape[1:])


def _check_fit(shape: tuple[int, ...], images: tuple[int, ...], hint: str) -> None:
    try:
        fits = np.broadcast_shapes(shape, images) == tuple(images)
    except ValueError:
        fits = False
    if not fits:
        raise InputError(f"baselines have shape {list(shape)}, images {list(images)}; {hint}.")
