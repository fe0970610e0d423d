"""Named streams of random keys: the only place that makes a key from the seed."""

import zlib

import jax


def stream(seed: int | jax.Array, name: str, step: int | jax.Array = 0) -> jax.Array:
    """Key of the stream `name` at `step`.

    Streams are independent of each other and of how many keys were drawn before, so a resumed
    run draws what the uninterrupted one would have drawn.

    Args:
      seed: the run's seed; may be traced.
      name: what the key is for, e.g. "augment".
      step: training step; may be traced.

    Returns:
      A typed scalar PRNG key.
    """
    key = jax.random.fold_in(jax.random.key(seed), zlib.crc32(name.encode()))
    return jax.random.fold_in(key, step)
