"""One process at a time, and what a killed one leaves."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cervix_jax.errors import InputError
from cervix_jax.files.lock import held

HOLD = (
    "import sys\n"
    "from cervix_jax.files.lock import held\n"
    "with held(sys.argv[1], '--out'):\n"
    "    print('held', flush=True)\n"
    "    sys.stdin.read()"
)


@pytest.fixture
def other(tmp_path):
    """A process that holds `<tmp_path>/out.csv`."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / "out.csv")],
        cwd=Path(__file__).parents[2], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == b"held\n"
    yield process
    process.kill()
    process.communicate()


def take(path):
    with held(path, f"--out={path}"):
        return path


def test_the_second_is_refused_with_the_first_ones_process(tmp_path, other):
    with pytest.raises(InputError) as raised:
        take(tmp_path / "out.csv")
    assert f"--out={tmp_path / 'out.csv'} is in use by process {other.pid} on" in str(raised.value)
    take(tmp_path / "other.csv")
    (tmp_path / "link").symlink_to(tmp_path)
    with pytest.raises(InputError, match="in use by process"):
        take(tmp_path / "link" / "out.csv")


def test_what_a_killed_process_leaves_holds_nobody_up(tmp_path, other):
    other.kill()
    other.wait()
    left = tmp_path / ".out.csv.lock"
    assert json.loads(left.read_text())["pid"] == other.pid
    take(tmp_path / "out.csv")
    assert not left.exists()


def test_nothing_is_left_behind(tmp_path):
    take(tmp_path / "new" / "deep/er.csv")
    assert list(tmp_path.iterdir()) == []
    with held(tmp_path / "runs" / "a", "x"):
        (tmp_path / "runs" / "a").mkdir()
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["a"]


def test_the_same_process_is_refused_too(tmp_path):
    with held(tmp_path / "a", "--out=a"), pytest.raises(InputError, match=str(os.getpid())):
        take(tmp_path / "a")
    take(tmp_path / "a")


def test_a_storage_without_locks_holds_nothing(tmp_path, monkeypatch):
    def fail(*args):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr("cervix_jax.files.lock.fcntl.flock", fail)
    with held(tmp_path / "a", "--out=a"):
        take(tmp_path / "a")
    take(Path("/proc/none/at/all"))
    take(Path("/"))
