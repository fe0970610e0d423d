"""Export of a trained run as a folder that classifies images without this package.

`python -m cervix_jax.export --workdir=DIR --out=DIR2` writes a program (StableHLO), its weights, a
machine-readable card and a model card for readers.
"""
