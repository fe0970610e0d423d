"""Predictions on many machines: the files that start them, and what their processes are told."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from absl import flags

from cervix_jax.predict import __main__ as command
from cervix_jax.predict.schedulers import shard_of_scheduler
from cervix_jax.predict.shard import Shard

LAUNCH = Path(__file__).parents[2] / "launch"
ARRAY = LAUNCH / "predict_array.sbatch"
# Says with what it was called, and ends with the code in the file CODE.
PROGRAM = """
import json, os, sys
with open(os.environ["CALLS"], "a") as file:
    print(json.dumps(sys.argv), file=file)
if sys.argv[0].endswith("srun"):
    os.execvp(sys.argv[1], sys.argv[1:])
sys.exit(int(os.environ["CODE"]) if "predict" in sys.argv[2] else 0)
"""


def yaml_of(name):
    return pytest.importorskip("yaml").safe_load((LAUNCH / name).read_text())


def check_command(words):
    """See that predict knows the flags."""
    before = set(flags.FLAGS)
    command.define_flags()
    own = set(flags.FLAGS) - before
    try:
        names = [word[2:].partition("=")[0] for word in words if word.startswith("--")]
        assert set(names) <= own, names
        assert {"resume", "workdir", "out"} <= set(names)
        assert [word for word in words if not word.startswith("--")] == ["/shared/cells"]
    finally:
        for name in own:
            delattr(flags.FLAGS, name)


@pytest.mark.parametrize("code", [0, 2, 75])
def test_a_task_of_the_array(executable, tmp_path, code):
    for name in ("srun", "scontrol", "training"):
        executable(name, PROGRAM)
    environment = {"CALLS": str(tmp_path / "calls"), "CODE": str(code), "SLURM_JOB_ID": "77",
                   "PYTHON": "training", "SLURM_SUBMIT_DIR": str(tmp_path)}  # fmt: skip
    given = ["--workdir=/shared/runs/a b", "--out=/shared/p.csv", "/shared/cells"]
    done = subprocess.run(
        ["bash", str(ARRAY), *given], env=os.environ | environment, check=False,
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == code, done.stderr
    calls = [json.loads(line) for line in (tmp_path / "calls").read_text().splitlines()]
    run, predict, *others = calls
    assert run[1:] == ["training", "-m", "cervix_jax.predict", "--resume", *given]
    assert predict[1:] == run[2:]
    assert [call[1:] for call in others] == ([["requeue", "77"]] if code == 75 else [])
    check_command(predict[3:])


def test_bash_and_shellcheck_can_read_the_array(tmp_path):
    subprocess.run(["bash", "-n", ARRAY], check=True)
    if shutil.which("shellcheck") is None:
        pytest.skip("shellcheck is not installed")
    done = subprocess.run(["shellcheck", ARRAY], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_the_nodes_of_skypilot(tmp_path, executable):
    task = yaml_of("sky_predict.yaml")
    assert 75 in task["resources"]["job_recovery"]["recover_on_exit_codes"]
    (place,) = task["volumes"]
    given = {"WORKDIR": f"{place}/run", "OUT": f"{place}/p.csv", "IMAGES": f"{place}/cells"}
    assert given.keys() == task["envs"].keys()
    python = tmp_path / ".venv/bin/python"
    python.parent.mkdir(parents=True)
    executable("said", PROGRAM).rename(python)
    environment = os.environ | given | {"CALLS": str(tmp_path / "calls"), "CODE": "0"}
    subprocess.run(["bash", "-c", task["run"]], env=environment, cwd=tmp_path, check=True)
    check_command(json.loads((tmp_path / "calls").read_text())[3:])
    for missing in given:
        less = {name: value for name, value in environment.items() if name != missing}
        done = subprocess.run(
            ["bash", "-c", task["run"]], env=less, cwd=tmp_path, capture_output=True, text=True,
            check=False,
        )  # fmt: skip
        assert done.returncode != 0
        assert f"give --env {missing}=" in done.stderr
    nodes = task["num_nodes"]
    ranks = {"SKYPILOT_NUM_NODES": str(nodes)}
    shards = [shard_of_scheduler(ranks | {"SKYPILOT_NODE_RANK": str(n)})[0] for n in range(nodes)]
    assert shards == [Shard(n + 1, nodes) for n in range(nodes)]


def test_the_pods_of_kubernetes():
    job = yaml_of("predict_job.yaml")
    spec = job["spec"]
    assert (job["apiVersion"], job["kind"], spec["completionMode"]) == (
        "batch/v1",
        "Job",
        "Indexed",
    )
    pod = spec["template"]["spec"]
    assert pod["restartPolicy"] == "Never"  # as backoffLimitPerIndex and podFailurePolicy ask for
    (container,) = pod["containers"]
    assert container["args"][0] == "predict"
    check_command(container["args"][1:])
    (mount,), (volume,) = container["volumeMounts"], pod["volumes"]
    assert (mount["name"], mount["mountPath"]) == (volume["name"], "/shared")
    environment = {each["name"]: each["value"] for each in container["env"]}
    shards = [
        shard_of_scheduler(environment | {"JOB_COMPLETION_INDEX": str(n)})[0]
        for n in range(spec["completions"])
    ]
    assert shards == [Shard(n + 1, spec["completions"]) for n in range(spec["completions"])]
