"""Atomic writing of files and folders, and reading of JSON files."""

import codecs
import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from cervix_jax.errors import InputError
from cervix_jax.files.storage import storage_problem

LINE = 200  # maximum length of a JSON line


@contextlib.contextmanager
def replacing(path: Path | str) -> Iterator[Path]:
    """Yield a temporary path that replaces `path` when the block ends without error.

    Raises:
      InputError: the folder is not writable or is full, or `path` is no file.
    """
    path = Path(path)
    try:
        if path.exists() and not path.is_file():  # /dev/null would become a file, too
            raise InputError(f"{path}: is a folder, a pipe or a device; choose another name.")
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(
            prefix=f".{path.name}.", suffix=path.suffix, dir=path.parent
        )
    except OSError as error:
        raise InputError(
            f"{path}: cannot be written ({error.strerror or error}); choose a writable folder."
        ) from error
    os.close(handle)
    temporary = Path(name)
    try:
        with storage_named(path):
            yield temporary
            _open_up(temporary, 0o666)
            os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def new_folder(path: Path | str) -> Iterator[Path]:
    """Yield a temporary folder that becomes `path` when the block ends without error.

    Raises:
      InputError: `path` exists and is not an empty folder, or its parent is not writable.
    """
    path = Path(path).absolute()
    try:
        empty = path.is_dir() and not path.is_symlink() and not any(path.iterdir())
        if os.path.lexists(path) and not empty:
            raise InputError(f"{path}: exists already; remove it or choose another folder.")
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    except OSError as error:
        raise InputError(
            f"{path}: cannot be written ({error.strerror or error}); choose a writable folder."
        ) from error
    try:
        with storage_named(path):
            yield temporary
            _open_up(temporary, 0o777)
            temporary.replace(path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextlib.contextmanager
def storage_named(path: Path, message: Callable[[str], str] | None = None) -> Iterator[None]:
    """Convert storage errors in the block to one line that names the path.

    Args:
      path: the path being written.
      message: builds the line from the storage's message; None uses the default line.

    Raises:
      InputError: the storage is full or cannot be written.
    """
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        problem = storage_problem(error)
        if problem is None:
            raise
        line = (
            f"{path}: cannot be written ({problem}); existing content is unchanged. Free some "
            "space, or choose another place."
        )
        raise InputError(message(problem) if message else line) from error


def _open_up(path: Path, mode: int) -> None:
    """Give a private temporary file the default permissions."""
    umask = os.umask(0)
    os.umask(umask)
    path.chmod(mode & ~umask)


def write_text(path: Path | str, text: str) -> None:
    """Write `text` as UTF-8 to `path`, atomically."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_bytes(path: Path | str, data: bytes) -> None:
    """Write `data` to `path`, atomically."""
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def mark_for_excel(path: Path | str) -> None:
    """Add the byte order mark to a UTF-8 CSV file, from which Excel detects its encoding."""
    content = Path(path).read_bytes()
    if not content.startswith(codecs.BOM_UTF8):
        with replacing(path) as temporary:
            temporary.write_bytes(codecs.BOM_UTF8 + content)


def write_json(path: Path | str, value: Any) -> None:
    """Write `value` as readable JSON to `path`, atomically."""
    write_text(path, readable_json(value) + "\n")


def readable_json(value: Any, indent: str = "") -> str:
    """Return JSON in which every value that fits on one line is on one line."""
    flat = json.dumps(value, ensure_ascii=False, allow_nan=False)
    if len(indent) + len(flat) <= LINE or not isinstance(value, dict | list) or not value:
        return flat
    deeper = indent + "  "
    if isinstance(value, dict):
        pairs = ((json.dumps(key, ensure_ascii=False), each) for key, each in value.items())
        parts = [f"{key}: {readable_json(each, deeper)}" for key, each in pairs]
    else:
        parts = [readable_json(each, deeper) for each in value]
    start, end = "{}" if isinstance(value, dict) else "[]"
    return f"{start}\n{deeper}" + f",\n{deeper}".join(parts) + f"\n{indent}{end}"


def read_json(path: Path | str) -> dict[str, Any] | None:
    """Return the object in a JSON file, or None if the file does not exist.

    Raises:
      InputError: it cannot be read, or contains something else.
    """
    try:
        found = json.loads(Path(path).read_text(encoding="utf-8"))
        if not isinstance(found, dict):
            raise ValueError("it holds no object")
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(
            f"{path}: cannot be read ({error}); make it again or remove it."
        ) from error
    return found
