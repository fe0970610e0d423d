"""Evaluate a run, a file of predictions, or several side by side."""
