"""Recognition of the errors by which libraries report full disks and unwritable folders."""

import errno
import os
import re

# Problems that a user can fix: space, quota, permissions, read-only mounts, limits on files and
# names.
_STORAGE = {
    errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EFBIG, errno.EIO,
    errno.ENAMETOOLONG, errno.ELOOP,
}  # fmt: skip


def storage_problem(error: BaseException | None) -> str | None:
    """Return the storage's message if `error` or one of its causes is a storage error; else None.

    Args:
      error: the raised error; TensorStore gives its system error as text only.
    """
    while error is not None:
        number = error.errno if isinstance(error, OSError) else None
        if number is None and (found := re.search(r"os_error_code=.(\d+)", str(error))):
            number = int(found[1])
        if number is None:  # as ArrayRecord reports it
            said = (n for n in _STORAGE if f"failed: {os.strerror(n)}" in str(error))
            number = next(said, None)
        if number in _STORAGE:
            return os.strerror(number)
        error = error.__cause__ or error.__context__
    return None
