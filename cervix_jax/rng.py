"""Named streams of random keys: the only place that makes a key from the seed."""

import zlib

import jax


def stream(seed: int | jax.Array, name: str, step: int | jax.Array = 0) -> jax.Array:
    """Return the key of the stream `name` at `step`.

    Streams are independent of each other and of the number of earlier draws, so a resumed run draws
    the same numbers as an uninterrupted one.

    Args:
      seed: the run's seed; may be traced.
      name: purpose of the key, e.g. "augment".
      step: training step; may be traced.

    Returns:
      A typed scalar PRNG key.
    """
    key = jax.random.fold_in(jax.random.key(seed), zlib.crc32(name.encode()))
    return jax.random.fold_in(key, step)
