"""The files that make this repository a public project agree with each other."""

import re
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.version import Version

import cervix_jax

ROOT = Path(__file__).parents[1]
GITHUB = ROOT / ".github"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
WORKFLOWS = {
    path.name: yaml.safe_load(path.read_text(encoding="utf-8"))
    for path in sorted((GITHUB / "workflows").glob("*.yml"))
}
JOBS = [
    pytest.param(flow, job, id=f"{name}-{key}")
    for name, flow in WORKFLOWS.items()
    for key, job in flow["jobs"].items()
]
SCRIPT = re.compile(r"^\s*(\.ci/[\w-]+)(.*)$", re.MULTILINE)


def called(text: str) -> set[str]:
    """The scripts of `.ci` that lines of a shell script start with."""
    return {script for script, _ in SCRIPT.findall(text)}


@pytest.mark.parametrize(("workflow", "job"), JOBS)
def test_each_step_is_a_script_that_the_local_run_calls_too(workflow, job):
    del workflow
    local = called((ROOT / ".ci/run").read_text(encoding="utf-8"))
    for step in job["steps"]:
        if "run" not in step:
            continue
        (script,) = called(step["run"])
        assert "\n" not in step["run"].strip()
        assert re.search(r"[;&|]", step["run"]) is None
        assert script in local
        assert (ROOT / script).stat().st_mode & 0o111


def test_the_workflows_and_the_local_run_call_the_same_scripts():
    steps = [step for flow in WORKFLOWS.values() for job in flow["jobs"].values()
             for step in job["steps"]]  # fmt: skip
    remote = {script for step in steps for script in called(step.get("run", ""))}
    local = called((ROOT / ".ci/run").read_text(encoding="utf-8")) - {".ci/readme-command"}
    assert remote == local
    kinds = {step["run"] for step in steps if ".ci/install" in step.get("run", "")}
    assert kinds == {".ci/install newest", ".ci/install locked"}


@pytest.mark.parametrize(("workflow", "job"), JOBS)
def test_jobs_end_and_have_few_rights(workflow, job):
    assert workflow["permissions"] == {"contents": "read"}
    assert workflow["concurrency"]["group"]
    assert 0 < job["timeout-minutes"] <= 120
    for scope, right in job.get("permissions", {}).items():
        assert scope in ("id-token", "pages"), "a job may publish, and no more"
        assert right == "write"
        assert "run" not in str(job["steps"]), "a job that may publish runs no code of this tree"
    for step in job["steps"]:
        if "uses" in step:
            assert re.fullmatch(r"[\w-]+/[\w-]+@(v\d+|release/v\d+|[0-9a-f]{40})", step["uses"])
        if step.get("uses", "").startswith("actions/checkout@"):
            assert step["with"]["persist-credentials"] is False


def test_the_tests_run_on_the_oldest_and_the_newest_python():
    (start, end) = re.findall(r"3\.\d+", PROJECT["requires-python"])
    assert (start, end) == (PYTHONS[0], f"3.{int(PYTHONS[-1].split('.')[1]) + 1}")
    jobs = WORKFLOWS["ci.yml"]["jobs"]
    for name in ("newest", "lowest"):
        assert jobs[name]["strategy"]["matrix"]["python"] == [PYTHONS[0], PYTHONS[-1]]
    listed = [line.rpartition(" ")[2] for line in PROJECT["classifiers"]
              if re.search(r"Python :: 3\.\d+$", line)]  # fmt: skip
    assert tuple(listed) == PYTHONS
    script = (ROOT / ".ci/lowest").read_text(encoding="utf-8")
    assert f"for python in {' '.join(PYTHONS)}; do" in script


def test_every_direct_dependency_has_a_lower_bound():
    extras = PROJECT["optional-dependencies"]
    lines = [line for group in (PROJECT["dependencies"], *extras.values()) for line in group]
    bounds: dict[str, dict[str, Version]] = {}
    for wanted in map(Requirement, lines):
        if wanted.name == "cervix_jax" or wanted.extras & {"cuda13", "tpu"}:
            continue  # the extras of JAX have the bound of jax
        found = [part for part in wanted.specifier if part.operator in (">=", "==")]
        assert len(found) == 1, wanted
        bounds.setdefault(wanted.name, {})[str(wanted.marker)] = Version(found[0].version)
    for name, by_marker in bounds.items():
        for marker, version in by_marker.items():
            if marker != "None":
                assert marker == 'python_version >= "3.14"'
                assert version > by_marker["None"], name


def test_version_and_date_are_the_same_everywhere():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == cervix_jax.__version__
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    released = re.findall(r"^## (\d\S*) \((\d{4}-\d\d-\d\d)\)$", changelog, re.MULTILINE)
    assert released[0] == (citation["version"], str(citation["date-released"]))


def test_the_links_of_the_project_are_those_of_the_site_and_the_citation():
    urls = PROJECT["urls"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    site = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    assert f"site_url: {urls['Documentation']}/\n" in site
    assert f"repo_url: {urls['Repository']}\n" in site
    assert (citation["url"], citation["repository-code"]) == (
        urls["Documentation"], urls["Repository"],
    )  # fmt: skip


def test_issue_forms_have_what_github_requires():
    forms = [path for path in sorted((GITHUB / "ISSUE_TEMPLATE").glob("*.yml"))
             if path.name != "config.yml"]  # fmt: skip
    assert {path.stem for path in forms} == {"bug", "feature", "results"}
    for path in forms:
        form = yaml.safe_load(path.read_text(encoding="utf-8"))
        assert form["name"]
        assert form["description"]
        fields = [part for part in form["body"] if part["type"] != "markdown"]
        assert len({part["id"] for part in fields}) == len(fields) > 0
        assert all(part["attributes"]["label"] for part in fields)


def test_a_command_that_the_readme_lost_is_an_error():
    script = str(ROOT / ".ci/readme-command")
    found = subprocess.run([script, "tests"], capture_output=True, text=True, check=True)
    assert "pytest" in found.stdout
    lost = subprocess.run([script, "lunch"], capture_output=True, text=True, check=False)
    assert lost.returncode == 1
    assert lost.stderr == "error: README.md has no command after <!-- ci: lunch -->\n"
