"""Explanations of a run: selected images, maps stored on disk, measures and pictures."""
