"""The one error that means "the input is wrong": commands turn it into one line and exit code 2."""


class InputError(ValueError):
    """Something the user gave cannot be used.

    The message is one line and says what is wrong, where (the file or field and its value) and
    how to mend it. Commands print it on standard error without a traceback and exit with code 2.
    """

    def __init__(self, message: str):
        super().__init__(" ".join(str(message).split()))
