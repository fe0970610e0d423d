"""Predictions of clusters from the features of their cells, by attention that is learned."""
