"""A second path to a folder, without characters that have a special meaning in a library."""

import contextlib
import functools
import re
import tempfile
from pathlib import Path

from cervix_jax.errors import InputError

# Letters and digits of any script, and characters that no library reads as pattern, escape or
# scheme.
_PLAIN = re.compile(r"[\w\-. /+=@]+")
_FALLBACKS = ("/dev/shm", "/var/tmp", "/tmp", "/run")
_kept: list[tempfile.TemporaryDirectory] = []  # each is removed when the process ends


def plain_path(folder: Path) -> Path:
    r"""Return the folder's absolute path, or a link to it if the path has special characters.

    Orbax finds its own files by patterns, in which `[v1]` means one of two letters; TensorStore
    interprets `\` and `://` differently from a file system, and accepts no path outside Unicode.

    Args:
      folder: the folder; it need not exist yet.

    Raises:
      InputError: such a link is needed and cannot be created anywhere.
    """
    folder = folder.absolute()
    return folder if _PLAIN.fullmatch(str(folder)) else _link(folder)


@functools.cache
def _link(folder: Path) -> Path:
    for place in (tempfile.gettempdir(), *_FALLBACKS):
        if not _PLAIN.fullmatch(place):
            continue
        with contextlib.suppress(OSError):
            own = tempfile.TemporaryDirectory(prefix="cervix_jax-", dir=place)
            link = Path(own.name) / "folder"
            link.symlink_to(folder, target_is_directory=True)
            _kept.append(own)
            return link
    raise InputError(
        f"{folder}: the path has characters that checkpoints do not support, and no link "
        f"to it can be created in {tempfile.gettempdir()}; choose a path of letters, digits, "
        "'-', '_' and '.'."
    )
