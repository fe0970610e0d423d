"""Paths as users write them."""

import errno
from pathlib import Path

from cervix_jax.errors import InputError


def user_path(text: str | Path, name: str = "") -> Path:
    """The path of a text in which `~` is a home folder; it need not exist.

    Args:
      text: the path.
      name: the flag or field that it was given by, for the message.

    Raises:
      InputError: it names a user who is not there, is too long, holds a zero byte or is no
        Unicode; the standard library's questions about a path, such as `is_dir`, would raise
        other kinds, and so would writing it down.
    """
    where = f"{name}={str(text)!r}" if name else f"{str(text)!r}"
    try:
        path = Path(text).expanduser()
    except RuntimeError as error:
        raise InputError(f"{where}: there is no such user; write the whole path.") from error
    try:
        str(path).encode()
        path.lstat()
    except ValueError as error:
        raise InputError(f"{where}: is no path in Unicode ({error}); rename it.") from error
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise InputError(f"{where}: {error.strerror}; give a shorter path.") from error
    return path


def require_place_for_folder(path: Path, name: str) -> None:
    """See that a folder is there or can be made, before long work for it.

    Args:
      path: the folder.
      name: the flag or field that it was given by, for the message.

    Raises:
      InputError: it, or what it shall lie in, is a file.
    """
    nearest = next((place for place in (path, *path.parents) if place.exists()), path)
    if nearest.exists() and not nearest.is_dir():
        raise InputError(f"{name}={path}: {nearest} is no folder; choose another place.")
