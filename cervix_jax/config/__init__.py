"""Every field of a run: default, meaning, range; and the config files that set them."""
