"""Memory in huge pages for training on the CPU, where glibc can give it.

A training step asks for gigabytes of memory, and gives them back at its end. In pages of 4 KiB the
kernel's work to hand them out is a fifth of the step (see `benchmarks/README.md`); in pages of
2 MiB it is nothing. glibc takes the setting only from the environment of a process that starts.
"""

import os
import platform
import sys
from pathlib import Path

VARIABLE = "GLIBC_TUNABLES"
SETTING = "glibc.malloc.hugetlb=1"  # glibc 2.35 and newer; older ones ignore it
KERNEL = Path("/sys/kernel/mm/transparent_hugepage/enabled")


def are_wanted() -> bool:
    """Whether a restart would help: Linux with glibc, pages on request, and no user's setting."""
    if VARIABLE in os.environ or platform.libc_ver()[0] != "glibc":
        return False
    try:
        return "[madvise]" in KERNEL.read_text(encoding="ascii")
    except OSError:
        return False


def restart() -> None:
    """Start this command once more with huge pages, as the same process; call before any work.

    Does nothing where `are_wanted` says no. `GLIBC_TUNABLES=` in the environment, even empty,
    keeps a command from restarting.
    """
    if are_wanted():
        os.environ[VARIABLE] = SETTING
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
