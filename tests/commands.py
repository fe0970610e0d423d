"""Runs of the small model in processes of their own, started as a user would, and compared."""

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np

from cervix_jax.runs.checkpoint import list_steps, read_arrays
from cervix_jax.training.writers import read_json_lines

TESTS = Path(__file__).parent
TIMEOUT = 200
# Alone, a run of the small model starts in about eight seconds, of which it trains for one.
ENVIRONMENT = {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0", "PYTHONUNBUFFERED": "1"}


def start(folder: Path, data: Path, *arguments: str, prefix=(), **environment: str):
    """A process that trains the small model in `folder` on prepared data in `data`."""
    return subprocess.Popen(
        [
            *prefix, sys.executable, "-m", "cervix_jax.main", f"--config=tests/small.py:{data}",
            f"--workdir={folder}", *arguments,
        ],
        cwd=TESTS.parent, env=os.environ | ENVIRONMENT | environment,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def devices(number: int) -> dict[str, str]:
    """The environment of a process that has so many devices."""
    return {"XLA_FLAGS": f"--xla_force_host_platform_device_count={number}"}


def start_all(
    folder: Path,
    data: Path,
    *arguments: str,
    processes: int = 2,
    each: int = 1,
    data_of_last: Path | None = None,
):
    """Processes of one run on this machine, of `each` devices."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    common = (
        *arguments, f"--coordinator_address=localhost:{port}", f"--num_processes={processes}"
    )  # fmt: skip
    places = [data] * (processes - 1) + [data_of_last or data]
    return [
        start(folder, place, *common, f"--process_id={process}", **devices(each))
        for process, place in enumerate(places)
    ]


def wait_for_step(processes: list[subprocess.Popen], folder: Path, step: int) -> None:
    """Until the run in `folder` has a checkpoint of that step, or of a later one."""
    end = time.monotonic() + TIMEOUT
    while max(list_steps(folder / "checkpoints"), default=0) < step:
        if processes[0].poll() is not None or time.monotonic() > end:
            finish_all(processes, -1)  # says what they printed
        time.sleep(0.001)


def finish(process: subprocess.Popen, code: int = 0) -> str:
    """Wait for a process, see that it ends with `code`, and give what it printed."""
    try:
        output, _ = process.communicate(timeout=TIMEOUT)
    except subprocess.TimeoutExpired:
        process.kill()
        raise AssertionError(f"still running; so far: {process.communicate()[0]}") from None
    assert process.returncode == code, output
    return output


def finish_all(processes: list[subprocess.Popen], code: int = 0) -> list[str]:
    """`finish` for each; where one fails, the others are ended."""
    try:
        return [finish(process, code) for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def error_line(output: str) -> str:
    """The one line that says what is wrong; there must be no traceback."""
    assert "Traceback" not in output, output
    (line,) = [line for line in output.splitlines() if line.startswith("error: ")]
    return line


def rows_of(folder: Path) -> list[dict]:
    """Rows of metrics.jsonl without the speeds, which no two runs share."""
    rows = read_json_lines(folder / "metrics.jsonl")
    return [{k: v for k, v in row.items() if k != "images_per_second"} for row in rows]


def assert_same_run(folder: Path, other: Path) -> None:
    """The last states, all metrics, the history and the evaluation are equal to the bit."""
    kept = [run / "checkpoints" for run in (folder, other)]
    steps = [list_steps(each) for each in kept]
    assert steps[0][-1] == steps[1][-1]
    parts = ("step", "params", "stats", "opt", "ema", "metrics", "nonfinite")
    states = [read_arrays(each, every[-1], *parts) for each, every in zip(kept, steps, strict=True)]
    assert set(states[0]) == set(parts)
    jax.tree.map(np.testing.assert_array_equal, *states)
    assert rows_of(folder) == rows_of(other)
    for name in (f"checkpoints/{steps[0][-1]}/history/metadata", "evaluate/test.json",
                 "evaluate/test_predictions.csv"):  # fmt: skip
        assert (folder / name).read_text() == (other / name).read_text(), name


def losses(folder: Path) -> list[list[float]]:
    """Training and validation loss of each epoch."""
    rows = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    return [[row["train/loss"], row["val/loss"]] for row in rows]
