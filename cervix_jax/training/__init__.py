"""Training: from a config to a trained model and its test report."""
