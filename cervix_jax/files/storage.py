"""Recognition of the errors by which libraries report full disks and unwritable folders."""

import errno
import os
import re

# What a user can mend: space, quota, permissions, read-only mounts, limits on files and names.
_STORAGE = {
    errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EFBIG, errno.EIO,
    errno.ENAMETOOLONG, errno.ELOOP,
}  # fmt: skip


def storage_problem(error: BaseException | None) -> str | None:
    """What the storage said, if `error` or one that led to it is about storage; else None.

    Args:
      error: what was raised; TensorStore gives its system error as text only.
    """
    while error is not None:
        number = error.errno if isinstance(error, OSError) else None
        if number is None and (found := re.search(r"os_error_code=.(\d+)", str(error))):
            number = int(found[1])
        if number is None:  # as ArrayRecord says it
            said = (n for n in _STORAGE if f"failed: {os.strerror(n)}" in str(error))
            number = next(said, None)
        if number in _STORAGE:
            return os.strerror(number)
        error = error.__cause__ or error.__context__
    return None
