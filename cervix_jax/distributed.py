"""Devices: the mesh, and how arrays lie on it. The same code serves one CPU and a TPU pod."""

import jax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from cervix_jax.errors import InputError

DATA_AXIS = "data"


def make_mesh() -> Mesh:
    """One axis, "data", over all devices of all processes."""
    return jax.make_mesh((jax.device_count(),), (DATA_AXIS,), axis_types=(AxisType.Auto,))


def replicated(mesh: Mesh) -> NamedSharding:
    """The whole array on every device."""
    return NamedSharding(mesh, PartitionSpec())


def batch_sharded(mesh: Mesh) -> NamedSharding:
    """The leading (batch) axis split over the devices."""
    return NamedSharding(mesh, PartitionSpec(DATA_AXIS))


def check_divides(field: str, batch_size: int, mesh: Mesh) -> None:
    """Refuse a batch that the devices cannot share equally.

    Raises:
      InputError: `batch_size` is not a positive multiple of the number of devices.
    """
    devices = mesh.devices.size
    if batch_size <= 0 or batch_size % devices:
        nearest = max(devices, batch_size // devices * devices)
        raise InputError(
            f"{field}={batch_size} does not divide by the {devices} devices; "
            f"use a multiple of {devices}, e.g. {nearest}."
        )


def is_main_process() -> bool:
    """Whether this process writes files and shows progress."""
    return jax.process_index() == 0
