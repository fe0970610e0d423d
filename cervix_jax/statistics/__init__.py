"""Metrics of predictions and their uncertainty, with NumPy, SciPy and scikit-learn, without JAX."""
