"""The pieces of `python -m cervix_jax.explain`; the library itself needs none of them."""
