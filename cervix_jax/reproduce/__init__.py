"""The paper's table beside ours: `rows`, the runs (`experiments`), and RESULTS.md (`results`)."""
