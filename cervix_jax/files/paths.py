"""Checks and expansion of paths that users give."""

import errno
import os
import unicodedata
from pathlib import Path

from cervix_jax.errors import InputError


def nfc(text: str) -> str:
    """The text in Unicode's form NFC, in which equal names are equal.

    macOS writes an umlaut as a letter and a mark (NFD), other systems and spreadsheets as one sign.
    """
    return unicodedata.normalize("NFC", text)


def on_disk(path: Path | str) -> Path:
    """The path as it is on disk: where it leads nowhere, one whose names differ by Unicode's form.

    Args:
      path: a path, as a list of files or a user writes it.

    Returns:
      A path that leads somewhere, or `path` itself where there is none.
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
    """What a path is instead of a file, for a message; "" where it is one.

    A pipe would keep its reader waiting forever.
    """
    if os.path.isfile(path):  # False for every path that cannot be asked
        return ""
    if os.path.lexists(path):
        return "is no file (but a folder, a pipe, a device, or a link that leads nowhere)"
    return "there is no such file"


def require_file(path: Path | str) -> None:
    """Raises InputError unless `path` is a file."""
    if reason := why_no_file(path):
        raise InputError(f"{path}: {reason}; remove it, or give another.")
