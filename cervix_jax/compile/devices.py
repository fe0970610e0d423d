"""The chips of a slice that is not there, as JAX's devices for compilation alone."""

import contextlib
import importlib.metadata
import importlib.util
import os
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from jax.experimental import topologies
from jax.experimental.compilation_cache import compilation_cache
from jax.sharding import AxisType, Mesh

from cervix_jax.command.startup import NO_TPU
from cervix_jax.compile.chips import Slice
from cervix_jax.distributed import DATA_AXIS
from cervix_jax.errors import InputError

INSTALL = "pip install 'cervix_jax[tpu]'"
# libtpu refuses a second process that has loaded it, which is for TPUs that are there.
_SHARED = {"ALLOW_MULTIPLE_LIBTPU_LOAD": "1"}


def libtpu_version() -> str | None:
    """The version of the TPU compiler that is installed, or None."""
    if importlib.util.find_spec("libtpu") is None:
        return None
    try:
        return importlib.metadata.version("libtpu")
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


def slice_mesh(place: Slice) -> Mesh:
    """One axis, "data", over all chips of a slice, as `distributed.make_mesh` makes it.

    Its devices serve for compilation alone. This process then cannot use a TPU of its own.

    Raises:
      InputError: libtpu is not installed, or does not know the slice.
    """
    if libtpu_version() is None:
        raise InputError(f"compiling for a TPU needs its compiler, libtpu; run {INSTALL}")
    for name, value in (NO_TPU | _SHARED).items():
        os.environ.setdefault(name, value)
    options: dict[str, Any] = {}
    if place.chip.config != "default":
        options["chip_config_name"] = place.chip.config
    if place.chips == 1:
        options["chips_per_host_bounds"] = (1, 1, 1)
    try:
        found = topologies.get_topology_desc(
            platform="tpu", topology_name=place.name, **options
        ).devices
    except Exception as error:  # of libtpu, of many kinds
        reason = " ".join(str(error).split())[:300]
        raise InputError(
            f"--topology={place.name}: libtpu {libtpu_version()} does not offer this slice "
            f"({reason}); try another, or another version of jax[tpu]."
        ) from error
    return Mesh(np.array(found), (DATA_AXIS,), axis_types=(AxisType.Auto,))


@contextlib.contextmanager
def not_cached() -> Iterator[None]:
    """A block whose compilations JAX does not keep.

    It writes programs for a TPU that is not there into its cache, and cannot read them again.
    """
    before = jax.config.jax_enable_compilation_cache  # pyright: ignore[reportAttributeAccessIssue]
    jax.config.update("jax_enable_compilation_cache", False)
    compilation_cache.reset_cache()
    try:
        yield
    finally:
        jax.config.update("jax_enable_compilation_cache", before)
        compilation_cache.reset_cache()


def use_cpu() -> None:
    """Keep JAX from looking for a TPU of this machine; before the first use of a device."""
    jax.config.update("jax_platforms", "cpu")
