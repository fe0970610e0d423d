"""A process that is killed, or asked to stop, goes on; what it makes equals what one run makes."""

import os
import signal
import subprocess
import sys

import pytest
from commands import ENVIRONMENT, TESTS
from predicted_rows import read_rows

# Stops itself in the given batch, while its line is written.
CODE = """
import os, sys
from tests import small
small.get_config()
from absl import flags
from cervix_jax.command.run import run_command
from cervix_jax.predict import __main__ as command, output, parts

batch, stop = int(sys.argv.pop()), int(sys.argv.pop())
write, writes = output.Output._write, []

def stopping(self, value):
    writes.append(1)
    if len(writes) != batch + 1:
        return write(self, value)
    line = parts.json_line(value)
    self._file.write(line[: len(line) // 2])
    os.kill(os.getpid(), stop)
    self._file.write(line[len(line) // 2 :])

output.Output._write = stopping
command.define_flags()
flags.FLAGS.set_gnu_getopt(True)
run_command(command.main, positional=True, alone=False)
"""


def stopped(stop, batch, names, workdir, out, *given):
    return subprocess.run(
        [sys.executable, "-c", CODE, "-", f"--workdir={workdir}", f"--out={out}",
         "--batch_size=4", *given, str(int(stop)), str(batch)],
        cwd=TESTS.parent, input=b"\n".join(names), stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, timeout=200, check=False,
        env=os.environ | ENVIRONMENT,
    )  # fmt: skip


@pytest.mark.slow
def test_a_killed_command_goes_on(workdir, cells, tmp_path):
    names = [bytes(path) for path in sorted(cells.rglob("*.png"))]
    names[5:5] = [bytes(tmp_path / f"missing{number}.png") for number in range(9)]
    whole, out = tmp_path / "whole.csv", tmp_path / "out.csv"
    first = stopped(signal.SIGKILL, 3, names, workdir, out)
    assert first.returncode == -signal.SIGKILL, first.stdout
    assert not out.exists()
    begun = (tmp_path / "out.csv.part").read_bytes()
    assert begun.count(b"\n") == 3  # what was begun with, two batches, and half of a third
    assert not begun.endswith(b"\n")
    second = stopped(signal.SIGTERM, 2, names, workdir, out, "--resume")
    assert second.returncode == 75, second.stdout
    assert b"with --resume continues" in second.stdout
    third = stopped(signal.SIGINT, 2, names, workdir, out, "--resume")
    assert third.returncode == 130, third.stdout
    assert b"with --resume continues" in third.stdout
    assert not out.exists()
    last = stopped(0, -1, names, workdir, out, "--resume")
    assert last.returncode == 0, last.stdout
    # Nobody stops this one; its table is the same to the byte.
    whole_run = stopped(0, -1, names, workdir, whole)
    assert whole_run.returncode == 0, whole_run.stdout
    assert out.read_bytes() == whole.read_bytes()
    assert len(read_rows(out)) == 40
    skipped = [path.with_name(f"{path.stem}_skipped.csv").read_bytes() for path in (out, whole)]
    assert skipped[0] == skipped[1]
    assert skipped[0].count(b"missing") == 9
