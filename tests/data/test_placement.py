"""Where decoded images lie, with memory of a size that the test says."""

import json
from itertools import islice
from types import SimpleNamespace

import jax
import numpy as np
import psutil
import pytest
from test_pipeline import COUNT, SIZE, dataset, held, pipeline  # noqa: F401

from cervix_jax import distributed
from cervix_jax.data import placement
from cervix_jax.errors import InputError

DECODED = COUNT * SIZE * SIZE * 3


def machine(monkeypatch, available: int) -> None:
    monkeypatch.setattr(placement, "available_memory", lambda: available)


def accelerator(limit: int | None, count: int = 1):
    """A mesh of devices with so much memory, of which the drivers of some say nothing."""
    stats = None if limit is None else {"bytes_limit": limit}
    device = SimpleNamespace(platform="tpu", memory_stats=lambda: stats)
    return SimpleNamespace(local_devices=[device] * count)


def cpu(count: int = 1):
    return SimpleNamespace(local_devices=[SimpleNamespace(platform="cpu")] * count)


def test_a_data_set_larger_than_the_limit_streams(dataset, monkeypatch, caplog):  # noqa: F811
    caplog.set_level("INFO", "absl")
    batches = {}
    for kind, available in (("device", 4 * DECODED), ("host", 4 * DECODED - 4)):
        machine(monkeypatch, available)
        made = pipeline(dataset)
        stream = made.train_batches(np.arange(COUNT), 4, seed=7, start=3)
        batches[kind] = [held(batch) for batch in islice(stream, 12)]
        assert made.placement.kind == kind
        assert ("_resident" in vars(made)) == (kind == "device")
    assert batches["device"] == batches["host"]
    kept, streamed = (record.message for record in caplog.records)
    assert "take 0.00 GiB" in kept
    assert "they stay in device memory" in kept
    assert "they are streamed from the host" in streamed


def test_the_decision_is_made_once(dataset, monkeypatch):  # noqa: F811
    made = pipeline(dataset)
    machine(monkeypatch, 0)
    first = made.placement
    machine(monkeypatch, 2**40)
    assert made.placement is first
    assert first.kind == "host"


def test_device_that_cannot_fit_is_refused(dataset, monkeypatch):  # noqa: F811
    # On the CPU the images lie on the host twice while they become the device's.
    machine(monkeypatch, 2 * DECODED)
    with pytest.raises(InputError, match=r"placement=device: .* use data\.placement=auto or host"):
        pipeline(dataset, "device")
    machine(monkeypatch, 3 * DECODED)
    assert pipeline(dataset, "device").placement == placement.Placement("device", DECODED)


def test_an_accelerator_is_as_large_as_it_says_and_no_larger_than_its_host(monkeypatch):
    machine(monkeypatch, 1000)
    assert placement.room_on(accelerator(300)) == placement.Room(300, "of a device")
    assert placement.room_on(accelerator(300, count=8), sharing=2).size == 300
    assert placement.room_on(accelerator(3000), sharing=4).size == 250
    assert placement.room_on(accelerator(None)).size == 1000
    # All devices of the CPU, and all processes on it, share its memory.
    assert placement.room_on(cpu(8), sharing=2).size == 1000 // 16


def test_processes_choose_alike(monkeypatch):
    """Of four processes two share a host; the smallest room decides for all."""
    machine(monkeypatch, 8000)
    monkeypatch.setattr(placement.platform, "node", lambda: "a")
    said = iter([["a", "b", "a", "b"], [json.dumps([limit, "there"]) for limit in (1000, 900)]])
    given = []
    monkeypatch.setattr(distributed, "gather_text", lambda text: given.append(text) or next(said))
    assert placement.choose(950, cpu()) == placement.Placement("host", 950, 900, "there")
    assert given[0] == "a"
    assert json.loads(given[1])[0] == 1000  # a quarter of half of the host


def test_what_control_groups_leave(monkeypatch, tmp_path):
    group = tmp_path / "outer/inner"
    group.mkdir(parents=True)
    written = {
        "memory.max": "max", "memory.current": "70", "memory.stat": "anon 9\ninactive_file 30",
        "../memory.max": "1000", "../memory.current": "400", "../memory.stat": "inactive_file 150",
    }  # fmt: skip
    for name, text in written.items():
        (group / name).write_text(text)
    monkeypatch.setattr(placement, "_CGROUP", tmp_path)
    monkeypatch.setattr(placement, "_own_groups", lambda: ["0::/outer/inner"])
    assert placement.available_memory() == 750
    old = tmp_path / "memory/job"
    old.mkdir(parents=True)
    for name, text in (
        ("limit_in_bytes", "500"), ("usage_in_bytes", "450"), ("stat", "total_inactive_file 10"),
    ):  # fmt: skip
        (old / f"memory.{name}").write_text(text)
    monkeypatch.setattr(placement, "_own_groups", lambda: ["4:cpu,memory:/job", "3:cpuset:/"])
    assert placement.available_memory() == 60
    monkeypatch.setattr(placement, "_own_groups", lambda: [])
    assert abs(placement.available_memory() / psutil.virtual_memory().available - 1) < 0.5


def test_recorded_device_is_no_demand_of_a_finished_run(tiny_config, monkeypatch):
    """Earlier versions recorded "device" for every run, on whatever machine it was trained."""
    from cervix_jax.data.experiment import open_data, with_batches

    config = tiny_config()
    data = open_data(config, progress=False)
    config.data.placement = "device"
    machine(monkeypatch, 0)
    read = with_batches(config, data.dataset, data.splits, augmented=False, progress=False)
    assert read.pipeline.placement.kind == "host"
    with pytest.raises(InputError, match=r"data\.placement=device"):
        with_batches(config, data.dataset, data.splits, progress=False)
    assert jax.process_count() == 1
