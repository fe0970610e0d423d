"""Locks that let only one command at a time write to a place."""

import contextlib
import json
import os
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cervix_jax.errors import InputError

try:
    import fcntl
except ImportError:  # not Unix: nothing is locked
    fcntl = None


class InUseError(InputError):
    """Another process holds the requested lock."""


@contextlib.contextmanager
def held(target: Path | str, name: str) -> Iterator[None]:
    """A block in which no other process that uses this lock writes to `target`.

    The operating system holds the lock on a file `.<name>.lock` beside the target, and releases it
    when the process ends, in any way; the file that a killed process leaves therefore blocks
    nobody. If the storage has no locks or is not writable, nothing is locked.

    Args:
      target: a file or folder; it need not exist.
      name: the user's name for it, for the message, such as "--out=maps".

    Raises:
      InUseError: another process holds it; the message names the process and the start time.
    """
    real = Path(os.path.realpath(target))
    made = [place for place in real.parents if not place.exists()]
    with contextlib.suppress(OSError):
        real.parent.mkdir(parents=True, exist_ok=True)
    path = real.with_name(f".{real.name}.lock") if real.name else None
    descriptor = _take(path, name) if path and fcntl else None
    try:
        yield
    finally:
        if path is not None and descriptor is not None:
            with contextlib.suppress(OSError):
                path.unlink()  # before the release, to keep other processes' files
            os.close(descriptor)
        with contextlib.suppress(OSError):
            for place in made:  # folders in which nothing was written
                place.rmdir()


def _take(path: Path, name: str) -> int | None:
    assert fcntl is not None
    while True:
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except OSError:
            return None  # the folder is not writable; the command reports this when it writes
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            message = _refusal(name, os.pread(descriptor, 65536, 0))
            os.close(descriptor)
            raise InUseError(message) from error
        except OSError:  # a storage without locks
            os.close(descriptor)
            return None
        if _is_still(path, descriptor):
            break
        os.close(descriptor)  # its holder removed it between the two calls
    holder = {
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "since": time.strftime("%Y-%m-%d %H:%M:%S"),
        "command": " ".join(sys.orig_argv[1:] if sys.orig_argv else sys.argv)[:300],
    }
    with contextlib.suppress(OSError):  # on a full disk the lock holds without its text
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(holder).encode("utf-8", "backslashreplace"), 0)
    return descriptor


def _is_still(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _refusal(name: str, content: bytes) -> str:
    try:
        holder: dict[str, Any] = json.loads(content)
        who = (
            f"process {holder['pid']} on {holder['host']} ({holder['command']}; since "
            f"{holder['since']})"
        )
    except (ValueError, LookupError, TypeError):
        who = "another process"
    return f"{name} is in use by {who}; wait until it ends, stop it, or choose another place."
