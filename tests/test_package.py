"""The package as people install it: a wheel made from the sdist, used from an empty folder."""

import os
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BUILDERS = ("cervix_phantom", "cric", "herlev", "image_folder", "sipakmed")
pytestmark = pytest.mark.slow


def run(*command: str, cwd: Path, **environment: str) -> str:
    done = subprocess.run(
        command, cwd=cwd, env=os.environ | environment, capture_output=True, text=True, timeout=900
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> tuple[Path, Path]:
    """The sdist, and the wheel that is built from it."""
    folder = tmp_path_factory.mktemp("built")
    tools = folder / "tools"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    fetched = subprocess.run(
        [sys.executable, "-m", "pip", "install", "-q", "--target", tools,
         *project["build-system"]["requires"]],
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    if fetched.returncode:
        pytest.skip(f"the build tools cannot be had: {fetched.stderr[-200:]}")
    build = {"PYTHONPATH": str(tools)}
    run(
        sys.executable,
        "-m",
        "hatchling",
        "build",
        "-t",
        "sdist",
        "-d",
        str(folder),
        cwd=ROOT,
        **build,
    )
    (sdist,) = folder.glob("*.tar.gz")
    run(sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation",
        "-w", str(folder), str(sdist), cwd=folder, **build)  # fmt: skip
    (wheel,) = folder.glob("*.whl")
    return sdist, wheel


@pytest.fixture(scope="module")
def installed(built, tmp_path_factory) -> dict[str, str]:
    """The environment of a process that has the wheel, and no other copy of the package."""
    folder = tmp_path_factory.mktemp("installed")
    run(sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(folder / "site"),
        str(built[1]), cwd=folder)  # fmt: skip
    return {
        "PYTHONPATH": str(folder / "site"),
        "XDG_CACHE_HOME": str(folder / "cache"),
        "TFDS_DATA_DIR": str(folder / "data"),
    }


def test_wheel_holds_configs_builders_templates_and_weights(built):
    names = set(zipfile.ZipFile(built[1]).namelist())
    for config in (ROOT / "configs").glob("*.py"):
        assert f"cervix_jax/configs/{config.name}" in names
    for builder in BUILDERS:
        for name in ("README.md", "CITATIONS.bib", "TAGS.txt", f"{builder}_dataset_builder.py"):
            assert f"tfds_builders/{builder}/{name}" in names
    assert "cervix_jax/py.typed" in names
    # Templates, styles and scripts of pages, and the detector's weights with their card.
    kinds = ("*.j2", "*.css", "*.js", "*.npz", "MODEL_CARD.md")
    templates = [
        path.relative_to(ROOT) for kind in kinds for path in (ROOT / "cervix_jax").rglob(kind)
    ]
    assert {path.suffix for path in templates} == {".j2", ".css", ".js", ".npz", ".md"}
    assert {str(path) for path in templates} <= names
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {
        "cervix_jax",
        "tfds_builders",
    }


def test_sdist_holds_what_the_readme_speaks_of(built):
    with tarfile.open(built[0]) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    for name in ("README.md", "LICENSE", "CITATION.cff", "CHANGELOG.md", "CONTRIBUTING.md",
                 "SECURITY.md", "CODE_OF_CONDUCT.md", "mkdocs.yml",
                 "configs/rcan.py", "docs/claims.md", "docs/phantom.png", "launch/tpu.py",
                 "examples/run_exported.py", "tests/conftest.py"):  # fmt: skip
        assert name in names


def test_commands_from_an_empty_folder(installed, tmp_path):
    where = "import cervix_jax; print(cervix_jax.__file__)"
    assert installed["PYTHONPATH"] in run(sys.executable, "-c", where, cwd=tmp_path, **installed)

    def command(name: str, *arguments: str) -> str:
        return run(
            sys.executable, "-m", f"cervix_jax.{name}", *arguments, cwd=tmp_path, **installed
        )

    few = {"clusters_per_class": 4, "cells_per_cluster": 2}
    settings = [f"--setting={name}={value}" for name, value in few.items()]
    assert "40" in command("prepare", "--dataset=cervix_phantom/single_cell", *settings)
    command(
        "main", "--config=configs/rcan.py", "--workdir=run", "--config.image_size=32",
        "--config.num_epochs=1", "--config.batch_size=8", "--config.split.folds=4",
        *[f"--config.data.settings.{name}={value}" for name, value in few.items()],
    )  # fmt: skip
    assert "accuracy" in command("evaluate", "--workdir=run", "--split=val")
    command("export", "--workdir=run", "--out=exported")
    command("report", "--workdir=run", "--cases=2")
    command("reproduce", "--dry_run", "--only=model6")
    for name in ("run/evaluate/val.json", "exported/model.stablehlo", "run/report.html"):
        assert (tmp_path / name).stat().st_size > 0
