"""The shell scripts: what a linter says, exit codes, and a run that survives its machine."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPTS = [ROOT / "launch" / name for name in ("bootstrap.sh", "worker.sh", "slurm_gpu.sbatch")]
WORKER = ["bash", str(ROOT / "launch/worker.sh")]
# Buckets are folders in $BUCKETS.
GCLOUD = """
import os, shutil, sys
from pathlib import Path
def place(url):
    return Path(url.replace("gs://", os.environ["BUCKETS"] + "/"))
plain = [word for word in sys.argv[3:] if not word.startswith("--")]
if sys.argv[2] == "ls":
    if not place(plain[0]).exists():
        sys.exit(os.environ.get("LS_SAYS", "One or more URLs matched no objects."))
else:
    source, target = map(place, plain)
    if os.environ.get("FETCH_FAILS") and "gs:" in plain[0]:
        target.mkdir(parents=True, exist_ok=True)
        shutil.copy(source / "config.json", target)
        sys.exit("the network is gone")
    if "--delete-unmatched-destination-objects" in sys.argv:
        shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target, dirs_exist_ok=True)
"""
# A training of as many steps as --steps says, one a start; it stops with 75 until all are done.
TRAINING = """
import json, signal, sys, time
from pathlib import Path
options = dict(word[2:].split("=", 1) for word in sys.argv[3:])
folder = Path(options["workdir"])
folder.mkdir(parents=True, exist_ok=True)
path = folder / "config.json"
step = json.loads(path.read_text()) + 1 if path.exists() else 1
path.write_text(json.dumps(step))
def stop(*unused):
    time.sleep(0.3)
    sys.exit(75)
signal.signal(signal.SIGTERM, stop)
if options.get("wait"):
    (folder / "waiting").touch()
    time.sleep(30)
sys.exit(int(options.get("code", 0)) if step >= int(options["steps"]) else 75)
"""


@pytest.fixture
def worker(executable, tmp_path, monkeypatch):
    """Starts worker.sh with a training of the test's own and a gcloud that copies folders."""
    executable("gcloud", GCLOUD)
    monkeypatch.setenv("PYTHON", str(executable("training", TRAINING)))
    monkeypatch.setenv("CERVIX_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("BUCKETS", str(tmp_path / "buckets"))
    return lambda *argv: subprocess.Popen(
        [*WORKER, *argv], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def end(process):
    output, _ = process.communicate(timeout=30)
    return process.returncode, output


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_shellcheck(script):
    if shutil.which("shellcheck") is None:
        pytest.skip("shellcheck is not installed")
    done = subprocess.run(["shellcheck", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_bash_can_read_it(script):
    subprocess.run(["bash", "-n", script], check=True)


@pytest.mark.parametrize("code", [0, 1, 2, 75])
@pytest.mark.parametrize("place", ["", "gs://b/"])
def test_the_exit_code_of_the_training_is_the_workers(worker, tmp_path, code, place):
    workdir = f"{place}run" if place else tmp_path / "run"
    assert end(worker(f"--workdir={workdir}", "--steps=1", f"--code={code}"))[0] == code


@pytest.mark.parametrize("place", ["", "gs://b/"])
def test_sigterm_reaches_the_training(worker, tmp_path, place):
    local = tmp_path / ("state/runs/b/run" if place else "run")
    process = worker(f"--workdir={place + 'run' if place else local}", "--steps=1", "--wait=yes")
    while not (local / "waiting").exists():
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    assert end(process)[0] == 75
    assert not place or (tmp_path / "buckets/b/run/config.json").exists()


def test_a_run_in_a_bucket_outlives_its_machine(worker, tmp_path):
    codes = []
    for _ in range(3):
        codes.append(end(worker("--workdir=gs://b/run", "--steps=3"))[0])
        shutil.rmtree(tmp_path / "state", ignore_errors=True)
    assert codes == [75, 75, 0]
    assert json.loads((tmp_path / "buckets/b/run/config.json").read_text()) == 3


def test_half_a_fetch_is_never_taken_for_the_run(worker, tmp_path, monkeypatch):
    kept = tmp_path / "buckets/b/run"
    kept.mkdir(parents=True)
    (kept / "config.json").write_text("1")
    (kept / "checkpoint").write_text("whole")
    monkeypatch.setenv("FETCH_FAILS", "yes")
    for _ in range(2):
        code, output = end(worker("--workdir=gs://b/run", "--steps=2"))
        assert code == 1
        assert "the network is gone" in output
    monkeypatch.delenv("FETCH_FAILS")
    assert end(worker("--workdir=gs://b/run", "--steps=2"))[0] == 0
    assert (kept / "checkpoint").read_text() == "whole"
    assert json.loads((kept / "config.json").read_text()) == 2


def test_a_bucket_that_cannot_be_asked_starts_nothing(worker, tmp_path, monkeypatch):
    monkeypatch.setenv("LS_SAYS", "403 no permission")
    code, output = end(worker("--workdir=gs://b/run", "--steps=1"))
    assert code == 1
    assert "error: gs://b/run cannot be read: 403 no permission" in output
    assert not list(tmp_path.glob("buckets/*"))


def test_a_detached_worker_and_its_status(worker):
    def status():
        return end(worker("--status"))[1].strip()

    assert status() == "cervix-worker: none"
    code, output = end(worker("--detach", "--workdir=gs://b/run", "--steps=2"))
    assert code == 0
    assert output.startswith("cervix-worker: running ")
    while status().startswith("cervix-worker: running"):
        time.sleep(0.05)
    assert status() == "cervix-worker: exit 75"


def test_without_python_it_says_what_to_do(worker, monkeypatch):
    monkeypatch.setenv("PYTHON", "/nowhere/python")
    assert end(worker("--workdir=x"))[1].startswith("error: /nowhere/python is missing; run launch")


def test_bootstrap_wants_an_accelerator_it_knows():
    done = subprocess.run(["bash", SCRIPTS[0], "npu"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == "error: accelerator 'npu' is unknown; give tpu, cuda or cpu.\n"


@pytest.mark.slow
def test_two_processes_stop_and_go_on_through_the_worker(tmp_path):
    """One of two real processes is told to stop: both save and end with 75, and both resume."""
    from commands import ENVIRONMENT, finish_all, rows_of

    environment = os.environ | ENVIRONMENT | {
        "PYTHON": sys.executable, "PYTHONPATH": str(ROOT),
    }  # fmt: skip

    def start_two(port):
        common = [
            f"--config=tests/small.py:{tmp_path / 'data'}", f"--workdir={tmp_path / 'run'}",
            "--config.num_epochs=30", "--config.checkpoint.every_steps=3",
            f"--coordinator_address=localhost:{port}", "--num_processes=2",
        ]  # fmt: skip
        return [
            subprocess.Popen(
                [*WORKER, *common, f"--process_id={number}"], env=environment, text=True,
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            )
            for number in range(2)
        ]  # fmt: skip

    def free_port():
        with socket.socket() as free:
            free.bind(("localhost", 0))
            return free.getsockname()[1]

    processes = start_two(free_port())
    while not list((tmp_path / "run").glob("checkpoints/[0-9]*")):
        assert processes[0].poll() is None, processes[0].communicate()[0]
        time.sleep(0.01)
    processes[1].terminate()
    finish_all(processes, 75)
    assert len(rows_of(tmp_path / "run")) < 30
    outputs = finish_all(start_two(free_port()))
    assert any("Resuming from step" in output for output in outputs)
    assert len(rows_of(tmp_path / "run")) == 30
