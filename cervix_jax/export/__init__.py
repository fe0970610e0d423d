"""A trained run as a folder of files that classifies without this package.

`python -m cervix_jax.export --workdir=DIR --out=DIR2` writes a program (StableHLO), its weights, a
card for machines and a model card for people.
"""
