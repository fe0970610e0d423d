"""Random numbers per example, independent of the layout of the batch."""

import jax
import jax.numpy as jnp


def uniform_per_example(key: jax.Array, batch: int, count: int) -> jax.Array:
    """Draw uniform numbers; row i depends on (key, i) only.

    A larger batch, or a batch spread over devices, therefore gets the same numbers in row i.

    Args:
      key: a random key.
      batch: number of rows.
      count: numbers per row.

    Returns:
      float32 `[batch, count]` in [0, 1).
    """

    def row(index: jax.Array) -> jax.Array:
        return jax.random.uniform(jax.random.fold_in(key, index), (count,))

    return jax.vmap(row)(jnp.arange(batch))


def spread(uniform: jax.Array, limit: float) -> jax.Array:
    """Stretches uniform numbers in [0, 1) to [-limit, limit)."""
    return (2.0 * uniform - 1.0) * limit
