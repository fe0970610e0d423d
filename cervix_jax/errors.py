"""The one error that means "the input is wrong": commands turn it into one line and exit code 2."""

import difflib
import shlex
from collections.abc import Iterable


class InputError(ValueError):
    """Something the user gave cannot be used.

    The message is one line and says what is wrong, where (the file or field and its value) and
    how to mend it. Commands print it on standard error without a traceback and exit with code 2.
    """

    def __init__(self, message: str):
        super().__init__(" ".join(str(message).split()))


def did_you_mean(given: str, known: Iterable[str]) -> str:
    """The end of an error, e.g. " (did you mean 'adam'?)"; "" where no known name is close."""
    close = difflib.get_close_matches(given, list(known), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""


def check_choice(name: str, value: object, known: Iterable[str]) -> None:
    """See that a value is one of the known names.

    Raises:
      InputError: it is not; says what is called `name`, the value and the known names.
    """
    names = list(known)
    if not isinstance(value, str) or value not in names:
        raise InputError(
            f"{name}={value!r}{did_you_mean(str(value), names)}: give one of {', '.join(names)}."
        )


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
