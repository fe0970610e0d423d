"""One device, eight devices: the same run."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from cervix_jax import distributed
from cervix_jax.errors import InputError

TESTS = Path(__file__).parent
TRAIN = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import jax, pytest
from conftest import make_tiny_config, register_tiny_model
from cervix_jax.training.run import train_and_evaluate
with pytest.MonkeyPatch.context() as patch:
    config = make_tiny_config(register_tiny_model(patch), sys.argv[2])
    assert jax.device_count() == 8
    train_and_evaluate(config, Path(sys.argv[3]))
"""


def test_every_batch_size_must_divide():
    mesh = distributed.make_mesh()
    distributed.check_divides("batch_size", 4, mesh)
    with pytest.raises(InputError, match="batch_size=0"):
        distributed.check_divides("batch_size", 0, mesh)


@pytest.mark.parametrize(
    ("batch_size", "devices"), [(0, 8), (8, 8), (12, 6), (32, 8), (7, 7), (11, 1), (3, 3)]
)
def test_as_many_devices_as_share_a_batch(monkeypatch, batch_size, devices):
    made = []
    monkeypatch.setattr(jax, "local_device_count", lambda: 8)
    monkeypatch.setattr(jax, "device_count", lambda: 8)
    monkeypatch.setattr(jax, "devices", lambda: [SimpleNamespace(process_index=0)] * 8)
    monkeypatch.setattr(jax, "make_mesh", lambda shape, *args, **options: made.append(shape))
    distributed.make_mesh(batch_size)
    assert made == [(devices,)]


def test_batches_that_are_filled_up_grow_to_what_devices_share():
    mesh = SimpleNamespace(devices=np.zeros(3))
    assert [distributed.filled_up(size, mesh) for size in (1, 3, 8, 64)] == [3, 3, 9, 66]


THREE = """
import sys
from pathlib import Path
import jax
import numpy as np
import pytest
sys.path.insert(0, sys.argv[1])
from conftest import make_tiny_config, register_tiny_model
from cervix_jax import evaluate_run, load_run, train_and_evaluate
with pytest.MonkeyPatch.context() as patch:
    config = make_tiny_config(register_tiny_model(patch), sys.argv[2])
    config.num_epochs = 1
    assert jax.device_count() == 3
    report = train_and_evaluate(config, Path(sys.argv[3]))
    run = load_run(sys.argv[3])
    images = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), np.uint8)
    assert run.predict(images).shape == (4, 5)
    assert evaluate_run(run, progress=False)["accuracy"] == report["accuracy"]
"""


@pytest.mark.slow
def test_three_devices_need_no_other_batch_size(prepared, tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", THREE, str(TESTS), str(prepared), str(tmp_path)],
        env=os.environ | {"XLA_FLAGS": "--xla_force_host_platform_device_count=3"},
        cwd=TESTS.parent, timeout=300, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "2 of 3 devices are used, because 3 cannot share batch_size=8 equally" in done.stderr


@pytest.mark.slow
def test_eight_devices_give_the_same_losses(trained, prepared, tmp_path):
    folder, _ = trained
    subprocess.run(
        [sys.executable, "-c", TRAIN, str(TESTS), str(prepared), str(tmp_path)],
        env=os.environ | {"XLA_FLAGS": "--xla_force_host_platform_device_count=8"},
        cwd=TESTS.parent, check=True, timeout=300, capture_output=True,
    )  # fmt: skip

    def losses(path):
        rows = map(json.loads, (path / "metrics.jsonl").read_text().splitlines())
        return [[row["train/loss"], row["val/loss"]] for row in rows]

    # Rounding differs, and where it moves a value across the kink of a ReLU, a gradient jumps. How
    # near the runs stay without kinks, and on four processes, is in test_devices.py.
    np.testing.assert_allclose(losses(tmp_path), losses(folder), rtol=2e-4)


@pytest.fixture
def connections(monkeypatch):
    """What would have been connected, in an environment that says nothing of processes."""
    for name in ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID", "SLURM_NTASKS",
                 "SLURM_STEP_NODELIST", "OMPI_COMM_WORLD_SIZE"):  # fmt: skip
        monkeypatch.delenv(name, raising=False)
    made = []
    monkeypatch.setattr(jax.distributed, "initialize", lambda *args, **options: made.append(args))
    monkeypatch.setattr(distributed.importlib.util, "find_spec", lambda name: None)
    return made


def test_one_process_connects_to_nothing(connections):
    distributed.initialize()
    assert connections == []


def test_flags_come_before_the_environment(connections, monkeypatch):
    monkeypatch.setenv("JAX_COORDINATOR_ADDRESS", "there:1")
    monkeypatch.setenv("JAX_NUM_PROCESSES", "4")
    distributed.initialize("auto", None, None, 3)
    distributed.initialize("auto", "here:2", 2, 0)
    distributed.initialize("off", "here:2", 2, 0)
    assert connections == [("there:1", 4, 3), ("here:2", 2, 0)]


@pytest.mark.parametrize(("tasks", "count"), [("1", 0), ("2", 1)])
def test_slurm_with_several_tasks_connects_them(connections, monkeypatch, tasks, count):
    monkeypatch.setenv("SLURM_STEP_NODELIST", "node[1-2]")
    monkeypatch.setenv("SLURM_NTASKS", tasks)
    distributed.initialize()
    assert len(connections) == count


def test_half_of_a_connection_is_bad_input(connections, monkeypatch):
    with pytest.raises(InputError, match="num_processes=None"):
        distributed.initialize("auto", "here:2", None, 0)
    monkeypatch.setenv("JAX_NUM_PROCESSES", "two")
    with pytest.raises(InputError, match="JAX_NUM_PROCESSES='two'"):
        distributed.initialize()
    assert connections == []


def test_a_connection_that_must_be_made_and_cannot(connections, monkeypatch):
    def fail(*args, **options):
        raise ValueError("coordinator_address should be defined.")

    monkeypatch.setattr(jax.distributed, "initialize", fail)
    with pytest.raises(InputError, match="coordinator_address should be defined"):
        distributed.initialize("on")
    monkeypatch.setattr(distributed.importlib.util, "find_spec", lambda name: "libtpu")
    distributed.initialize("auto")  # libtpu is there, a pod is not


def test_alone_a_process_agrees_with_itself():
    assert distributed.gather_text("ä") == ["ä"]
    distributed.require_same({"seed": "1"}, "")
    with pytest.raises(KeyError), distributed.all_or_none():
        raise KeyError("own")
