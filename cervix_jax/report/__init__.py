"""One self-contained HTML file that describes a run to readers who did not take part in it."""
