"""The chips of a TPU slice as JAX devices for compilation only, without a TPU."""

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
# libtpu refuses a second process, which is right for a real TPU and needless here.
_SHARED = {"ALLOW_MULTIPLE_LIBTPU_LOAD": "1"}


def libtpu_version() -> str | None:
    """The version of the installed TPU compiler, or None."""
    if importlib.util.find_spec("libtpu") is None:
        return None
    try:
        return importlib.metadata.version("libtpu")
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


def slice_mesh(place: Slice) -> Mesh:
    """A mesh with one axis, "data", over all chips of a slice, as `distributed.make_mesh` makes.

    Its devices serve for compilation only. After this call the process cannot use a real TPU.

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
    """Context manager that switches JAX's compilation cache off.

    JAX would write programs for an absent TPU to the cache and could not read them again.
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
    """Keep JAX off a TPU of this machine; call it before the first use of a device."""
    jax.config.update("jax_platforms", "cpu")
