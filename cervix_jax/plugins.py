"""Models, data set builders and hooks that other installed packages offer by entry points.

A package names what it offers in its `pyproject.toml`, under the name by which users call it:

  [project.entry-points."cervix_jax.models"]
  my_network = "my_package.networks:MyNetwork"

The package is imported when that name is first used, never before.
"""

import functools
import importlib.metadata
from collections.abc import Callable, Collection
from typing import Any

from cervix_jax.errors import InputError

MODELS = "cervix_jax.models"
DATASETS = "cervix_jax.datasets"
HOOKS = "cervix_jax.hooks"


@functools.cache
def points(group: str) -> tuple[importlib.metadata.EntryPoint, ...]:
    """The entry points of a group, of all installed packages; read once per process."""
    return tuple(importlib.metadata.entry_points(group=group))


def names(group: str) -> tuple[str, ...]:
    """The names that installed packages offer in a group, each once; imports no package."""
    return tuple(dict.fromkeys(point.name for point in points(group)))


def load(
    group: str, what: str, name: str, *, taken: Collection[str] = (), check: Callable[[Any], None]
) -> Any:
    """Import the object that an installed package offers under a name.

    Args:
      group: the group of entry points.
      what: the kind of object, for messages, such as "model".
      name: the name of the entry point.
      taken: the names of this package's own objects; no other package may offer them.
      check: raises `InputError` for an object that cannot be used.

    Returns:
      The object, or None where no package offers the name.

    Raises:
      InputError: the name is taken, two packages offer it, the package cannot be imported, or the
        object fails the check; the message names the package.
    """
    found = [point for point in points(group) if point.name == name]
    if not found:
        return None
    packages = list(dict.fromkeys(map(_package, found)))
    if name in taken:
        raise InputError(
            f"{what} {name!r}: cervix_jax has one of this name, and the installed package "
            f"{packages[0]} offers another; uninstall that package, or rename its entry point in "
            f"the group {group}."
        )
    if len(packages) > 1:
        raise InputError(
            f"{what} {name!r}: the installed packages {' and '.join(packages)} both offer it; "
            "uninstall one of them."
        )
    origin = f"{what} {name!r} of the installed package {packages[0]}"
    try:
        offered = found[0].load()
    except Exception as error:  # whatever the module of another package raises
        raise InputError(
            f"{origin}: importing {found[0].value} fails ({type(error).__name__}: {error}); repair "
            "or uninstall that package."
        ) from error
    try:
        check(offered)
    except InputError as error:
        raise InputError(f"{origin}: {error}") from error
    return offered


def _package(point: importlib.metadata.EntryPoint) -> str:
    """Name and version of the package that has an entry point."""
    return f"{point.dist.name} {point.dist.version}" if point.dist else point.value
