"""One HTML file about a run, for people who were not there."""
