"""What a set of predictions shows and how sure that is: NumPy, SciPy and scikit-learn, no JAX."""
