"""The lock file and the Dockerfile, as far as a machine without Docker can look at them."""

import itertools
import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
LAUNCH = ROOT / "launch"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PINS = [
    Requirement(line)
    for line in (LAUNCH / "constraints.txt").read_text().splitlines()
    if not line.startswith("#")
]
WANTED = [
    Requirement(line)
    for line in itertools.chain(PROJECT["dependencies"], *PROJECT["optional-dependencies"].values())
    if not line.startswith("cervix_jax[")
]
TEXT = (LAUNCH / "Dockerfile").read_text()
# Instructions, each on one line.
IMAGE = [
    line.split(maxsplit=1)
    for line in re.sub(r"\\\n", " ", TEXT).splitlines()
    if line and not line.startswith("#")
]


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13", "3.14"])
def test_the_lock_has_one_version_of_every_dependency_for_every_python(python):
    machine = {
        "python_version": python, "python_full_version": f"{python}.1", "sys_platform": "linux",
        "platform_machine": "x86_64", "platform_system": "Linux", "os_name": "posix",
    }  # fmt: skip
    valid = [pin for pin in PINS if pin.marker is None or pin.marker.evaluate(machine)]
    names = [normal(pin.name) for pin in valid]
    assert len(set(names)) == len(names)
    versions = dict(zip(names, (str(pin.specifier) for pin in valid), strict=True))
    assert all(re.fullmatch(r"==[\w.+!]+", version) for version in versions.values())
    for wanted in WANTED:
        if wanted.marker is not None and not wanted.marker.evaluate(machine):
            continue
        version = versions[normal(wanted.name)].removeprefix("==")
        assert wanted.specifier.contains(version), f"{wanted} and {version}"


def test_the_lock_names_no_place_and_has_the_accelerators():
    text = (LAUNCH / "constraints.txt").read_text()
    assert "://" not in text
    names = {normal(pin.name) for pin in PINS}
    assert {"jax", "jaxlib", "libtpu", "jax-cuda13-plugin"} <= names
    assert "cervix-jax" not in names


def test_everything_that_installs_takes_the_lock():
    assert "--constraint launch/constraints.txt" in TEXT
    assert "--constraint launch/constraints.txt" in (LAUNCH / "bootstrap.sh").read_text()


def test_what_the_image_copies_is_there_and_not_ignored():
    copied = [word for name, rest in IMAGE if name == "COPY" for word in rest.split()[:-1]]
    assert all((ROOT / word).exists() for word in copied)
    lines = (LAUNCH / "Dockerfile.dockerignore").read_text().splitlines()
    assert lines[1] == "*"
    assert {line[1:] for line in lines if line.startswith("!")} == set(copied)


def test_the_image_has_what_the_package_is_built_from():
    copied = {word for name, rest in IMAGE if name == "COPY" for word in rest.split()[:-1]}
    build = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]
    wheel = build["build"]["targets"]["wheel"]
    parts = build["metadata"]["hooks"]["fancy-pypi-readme"]["fragments"]
    needed = {*wheel["packages"], *wheel["force-include"], *(part["path"] for part in parts)}
    assert needed | set(PROJECT["license-files"]) | {"pyproject.toml"} <= copied


def test_the_image_runs_the_command_and_not_as_root():
    names = [name for name, _ in IMAGE]
    assert names[0] == "ARG"
    assert names[1] == "FROM"
    assert ["ENTRYPOINT", '["cervix"]'] in IMAGE
    assert "cervix" in PROJECT["scripts"]
    user = dict(IMAGE)["USER"]
    assert user == "cervix"
    assert names.index("USER") > max(n for n, name in enumerate(names) if name == "RUN")
    (version,) = re.findall(r"^ARG PYTHON=(.*)$", TEXT, re.MULTILINE)
    assert f'CERVIX_PYTHON:-{version}}}"' in (LAUNCH / "bootstrap.sh").read_text()


@pytest.mark.parametrize("accelerator", ["cpu", "cuda", "npu"])
def test_what_the_image_installs(executable, accelerator):
    executable("python", 'echo "$@"', interpreter="/bin/sh")
    (install,) = [rest for name, rest in IMAGE if name == "RUN" and "pip install" in rest]
    done = subprocess.run(
        ["sh", "-c", install], env=os.environ | {"ACCELERATOR": accelerator},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if accelerator == "npu":
        assert done.returncode == 2
        assert done.stderr == "error: ACCELERATOR=npu is unknown; give cpu or cuda.\n"
        return
    extras = re.search(r"\.\[([\w,]+)\]", done.stdout)
    assert extras is not None
    assert set(extras[1].split(",")) <= PROJECT["optional-dependencies"].keys()
    assert ("cuda" in extras[1]) == (accelerator == "cuda")


def test_shellcheck_of_the_image():
    if shutil.which("shellcheck") is None:
        pytest.skip("shellcheck is not installed")
    script = "\n".join(["#!/bin/sh", "ACCELERATOR=$1", *(r for name, r in IMAGE if name == "RUN")])
    done = subprocess.run(
        ["shellcheck", "-"], input=script + "\n", capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
