"""Start, flags, help texts and exit codes of all commands."""
