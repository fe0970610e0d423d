"""The one error that means "the input is wrong": commands turn it into one line and exit code 2."""

import difflib
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
