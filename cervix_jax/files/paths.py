"""Checks and expansion of paths that users give."""

import errno
import os
import unicodedata
from pathlib import Path

from cervix_jax.errors import InputError


def nfc(text: str) -> str:
    """Return the text in Unicode form NFC, in which equal names compare equal.

    macOS writes an umlaut as a letter and a mark (NFD), other systems and spreadsheets as one sign.
    """
    return unicodedata.normalize("NFC", text)


def on_disk(path: Path | str) -> Path:
    """Return the path as on disk: if it does not exist, one that differs in Unicode form only.

    Args:
      path: a path, as written by a user or in a list of files.

    Returns:
      A path that exists, or `path` itself if there is none.
    """
    path = Path(path)
    if str(path).isascii() or os.path.lexists(path):
        return path
    if path.parent == path:
        return path
    folder = on_disk(path.parent)
    if os.path.lexists(folder / path.name):
        return folder / path.name
    wanted = nfc(path.name)
    try:
        names = sorted(name for name in os.listdir(folder) if nfc(name) == wanted)
    except (OSError, ValueError):  # no folder, no permission, a zero byte
        return path
    return folder / names[0] if names else path


def user_path(text: str | Path, name: str = "") -> Path:
    """Return the path of a text in which `~` is a home folder; it need not exist.

    Args:
      text: the path.
      name: the flag or field that gave the path, for the message.

    Raises:
      InputError: it names an unknown user, is too long, contains a zero byte or is not valid
        Unicode. Standard library functions such as `is_dir` would raise other errors, and so
        would writing the path to a file.
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
        raise InputError(f"{where}: is not a valid Unicode path ({error}); rename it.") from error
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise InputError(f"{where}: {error.strerror}; give a shorter path.") from error
    return path


def require_place_for_folder(path: Path, name: str) -> None:
    """Check before long work that a folder exists or can be created.

    Args:
      path: the folder.
      name: the flag or field that gave the folder, for the message.

    Raises:
      InputError: the path or one of its parents is a file.
    """
    nearest = next((place for place in (path, *path.parents) if place.exists()), path)
    if nearest.exists() and not nearest.is_dir():
        raise InputError(f"{name}={path}: {nearest} is not a folder; choose another folder.")


def why_no_file(path: Path | str) -> str:
    """Return what a path is instead of a file, for a message; "" if it is a file.

    Reading a pipe would block forever.
    """
    if os.path.isfile(path):  # False for every path that cannot be checked
        return ""
    if os.path.lexists(path):
        return "is not a file, but a folder, a pipe, a device or a broken link"
    return "there is no such file"


def require_file(path: Path | str) -> None:
    """Raises InputError unless `path` is a file."""
    if reason := why_no_file(path):
        raise InputError(f"{path}: {reason}; remove it, or give another.")
