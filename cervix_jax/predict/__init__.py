"""Predictions of a trained run on images and whole fields that nobody labelled."""
