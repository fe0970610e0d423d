"""Which way imports run, and what is never imported."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# A room may import those of lower levels only.
LEVELS = [
    {"errors", "jax_settings", "progress", "rng", "target"},
    {"peers", "plugins"},
    {"distributed", "files"},
    {"data", "figures", "models"},
    {"config", "slides", "statistics"},
    {"command", "explain", "runs"},
    {"detect"},
    {"audit", "evaluate", "prepare"},
    {"export", "predict", "training"},
    {"explanations"},
    {"report"},
    {"__main__", "compile", "main", "reproduce"},
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
    """The room of an imported name, or None where it is no part of the package."""
    parts = name.split(".")
    inside = parts[0] == "cervix_jax" and len(parts) > 1 and parts[1] != "__version__"
    return parts[1] if inside else None


def room_of(path: Path) -> str:
    """The room of a file. A command may know more than the room that it is named after."""
    relative = path.relative_to(ROOT / "cervix_jax")
    return {"explain/__main__.py": "explanations"}.get(
        relative.as_posix(), relative.parts[0].removesuffix(".py")
    )


def level(name: str) -> int:
    return next(number for number, names in enumerate(LEVELS) if name in names)


@pytest.mark.parametrize("path", sources("cervix_jax"), ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_run_downhill(path):
    if path == ROOT / "cervix_jax/__init__.py":
        return
    own = room_of(path)
    for name in imported(path):
        other = room(name)
        if other and other != own:
            assert level(other) < level(own), f"{own} imports {other}"


@pytest.mark.parametrize("path", sources("tfds_builders"), ids=lambda p: str(p.relative_to(ROOT)))
def test_builders_know_data_and_files_only(path):
    assert {room(name) for name in imported(path)} <= {None, "data", "errors", "files"}


def test_only_the_catalogue_knows_builders():
    for path in sources("cervix_jax"):
        if any(name.split(".")[0] == "tfds_builders" for name in imported(path)):
            assert path == ROOT / "cervix_jax/data/builders.py", path


def test_predict_knows_no_report_and_methods_know_no_run():
    for folder, strange in (("predict", {"report"}), ("explain", {"runs", "training"})):
        for path in sources(f"cervix_jax/{folder}"):
            if path.name == "__main__.py":  # a command may know more
                continue
            assert not {room(name) for name in imported(path)} & strange, path


def test_statistics_are_numbers_only():
    """Predictions in, numbers out: whatever statistics import, directly or not."""
    names = [f"cervix_jax.statistics.{path.stem}" for path in sources("cervix_jax/statistics")]
    code = (
        "import importlib, sys\n"
        f"[importlib.import_module(name) for name in {names}]\n"
        "own = {name for name in sys.modules if name.startswith('cervix_jax.')}\n"
        f"own -= {{*{names}, 'cervix_jax.statistics'}}\n"
        "assert own == {'cervix_jax.errors', 'cervix_jax.data', 'cervix_jax.data.classes'}, own\n"
        "assert not {'jax', 'tensorflow_datasets'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=60)


@pytest.mark.parametrize("path", sources("cervix_jax/statistics"), ids=lambda p: p.name)
def test_statistics_touch_no_files(path):
    files = {"csv", "glob", "io", "json", "os", "pathlib", "shutil", "tempfile"}
    assert not {name.split(".")[0] for name in imported(path)} & files
    tree = ast.parse(path.read_text(encoding="utf-8"))
    called = {node.func for node in ast.walk(tree) if isinstance(node, ast.Call)}
    names = {ast.unparse(function) for function in called}
    assert not names & {"open", "np.load", "np.save", "np.savez", "np.loadtxt", "np.savetxt"}


def test_forbidden_modules_are_never_imported():
    for path in sources("cervix_jax", "tfds_builders", "configs"):
        roots = {name.split(".")[0] for name in imported(path)}
        assert not roots & FORBIDDEN, path


def test_nothing_drags_tensorflow_in():
    code = (
        "import importlib, sys, cervix_jax.main, cervix_jax.prepare\n"
        "import cervix_jax.audit.__main__, cervix_jax.audit.model, cervix_jax.export.__main__\n"
        "import cervix_jax.evaluate.__main__\n"
        "from cervix_jax.data import catalog\n"
        "[importlib.import_module(f'tfds_builders.{name}.{name}_dataset_builder')"
        " for name in catalog.BUILDERS]\n"
        "assert not {'tensorflow', 'torch'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=120)


def test_importing_the_package_is_light():
    code = "import sys, cervix_jax; assert 'jax' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=60)


def test_measures_are_there_without_a_further_import():
    code = "from cervix_jax import explain; explain.measures.sparseness, explain.registry.METHODS"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=60)
