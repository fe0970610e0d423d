"""Audits: leakage and shortcuts of a data set and its splits, and cues that a run relies on.

`python -m cervix_jax.audit --dataset=...` audits a data set, `--workdir=...` a trained run.
"""
