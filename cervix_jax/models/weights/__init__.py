"""Published weights: read from files and packages, renamed, and put into a model."""
