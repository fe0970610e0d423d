"""The choice between device and host memory for the decoded images of a data set."""

import dataclasses
import json
import math
import platform
from collections.abc import Iterator
from pathlib import Path

import psutil
from absl import logging
from jax.sharding import Mesh

from cervix_jax import distributed
from cervix_jax.errors import InputError

PLACEMENTS = ("auto", "device", "host")
# Share of a device's memory; the rest is for weights, activations and programs.
AUTO_SHARE = 0.25
# The valid values of the setting.
MOST = 0.9
_CGROUP = Path("/sys/fs/cgroup")


@dataclasses.dataclass(frozen=True)
class Room:
    """Maximum memory for one copy of the decoded images.

    Attributes:
      size: bytes, of a device, or of the host for each copy that it holds.
      where: owner of that memory, for messages.
    """

    size: int
    where: str


@dataclasses.dataclass(frozen=True)
class Placement:
    """Where the decoded images of a data set are stored.

    Attributes:
      kind: "device" or "host".
      decoded_bytes: size of the whole decoded set.
      limit_bytes: maximum size for device memory; None if the user chose the placement.
      where: owner of the memory from which the limit derives; "" if the user chose.
    """

    kind: str
    decoded_bytes: int
    limit_bytes: int | None = None
    where: str = ""


def require_room(decoded_bytes: int, mesh: Mesh) -> None:
    """Raise an error if the decoded images do not fit into device memory.

    Args:
      decoded_bytes: size of the whole decoded set.
      mesh: devices, each of which stores the whole set.

    Raises:
      InputError: the set takes more than nine tenths of the memory.
    """
    # Until they are on the devices, the images occupy host memory as well.
    room = room_on(mesh, copies=1)
    if decoded_bytes > MOST * room.size:
        raise InputError(
            f"data.placement=device: the decoded images take {_gib(decoded_bytes)}, more than "
            f"{MOST:.0%} of the {_gib(room.size)} {room.where}; use data.placement=auto or host, "
            "or a smaller image_size."
        )


def choose(decoded_bytes: int, mesh: Mesh) -> Placement:
    """Choose device memory if the set takes a small part of it; every process must call this.

    Args:
      decoded_bytes: size of the whole decoded set.
      mesh: devices, each of which would store the whole set.

    Returns:
      The same on every process: "device" if no process is short of memory.
    """
    hosts = distributed.gather_text(platform.node())
    room = room_on(mesh, sharing=hosts.count(platform.node()))
    limit = math.floor(AUTO_SHARE * room.size)
    least, where = min(
        tuple(json.loads(text)) for text in distributed.gather_text(json.dumps([limit, room.where]))
    )
    kind = "device" if decoded_bytes <= least else "host"
    if distributed.is_main_process():
        logging.info(
            "The decoded images take %s; the limit is %s, %.0f %% of the memory %s: %s.",
            _gib(decoded_bytes), _gib(least), 100 * AUTO_SHARE, where,
            "they stay in device memory" if kind == "device" else "they are streamed from the host",
        )  # fmt: skip
    return Placement(kind, decoded_bytes, least, where)


def room_on(mesh: Mesh, *, sharing: int = 1, copies: int = 0) -> Room:
    """Return the maximum memory for one copy of the decoded images.

    On accelerators this is the memory of a device, or that of the host if it is smaller, since
    the host decodes the images. CPU devices, and all processes of a host, share the host's memory.

    Args:
      mesh: the devices; each device of this process stores a copy.
      sharing: number of processes on this host.
      copies: number of further copies that the host holds.
    """
    devices = mesh.local_devices
    host = available_memory() // sharing
    free = f"available on {platform.node() or 'this machine'}"
    if devices[0].platform == "cpu":
        return Room(host // (len(devices) + copies), free)
    limits = [(device.memory_stats() or {}).get("bytes_limit") for device in devices]
    known = [Room(int(limit), "of a device") for limit in limits if limit]
    return min([*known, Room(host, free)], key=lambda room: room.size)


def available_memory() -> int:
    """Return the bytes that this process can still allocate, by machine and control groups."""
    return min([psutil.virtual_memory().available, *_left_in_groups()])


def _left_in_groups() -> Iterator[int]:
    """Yield the bytes that Linux control groups, versions 1 and 2, leave to this process."""
    for line in _own_groups():
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            root, most, now, cache = _CGROUP, "memory.max", "memory.current", "inactive_file"
        elif "memory" in controllers.split(","):
            root, most, now = _CGROUP / "memory", "memory.limit_in_bytes", "memory.usage_in_bytes"
            cache = "total_inactive_file"
        else:
            continue
        group = root / path.lstrip("/")
        for folder in (group, *group.parents):
            try:
                used = int((folder / now).read_text())
                stat = dict(
                    line.split() for line in (folder / "memory.stat").read_text().splitlines()
                )
                yield max(int((folder / most).read_text()) - used + int(stat.get(cache, 0)), 0)
            except (OSError, ValueError):  # the group is not visible from here, or "max"
                pass
            if folder == root:
                break


def _own_groups() -> list[str]:
    try:
        return Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return []  # not Linux


def _gib(size: int) -> str:
    return f"{size / 2**30:.2f} GiB"
