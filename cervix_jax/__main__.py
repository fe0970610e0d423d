"""`python -m cervix_jax`: the list of commands."""

from cervix_jax.command.entry import main

if __name__ == "__main__":
    main()
