"""How every command starts, takes its flags, gives help and ends."""
