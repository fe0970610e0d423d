import os
import subprocess
import sys

import pytest

from cervix_jax.command import huge_pages

SCRIPT = """
import os, sys
from cervix_jax import huge_pages
print(os.getpid(), os.environ.get("GLIBC_TUNABLES"), sys.argv[1:])
huge_pages.restart()
print("works")
"""


def run(tmp_path, **variables):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    environment = {k: v for k, v in os.environ.items() if k != huge_pages.VARIABLE} | variables
    done = subprocess.run(
        [sys.executable, "-u", "-W", "error", str(script), "--name=a b"],
        env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout.splitlines()


def test_the_same_command_starts_once_more_as_the_same_process(tmp_path):
    if not huge_pages.are_wanted():
        pytest.skip("the kernel gives no huge pages on request, or GLIBC_TUNABLES is set")
    first, second, last = run(tmp_path)
    number, setting, arguments = first.split(maxsplit=2)
    assert second == f"{number} {huge_pages.SETTING} {arguments}"
    assert (setting, last) == ("None", "works")


def test_a_users_setting_is_left_alone(tmp_path):
    lines = run(tmp_path, GLIBC_TUNABLES="")
    assert len(lines) == 2
    assert lines[1] == "works"


@pytest.mark.parametrize(
    ("libc", "pages", "wanted"),
    [
        ("glibc", "always [madvise] never", True),
        ("glibc", "[always] madvise never", False),
        ("glibc", "always madvise [never]", False),
        ("glibc", None, False),
        ("", "always [madvise] never", False),
    ],
)
def test_wanted_only_where_they_help(tmp_path, monkeypatch, libc, pages, wanted):
    monkeypatch.delenv(huge_pages.VARIABLE, raising=False)
    monkeypatch.setattr(huge_pages.platform, "libc_ver", lambda: (libc, ""))
    monkeypatch.setattr(huge_pages, "KERNEL", tmp_path / "enabled")
    if pages is not None:
        huge_pages.KERNEL.write_text(pages)
    assert huge_pages.are_wanted() == wanted
