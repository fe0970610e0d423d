"""What a data set, a split and a trained model owe to leakage and shortcuts.

`python -m cervix_jax.audit --dataset=...` audits a data set, `--workdir=...` a trained run.
"""
