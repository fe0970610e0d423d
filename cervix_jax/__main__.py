"""`python -m cervix_jax` prints the list of commands, or runs one."""

from cervix_jax.command.entry import main

if __name__ == "__main__":
    main()
