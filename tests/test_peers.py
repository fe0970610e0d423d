"""What a process does when another one of its run is gone; with real runs, in test_devices.py."""

import subprocess
import sys
from pathlib import Path

import jax
import pytest
from commands import error_line

from cervix_jax import peers

ROOT = Path(__file__).parents[1]
GLOO = "UNKNOWN: Gloo AllGather failed: Read error [127.0.0.1]:43443: Connection reset by peer"


@pytest.fixture
def ended(monkeypatch):
    """How often the process would have ended; it is one of four."""
    times = []
    monkeypatch.setattr(peers, "end_process", lambda: times.append(1))
    monkeypatch.setattr(peers.jax_distributed.global_state, "num_processes", 4)
    return times


def wrapped(error):
    try:
        raise RuntimeError("a checkpoint could not be written") from error
    except RuntimeError as outer:
        return outer


@pytest.mark.parametrize(
    ("error", "count"),
    [
        (jax.errors.JaxRuntimeError(GLOO), 1),
        (ValueError(GLOO), 1),
        (wrapped(jax.errors.JaxRuntimeError("UNAVAILABLE: Barrier failed")), 1),
        (jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory"), 0),
        (ValueError("barrier=3 is too high"), 0),
    ],
)
def test_only_the_loss_of_a_process_ends_this_one(ended, error, count):
    with pytest.raises(type(error)), peers.ended_with_the_others():
        raise error
    assert len(ended) == count


def test_alone_a_process_is_never_ended_for_another(ended, monkeypatch):
    monkeypatch.setattr(peers.jax_distributed.global_state, "num_processes", 1)
    with pytest.raises(ValueError, match="Gloo"), peers.ended_with_the_others():
        raise ValueError(GLOO)
    assert not ended


END = """
from cervix_jax import peers
peers.jax_distributed.global_state.num_processes = 4
peers.end_process()
"""
# Both a sum that fails and a heartbeat that is missed end the process; its bars still move.
END_IN_EIGHT_THREADS = """
import os
import sys
import threading
import time
from cervix_jax import peers

write = os.write

def write_and_wait(*args):
    write(*args)
    time.sleep(0.5)  # until os._exit, all other threads have their turn

os.write = write_and_wait
peers.jax_distributed.global_state.num_processes = 4
for _ in range(8):
    threading.Thread(target=peers.end_process).start()
while True:
    print("50 %", flush=True)
    print("training: 50 %", file=sys.stderr, flush=True)
    time.sleep(0.01)
"""


@pytest.mark.parametrize("program", [END, END_IN_EIGHT_THREADS])
def test_a_process_ends_with_one_line(program):
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == peers.EXIT_LOST
    line = error_line(done.stdout)
    assert line.startswith("error: process 0 of 4 ends, because another process of the run ended")
    assert done.stdout.endswith(f"{line}\n")
