"""A trained run: its folder, its checkpoints and its predictions."""
