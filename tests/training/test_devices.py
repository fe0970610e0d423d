"""One device, eight devices, four processes: the same run, and each goes on with another's."""

import json
import os
import shutil
import socket
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest
from commands import (
    ENVIRONMENT,
    TESTS,
    devices,
    error_line,
    finish,
    finish_all,
    losses,
    start,
    start_all,
    wait_for_step,
)
from small import get_config

from cervix_jax import peers
from cervix_jax.runs.checkpoint import list_steps
from cervix_jax.training import run as train

EIGHT = devices(8)
# Float32 has 6e-8; the sums over a batch run in another order on other devices.
TOLERANCE = 1e-5
EPOCHS = ["--config.num_epochs=12"]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="module")
def one(tmp_path_factory, data):
    """36 steps on one device, with dropout and augmentation."""
    folder = tmp_path_factory.mktemp("one")
    config = get_config(str(data))
    config.num_epochs = 12
    assert all((config.model.dropout, config.augment.stain_jitter, config.augment.rot90))
    train.train_and_evaluate(config, folder)
    return folder


@pytest.fixture(scope="module")
def eight(tmp_path_factory, data, one):
    folder = tmp_path_factory.mktemp("eight")
    finish(start(folder, data, *EPOCHS, **EIGHT))
    assert len(json.loads((folder / "env.json").read_text())["devices"]) == 8
    return folder


@pytest.fixture(scope="module")
def four(tmp_path_factory, data, one):
    """Four processes of two devices; one is asked to stop in the middle, and all do."""
    folder = tmp_path_factory.mktemp("four")
    processes = start_all(folder, data, *EPOCHS, processes=4, each=2)
    wait_for_step(processes, folder, 12)
    processes[1].terminate()
    stopped = finish_all(processes, 75)
    (said,) = {line.partition("Preempted: ")[2] for line in "".join(stopped).splitlines()} - {""}
    assert "saved" in said
    environment = json.loads((folder / "env.json").read_text())
    assert (environment["processes"], len(environment["devices"])) == (4, 8)
    return folder


def assert_same_losses(folder, one):
    np.testing.assert_allclose(losses(folder), losses(one)[: len(losses(folder))], rtol=TOLERANCE)


def without_last_epoch(folder, copy):
    shutil.copytree(folder, copy)
    shutil.rmtree(copy / "checkpoints" / "36")
    assert list_steps(copy / "checkpoints")[-1] == 33
    return copy


def test_eight_devices_give_the_same_losses(one, eight):
    assert len(losses(eight)) == 12
    assert_same_losses(eight, one)


def test_four_processes_give_the_same_losses(one, four):
    assert 4 <= len(losses(four)) < 12
    assert_same_losses(four, one)


def test_eight_devices_go_on_from_four_processes(one, four, data, tmp_path):
    shutil.copytree(four, tmp_path / "run")
    assert "Resuming from" in finish(start(tmp_path / "run", data, *EPOCHS, **EIGHT))
    assert len(losses(tmp_path / "run")) == 12
    assert_same_losses(tmp_path / "run", one)


def test_two_processes_go_on_from_one_device(one, data, tmp_path):
    folder = without_last_epoch(one, tmp_path / "run")
    first, second = finish_all(start_all(folder, data, *EPOCHS))
    assert "Resuming from step 33" in first
    assert "test accuracy" in first
    assert "process 1 of 2" in second
    assert "test accuracy" not in second
    assert len(losses(folder)) == 12
    assert_same_losses(folder, one)


def test_one_device_goes_on_from_eight(one, eight, data, tmp_path):
    folder = without_last_epoch(eight, tmp_path / "run")
    config = get_config(str(data))
    config.num_epochs = 12
    train.train_and_evaluate(config, folder)
    assert len(losses(folder)) == 12
    assert_same_losses(folder, one)


GROUPED = {"num_epochs": 24, "batch_size": 16, "model.norm_groups": 2}


def kill(processes, victim):
    """Kill one as the kernel does that is out of memory; the others must end, and say why."""
    processes[victim].kill()
    killed = time.monotonic()
    (*others,) = (process for process in processes if process is not processes[victim])
    for output in finish_all(others, peers.EXIT_LOST):
        line = error_line(output)
        assert "another process of the run ended" in line
        assert output.rstrip().endswith(line)
        assert "stack trace" not in output
    assert time.monotonic() - killed < 4 * peers.HEARTBEAT_SECONDS
    processes[victim].communicate()


def test_killed_processes_end_the_others_and_other_numbers_go_on(data, tmp_path):
    """Four processes lose one, two go on and lose the first, one device goes on to the end."""
    config = get_config(str(data))
    config.update_from_flattened_dict(GROUPED)
    train.train_and_evaluate(config.copy_and_resolve_references(), tmp_path / "one")

    folder = tmp_path / "run"
    flags = [f"--config.{name}={value}" for name, value in GROUPED.items()]
    four = start_all(folder, data, *flags, processes=4, each=2)
    wait_for_step(four, folder, 4)
    kill(four, 2)
    reached = list_steps(folder / "checkpoints")[-1]
    assert reached < 24

    two = start_all(folder, data, *flags, each=4)
    wait_for_step(two, folder, reached + 2)
    kill(two, 0)
    assert list_steps(folder / "checkpoints")[-1] < 24

    train.train_and_evaluate(config, folder)
    assert len(losses(folder)) == 24
    assert_same_losses(folder, tmp_path / "one")


def test_processes_with_different_data_are_refused(one, data, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(data, other)
    (index,) = other.rglob("examples.json")
    examples = json.loads(index.read_text())
    examples["labels"][3] = (examples["labels"][3] + 1) % 5
    index.write_text(json.dumps(examples))
    for output in finish_all(start_all(tmp_path / "run", data, data_of_last=other), 2):
        line = error_line(output)
        assert "labels of the examples" in line
        assert "file names" not in line
        assert "process 1" in line
    assert not (tmp_path / "run").exists()


PAIR = """
import sys
sys.path.insert(0, "tests")
from small import get_config
from cervix_jax import distributed
from cervix_jax.errors import InputError
from cervix_jax.training import run as train
distributed.initialize(process_id=int(sys.argv[1]))
process = int(sys.argv[1])

def said(call):
    try:
        return call()
    except InputError as error:
        return str(error)

def fail_on_one():
    with distributed.all_or_none():
        if process == 1:
            raise InputError("no such folder")

print(distributed.gather_text("abc"[: 2 * process + 1]))
same = {"seed": "1", "long": "x" * 200}
print(said(lambda: distributed.require_same(same, "Same.")))
print(said(lambda: distributed.require_same(same | {"seed": str(process)}, "Same.")))
print(said(lambda: distributed.require_same(same | {"long": "y" * (process + 1)}, "Same.")))
print(said(fail_on_one))
config = get_config()
config.seed = process
print(said(lambda: train._require_same_config(config)))
"""


def test_two_processes_agree():
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    connection = {"JAX_COORDINATOR_ADDRESS": f"localhost:{port}", "JAX_NUM_PROCESSES": "2"}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(PAIR), str(process)],
            cwd=TESTS.parent, env=os.environ | ENVIRONMENT | connection,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
        for process in (0, 1)
    ]  # fmt: skip
    outputs = [output.splitlines()[-6:] for output in finish_all(processes)]
    for gathered, same, seed, long, failed, config in outputs:
        assert gathered == "['a', 'abc']"
        assert same == "None"
        assert seed == "the processes differ: seed is 0 on process 0 and 1 on process 1. Same."
        assert long == "the processes differ: long is y on process 0 and yy on process 1. Same."
        assert "no such folder" in failed
        assert config.startswith("the processes differ: config.seed is 0 on process 0 and 1 on")
    assert outputs[0][-2] == "process 1: no such folder"
