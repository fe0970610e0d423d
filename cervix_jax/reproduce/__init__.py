"""Reproduction of the paper's table: `rows`, their runs (`experiments`), RESULTS.md (`results`)."""
