"""Small distributions that tests install: a module and its metadata in a folder on `sys.path`."""

import sys
from pathlib import Path

import pytest

from cervix_jax import plugins


def write_package(folder: Path, name: str, source: str, **groups: dict[str, str]) -> Path:
    """Write a distribution as pip leaves one, for this process or for others through PYTHONPATH.

    Args:
      folder: where packages are looked for.
      name: of the distribution, such as "plugin-networks"; its module is `plugin_networks`.
      source: the text of the module.
      **groups: for "models", "datasets" or "hooks", the entry points: names to what the module has.
    """
    module = name.replace("-", "_")
    metadata = folder / f"{module}-1.0.dist-info"
    metadata.mkdir(parents=True)
    (folder / f"{module}.py").write_text(source)
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    lines = []
    for group, entries in groups.items():
        lines += [f"[cervix_jax.{group}]", *(f"{k} = {module}:{v}" for k, v in entries.items())]
    (metadata / "entry_points.txt").write_text("\n".join(lines) + "\n")
    return folder


def install(
    monkeypatch: pytest.MonkeyPatch, folder: Path, name: str, source: str, **groups: dict[str, str]
) -> None:
    """`write_package`, for the rest of a test in this process."""
    write_package(folder, name, source, **groups)
    monkeypatch.syspath_prepend(str(folder))
    uncached = getattr(plugins.points, "__wrapped__", plugins.points)
    monkeypatch.setattr(plugins, "points", uncached)
    monkeypatch.delitem(sys.modules, name.replace("-", "_"), raising=False)
