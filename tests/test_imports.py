"""Which way imports run, and what is never imported."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# A module may import those of lower levels only.
LEVELS = [
    {"config_files", "errors", "huge_pages", "rng", "storage", "usage"},
    {"paths"},
    {"atomic", "cli", "profiling", "distributed", "models", "preemption", "startup"},
    {"data"},
    {"statistics"},
    {"base_config", "checkpoint", "figures", "losses", "metrics", "optim", "workdir", "writers"},
    {"inference", "prepare"},
    {"run"},
    {"init_from"},
    {"audit", "evaluate", "explain", "export", "train_step"},
    {"aggregate", "report"},
    {"predict"},
    {"loop"},
    {"train"},
    {"cross_validation"},
    {"main", "reproduce"},
]
FORBIDDEN = {"tensorflow", "torch", "pickle", "keras"}


def sources(*folders: str):
    return [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]


def imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def room(name: str) -> str | None:
    parts = name.split(".")
    inside = parts[0] == "cervix_jax" and len(parts) > 1 and parts[1] != "__version__"
    return parts[1] if inside else None


def level(name: str) -> int:
    return next(number for number, names in enumerate(LEVELS) if name in names)


@pytest.mark.parametrize("path", sources("cervix_jax"), ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_run_downhill(path):
    relative = path.relative_to(ROOT / "cervix_jax")
    if str(relative) == "__init__.py":
        return
    own = relative.parts[0].removesuffix(".py")
    for name in imported(path):
        other = room(name)
        if other and other != own:
            assert level(other) < level(own), f"{own} imports {other}"


@pytest.mark.parametrize("path", sources("tfds_builders"), ids=lambda p: str(p.relative_to(ROOT)))
def test_builders_stand_alone(path):
    assert {room(name) for name in imported(path)} <= {None, "errors"}


def test_forbidden_modules_are_never_imported():
    for path in sources("cervix_jax", "tfds_builders", "configs"):
        roots = {name.split(".")[0] for name in imported(path)}
        assert not roots & FORBIDDEN, path


def test_nothing_drags_tensorflow_in():
    code = (
        "import importlib, sys, cervix_jax.main, cervix_jax.evaluate, cervix_jax.prepare\n"
        "import cervix_jax.audit.__main__, cervix_jax.audit.model, cervix_jax.export.__main__\n"
        "from cervix_jax.data import catalog\n"
        "[importlib.import_module(f'tfds_builders.{name}.{name}_dataset_builder')"
        " for name in catalog.BUILDERS]\n"
        "assert not {'tensorflow', 'torch'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=120)


def test_importing_the_package_is_light():
    code = "import sys, cervix_jax; assert 'jax' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=60)
