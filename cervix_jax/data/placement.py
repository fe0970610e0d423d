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
# Of the memory of a device; the rest is for weights, activations and programs.
AUTO_SHARE = 0.25
# What may be asked for by name.
MOST = 0.9
_CGROUP = Path("/sys/fs/cgroup")


@dataclasses.dataclass(frozen=True)
class Room:
    """How much memory one copy of the decoded images can have at most.

    Attributes:
      size: bytes; of a device, or of the host for each copy that it must hold.
      where: whose memory that is, for messages.
    """

    size: int
    where: str


@dataclasses.dataclass(frozen=True)
class Placement:
    """Where the decoded images of a data set lie.

    Attributes:
      kind: "device" or "host".
      decoded_bytes: of the whole decoded set.
      limit_bytes: most that is kept in device memory; None where the user chose.
      where: whose memory the limit is a share of; "" where the user chose.
    """

    kind: str
    decoded_bytes: int
    limit_bytes: int | None = None
    where: str = ""


def require_room(decoded_bytes: int, mesh: Mesh) -> None:
    """Refuse to keep on the devices what cannot be there.

    Args:
      decoded_bytes: of the whole decoded set.
      mesh: devices of which each keeps all of it.

    Raises:
      InputError: it takes more than nine tenths of the memory.
    """
    # Until they are on the devices, the images lie on the host as well.
    room = room_on(mesh, copies=1)
    if decoded_bytes > MOST * room.size:
        raise InputError(
            f"data.placement=device: the decoded images take {_gib(decoded_bytes)}, and at most "
            f"{MOST:.0%} of the {_gib(room.size)} {room.where} can be theirs; use "
            "data.placement=auto or host, or a smaller image_size."
        )


def choose(decoded_bytes: int, mesh: Mesh) -> Placement:
    """Device memory where the set takes little of it; every process must call it.

    Args:
      decoded_bytes: of the whole decoded set.
      mesh: devices of which each would keep all of it.

    Returns:
      The same on every process: "device" where no process is short of memory.
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
    """What one copy of the decoded images can have at most.

    On accelerators that is the memory of a device, or of the host where that is smaller, since it
    decodes them. The CPU's devices, and all processes of a host, share the memory of the host.

    Args:
      mesh: of which each device of this process keeps a copy.
      sharing: processes on this host.
      copies: that the host holds besides.
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
    """Bytes that this process can still take, by the machine and by its control groups."""
    return min([psutil.virtual_memory().available, *_left_in_groups()])


def _left_in_groups() -> Iterator[int]:
    """What the control groups of Linux, of both versions, leave to this process in bytes."""
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
            except (OSError, ValueError):  # no such group seen from here, or "max"
                pass
            if folder == root:
                break


def _own_groups() -> list[str]:
    try:
        return Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return []  # another system


def _gib(size: int) -> str:
    return f"{size / 2**30:.2f} GiB"
