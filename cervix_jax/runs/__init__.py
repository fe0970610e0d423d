"""A trained run: its folder, its checkpoints, and what it predicts."""
