"""Devices and processes: the mesh, the placement of arrays, and agreement between processes.

The same code runs on one CPU and on a TPU pod.
"""

import contextlib
import hashlib
import importlib.util
import os
from collections.abc import Iterator, Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from cervix_jax import peers
from cervix_jax.errors import InputError

DATA_AXIS = "data"
MODES = ("auto", "on", "off")
LONGEST_SHOWN = 60


def initialize(
    mode: str = "auto",
    coordinator_address: str | None = None,
    num_processes: int | None = None,
    process_id: int | None = None,
) -> None:
    """Connect the processes of a run through `jax.distributed`; call it before any use of a device.

    Missing arguments are taken from the environment variables JAX_COORDINATOR_ADDRESS,
    JAX_NUM_PROCESSES and JAX_PROCESS_ID. On Cloud TPU, under Slurm and under Open MPI, JAX detects
    the remaining values.

    Args:
      mode: "auto" connects if an address is given, under Slurm and Open MPI with several tasks, and
        on Cloud TPU; "on" connects or fails; "off" uses one process.
      coordinator_address: host:port of process 0.
      num_processes: number of processes.
      process_id: number of this process, from 0.

    Raises:
      InputError: the three values are inconsistent, or the connection fails.
    """
    environment = os.environ
    address = coordinator_address or environment.get("JAX_COORDINATOR_ADDRESS")
    count = _number("JAX_NUM_PROCESSES", num_processes)
    own = _number("JAX_PROCESS_ID", process_id)
    if mode not in MODES:
        raise InputError(f"--distributed={mode} is unknown; choose one of {', '.join(MODES)}.")
    if mode == "off" or jax.distributed.is_initialized():
        return
    # Slurm and Open MPI also set their variables for a single task, which needs no connection.
    tasks = "SLURM_NTASKS" if "SLURM_STEP_NODELIST" in environment else "OMPI_COMM_WORLD_SIZE"
    cluster = int(environment.get(tasks) or 1) > 1
    given = [value is not None for value in (address, count, own)]
    if any(given) and not all(given) and not cluster:
        raise InputError(
            f"--coordinator_address={address}, --num_processes={count}, --process_id={own}: give "
            "all three, or none for one process."
        )
    tpu = importlib.util.find_spec("libtpu") is not None
    if mode == "auto" and not (any(given) or cluster or tpu):
        return
    try:
        peers.connect(address, count, own)
    except (ValueError, TypeError, RuntimeError) as error:
        if mode == "auto" and not (any(given) or cluster):
            return  # libtpu is installed, but this machine is not part of a TPU pod
        raise InputError(
            f"the processes cannot be connected ({error}); start one with each --process_id "
            f"from 0 to --num_processes - 1 and the same --coordinator_address (here {address}, "
            f"{count} processes, process {own}), or give --distributed=off."
        ) from error


def _number(variable: str, given: int | None) -> int | None:
    text = os.environ.get(variable)
    if given is not None or not text:
        return given
    if not text.isdecimal():
        raise InputError(f"the environment variable {variable}={text!r} is not a number.")
    return int(text)


def make_mesh(batch_size: int = 0) -> Mesh:
    """Return a mesh with one axis, "data", over all devices of all processes.

    Args:
      batch_size: if given, only as many devices of each process as can share such a batch equally;
        all if no number of them can.
    """
    processes, local = jax.process_count(), jax.local_device_count()
    fitting = [n for n in range(1, local + 1) if batch_size and not batch_size % (n * processes)]
    used = max(fitting, default=local)
    devices = [
        device
        for process in range(processes)
        for device in [d for d in jax.devices() if d.process_index == process][:used]
    ]
    everything = devices if used < local else None
    shape = (used * processes if everything else jax.device_count(),)
    return jax.make_mesh(shape, (DATA_AXIS,), axis_types=(AxisType.Auto,), devices=everything)


def filled_up(batch_size: int, mesh: Mesh) -> int:
    """Return the next batch size that the devices share equally, for batches that are padded."""
    return -(-batch_size // mesh.devices.size) * mesh.devices.size


def replicated(mesh: Mesh) -> NamedSharding:
    """Return the sharding with the whole array on every device."""
    return NamedSharding(mesh, PartitionSpec())


def batch_sharded(mesh: Mesh) -> NamedSharding:
    """Return the sharding with the leading (batch) axis split over the devices."""
    return NamedSharding(mesh, PartitionSpec(DATA_AXIS))


def first_of_share(size: int) -> jax.Array | int:
    """Index in the whole batch of the first of a device's `size` rows; 0 outside `shard_map`."""
    if DATA_AXIS in jax.sharding.get_abstract_mesh().manual_axes:
        return size * jax.lax.axis_index(DATA_AXIS)
    return 0


def check_divides(field: str, batch_size: int, mesh: Mesh) -> None:
    """Raise an error for a batch that the devices cannot share equally.

    Raises:
      InputError: `batch_size` is not a positive multiple of the number of devices.
    """
    devices = mesh.devices.size
    if batch_size <= 0 or batch_size % devices:
        nearest = max(devices, batch_size // devices * devices)
        raise InputError(
            f"{field}={batch_size} is not divisible by the {devices} devices; "
            f"use a multiple of {devices}, e.g. {nearest}."
        )


def is_main_process() -> bool:
    """Whether this is the process that writes files and shows progress."""
    return jax.process_index() == 0


def wait_for_all(name: str) -> None:
    """Wait until every process has reached the point of that name."""
    multihost_utils.sync_global_devices(name)


def meet(mesh: Mesh) -> None:
    """Connect the devices of all processes now, while no process is busy.

    The first sum over the devices connects them, and on the CPU a process waits only 30 seconds for
    the others. Without this call the connection would be made in the first step, which the
    processes reach at different times after compilation.
    """
    if jax.process_count() == 1:
        return
    local = np.ones(mesh.local_mesh.devices.size, np.float32)
    ones = jax.make_array_from_process_local_data(batch_sharded(mesh), local)
    jax.block_until_ready(jax.jit(jnp.sum, out_shardings=replicated(mesh))(ones))


def gather_text(text: str) -> list[str]:
    """Return the texts of all processes, in their order; every process must call this."""
    if jax.process_count() == 1:
        return [text]
    data = np.frombuffer(text.encode(), np.uint8)
    lengths = multihost_utils.process_allgather(np.int32(len(data)))
    padded = np.zeros(max(int(lengths.max()), 1), np.uint8)
    padded[: len(data)] = data
    rows = multihost_utils.process_allgather(padded)
    return [row[:n].tobytes().decode() for row, n in zip(rows, lengths, strict=True)]


@contextlib.contextmanager
def all_or_none() -> Iterator[None]:
    """A block that succeeds on every process or raises on every process.

    Nothing inside it may wait for other processes.

    Raises:
      InputError: another process failed; the message names it and the reason.
    """
    own: Exception | None = None
    try:
        yield
    except Exception as error:
        own = error
    failures = gather_text("" if own is None else str(own) or type(own).__name__)
    if own is not None:
        raise own
    for process, failure in enumerate(failures):
        if failure:
            raise InputError(f"process {process}: {failure}")


def require_same(facts: Mapping[str, str], advice: str) -> None:
    """Raise an error on every process if a fact differs between processes.

    Args:
      facts: names and values; long values are compared and shown by their hash.
      advice: remedy, for the message.

    Raises:
      InputError: the message names the facts that differ, and the processes that differ from
        process 0.
    """
    own = "\0".join(f"{name}\1{_shorten(value)}" for name, value in sorted(facts.items()))
    first, *others = [
        dict(fact.split("\1", 1) for fact in text.split("\0")) for text in gather_text(own)
    ]
    differing = [
        f"{name} is {first.get(name, 'absent')} on process 0 and {other.get(name, 'absent')} on "
        f"process {process}"
        for process, other in enumerate(others, start=1)
        for name in sorted(first.keys() | other.keys())
        if first.get(name) != other.get(name)
    ]
    if differing:
        more = f" (and {len(differing) - 3} more)" if len(differing) > 3 else ""
        raise InputError(f"the processes differ: {'; '.join(differing[:3])}{more}. {advice}")


def _shorten(value: str) -> str:
    if len(value) <= LONGEST_SHOWN:
        return value
    return f"#{hashlib.sha256(value.encode()).hexdigest()[:12]}"
