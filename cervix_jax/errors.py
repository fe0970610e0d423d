"""The error for invalid input, which commands print as one line before they exit with code 2."""

import copyreg
import difflib
import math
import numbers
import shlex
from collections.abc import Iterable
from typing import Any


class InputError(ValueError):
    """Invalid user input.

    The message is one line. It states what is wrong, where (the file, or the field and its value),
    and how to correct it. Commands print it on standard error without a traceback and exit with
    code 2.
    """

    def __init__(self, message: str):
        super().__init__(" ".join(str(message).split()))

    def __reduce__(self) -> tuple[Any, ...]:
        # Worker processes raise them, and subclasses are made from other arguments than a message.
        return copyreg.__newobj__, (type(self), *self.args), vars(self)  # pyright: ignore[reportAttributeAccessIssue]


def did_you_mean(given: str, known: Iterable[str]) -> str:
    """The end of an error, e.g. " (did you mean 'adam'?)"; "" where no known name is close."""
    close = difflib.get_close_matches(given, list(known), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""


def check_choice(name: str, value: object, known: Iterable[str]) -> None:
    """Check that a value is one of the known names.

    Raises:
      InputError: it is not; says what is called `name`, the value and the known names.
    """
    names = list(known)
    if not isinstance(value, str) or value not in names:
        raise InputError(
            f"{name}={value!r}{did_you_mean(str(value), names)}: give one of {', '.join(names)}."
        )


def check_count(name: str, value: Any, least: int = 1) -> None:
    """Check that a value is a whole number of Python or NumPy and not below a minimum.

    Args:
      name: the argument or `--flag`, for the message.
      value: what was given.
      least: what it must at least be.

    Raises:
      InputError: it is not.
    """
    whole = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    if not whole or int(value) < least:
        raise InputError(f"{name}={value!r}: give a whole number of at least {least}.")


def check_number(name: str, value: Any, least: float, most: float = math.inf) -> None:
    """Check that a value is a finite number in a range.

    Args:
      name: the argument or `--flag`, for the message.
      value: what was given.
      least: what it must at least be.
      most: what it must at most be.

    Raises:
      InputError: it is not.
    """
    real = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if not real or not math.isfinite(float(value)) or not least <= float(value) <= most:
        limits = f"from {least:g} to {most:g}" if most < math.inf else f"of at least {least:g}"
        raise InputError(f"{name}={value!r}: give a number {limits}.")


def shell_command(name: str, *arguments: object, **flags: object) -> str:
    """A command of this package as a user types it, for a hint; quoted where a shell asks for it.

        shell_command("evaluate", workdir="my runs/a", tta=True)
        # python -m cervix_jax.evaluate --workdir='my runs/a' --tta

    Args:
      name: of the command.
      *arguments: that are no flags.
      **flags: by name; those that are None, False or "" are left out.
    """
    words = ["python", "-m", f"cervix_jax.{name}", *(shlex.quote(str(a)) for a in arguments)]
    for flag, value in flags.items():
        if value is True:
            words.append(f"--{flag}")
        elif value not in (None, False, ""):
            words.append(f"--{flag}={shlex.quote(str(value))}")
    return " ".join(words)
