"""Random numbers that belong to an example, not to how the batch is laid out."""

import jax
import jax.numpy as jnp


def uniform_per_example(key: jax.Array, batch: int, count: int) -> jax.Array:
    """Draws uniform numbers of which row i depends on (key, i) alone.

    A larger batch, or one that is spread over devices, therefore sees the same numbers in row i.

    Args:
      key: a random key.
      batch: number of rows.
      count: numbers a row.

    Returns:
      float32 `[batch, count]` in [0, 1).
    """

    def row(index: jax.Array) -> jax.Array:
        return jax.random.uniform(jax.random.fold_in(key, index), (count,))

    return jax.vmap(row)(jnp.arange(batch))


def spread(uniform: jax.Array, limit: float) -> jax.Array:
    """Stretches uniform numbers in [0, 1) to [-limit, limit)."""
    return (2.0 * uniform - 1.0) * limit
