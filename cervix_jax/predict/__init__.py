"""Predictions of a trained run on unlabelled images, whole fields and slides."""
