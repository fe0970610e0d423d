"""Random stain directions: turns and rescales the two stains of each image at random.

Optical densities of two stains lie in the plane spanned by their directions, between the two
(Ruifrok and Johnston 2001; Macenko et al., ISBI 2009). Tellez et al. (Medical Image Analysis 58,
2019) change the amounts of stains with fixed directions. Slides of several laboratories also differ
in the directions, and a Pap stain has no fixed ones, so both are estimated from every image here.

Macenko et al. use an eigendecomposition and percentiles of angles. The form here uses nine moments
of an image and no sorting: the plane passes through the mean density, and the stains lie as far
from the mean as the ends of a uniform mixture with the same variance. This recovers the stains of a
mixture in equal shares exactly, and every image gives a map, even an image without colour.
"""

import jax
import jax.numpy as jnp

from cervix_jax.data.augment.draws import spread, uniform_per_example

# Tangents of the minimum and maximum angle between a stain and the mean density. Without a limit
# the colours of an almost colourless image would be amplified arbitrarily. Two stains are about 30
# degrees apart.
LEAST, GREATEST = 0.25, 1.0
_TINY = 1e-12


def random_stain_vectors(
    key: jax.Array, mean: jax.Array, moment: jax.Array, limit: float
) -> jax.Array:
    """Draw for every image a matrix that turns its two stains and rescales their amounts.

    Random numbers of +- `limit` are added to each stain's unit direction, along and across the
    plane of the two; the direction is normalised again. No component that was above 0 falls below
    it. The amount of each stain is multiplied by a factor of 1 +- `limit`. Components outside the
    plane stay unchanged.

    Args:
      key: a random key; row i of the result depends on the key and on image i alone.
      mean: float32 `[B, 3]`, mean optical densities of R, G and B.
      moment: float32 `[B, 3, 3]`, means of their products.
      limit: from 0 (identity) to 1.

    Returns:
      float32 `[B, 3, 3]`; the new densities are `matrix @ od`, so clear glass stays clear.
    """
    middle, along, across, tangent = stain_plane(mean, moment)
    draws = spread(uniform_per_example(key, len(mean), 6), limit)
    matrix = across[:, :, None] * across[:, None, :]
    length = jnp.sqrt(1.0 + jnp.square(tangent))
    for number, sign in enumerate((1.0, -1.0)):
        found = (middle + sign * tangent * along) / length
        sideways = (along - sign * tangent * middle) / length
        inside, outside, gain = (draws[:, 3 * number + k, None] for k in range(3))
        turned = found + inside * sideways + outside * across
        turned = _unit(jnp.maximum(turned, jnp.minimum(found, 0.0)))
        # The row that computes this stain's amount from a density of the plane.
        amount = 0.5 * length * (middle + sign / tangent * along)
        matrix += ((1.0 + gain) * turned)[:, :, None] * amount[:, None, :]
    return matrix


def stain_plane(
    mean: jax.Array, moment: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    """Estimate the plane of an image's two stains, in closed form.

    Args:
      mean: see `random_stain_vectors`.
      moment: see `random_stain_vectors`.

    Returns:
      `(middle, along, across, tangent)`: three orthogonal unit vectors, float32 `[B, 3]`, namely
      the mean's direction, the direction in which densities spread most around it (signed so that
      red minus blue is not negative), and the normal of the plane; and `[B, 1]`. The stain
      directions are `middle + tangent * along`, the one that absorbs more red light (a blue or
      green stain), and `middle - tangent * along`.
    """
    # An all-white image has no direction and is treated as grey. The offset also keeps every
    # component above zero, so both directions orthogonal to the mean are defined.
    middle = _unit(mean + 1e-6)
    red, _, blue = jnp.split(middle, 3, axis=1)
    first = _unit(jnp.concatenate([blue, 0.0 * red, -red], axis=1))
    second = jnp.cross(middle, first)
    a, b, c = (
        jnp.einsum("bi,bij,bj->b", left, moment, right, precision="highest")[:, None]
        for left, right in ((first, first), (first, second), (second, second))
    )
    strength = jnp.einsum("bi,bij,bj->b", middle, moment, middle, precision="highest")[:, None]
    strength = jnp.maximum(strength, _TINY)
    # Without colour there is no spread; rounding errors must not choose the direction.
    angle = 0.5 * jnp.arctan2(2.0 * b, a - c + 1e-5 * strength)
    along = jnp.cos(angle) * first + jnp.sin(angle) * second
    along = jnp.where(along[:, :1] < along[:, 2:], -along, along)
    # The greater eigenvalue is the variance along it. The mean does not contribute.
    variance = 0.5 * (a + c + jnp.sqrt(jnp.square(a - c) + 4.0 * jnp.square(b)))
    # A uniform mixture ends at sqrt(3) standard deviations.
    tangent = jnp.sqrt(3.0 * variance / strength)
    return middle, along, jnp.cross(middle, along), jnp.clip(tangent, LEAST, GREATEST)


def _unit(vectors: jax.Array) -> jax.Array:
    return vectors / jnp.sqrt(jnp.maximum(jnp.square(vectors).sum(-1, keepdims=True), _TINY**2))
