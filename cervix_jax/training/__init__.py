"""From a config to a trained network and its test report."""
