"""The commands, word by word, and the loop against a gcloud that plays a part."""

import json
import subprocess

import pytest
import tpu
from babysit import judge
from config_check import check_overrides, config_file
from gcloud import Runner
from tpu import Launch, main, parser
from tpu_types import LaunchError, parse_type

# Answers by what a command asks for, from lists in the file FAKE_GCLOUD; the last answer stays.
GCLOUD = """
import json, os, sys
path, argv = os.environ["FAKE_GCLOUD"], sys.argv[1:]
state = json.load(open(path))
state["calls"].append(argv)
text = " ".join(argv)
kinds = {"queued-resources create": "create", "queued-resources describe": "queue",
         "queued-resources delete": "delete", "tpu-vm describe": "node", "--status": "workers",
         "buckets describe": "bucket"}
kind = next((name for words, name in kinds.items() if words in text), "other")
answers = state["answers"].get(kind, [""])
answer = answers.pop(0) if len(answers) > 1 else answers[0]
json.dump(state, open(path, "w"))
if answer.startswith("ERROR "):
    sys.exit(answer[6:])
print(answer)
"""
SLICE = ["--name=rcan", "--zone=us-central1-a"]
TPUS = "gcloud compute tpus"
PLACE = "--zone=us-central1-a"
SSH = f"{TPUS} tpu-vm ssh rcan {PLACE} --worker=all --strict-host-key-checking=no --quiet"
RUN = f"{SSH} '--command=env bash cervix_jax/current/launch/worker.sh --detach"
DELETE = f"{TPUS} queued-resources delete rcan {PLACE} --force --quiet"
BUCKET = "gcloud storage buckets describe gs://b '--format=value(location)'"
TRAIN = ["--workdir=gs://b/rcan", "--", "--config=configs/rcan.py"]
NOT_FOUND = "ERROR NOT_FOUND: rcan"


@pytest.fixture
def committed(monkeypatch):
    """A clean checkout of a commit, and a package that is not asked: that takes seconds."""
    monkeypatch.setattr(tpu, "check_overrides", lambda root, arguments: False)
    monkeypatch.setattr(Launch, "_git", lambda self, *arguments: arguments[-1])
    monkeypatch.setattr(Launch, "commit", "0123456789abcdef")


def dry(capsys, *argv):
    assert main([argv[0], *SLICE, "--dry_run", *argv[1:]]) == 0
    return capsys.readouterr().out.splitlines()


@pytest.mark.parametrize(
    ("kind", "runtime"),
    [
        ("v6e-8", "v2-alpha-tpuv6e"),
        ("v5litepod-8", "v2-alpha-tpuv5-lite"),
        ("v5p-8", "v2-alpha-tpuv5"),
        ("v4-8", "tpu-ubuntu2204-base"),
    ],
)
@pytest.mark.parametrize("spot", [[], ["--spot"]])
def test_up(capsys, kind, runtime, spot):
    asked, created = dry(capsys, "up", f"--type={kind}", *spot)
    assert asked == (f"{TPUS} queued-resources describe rcan {PLACE} '--format=value(state.state)'")
    assert created == " ".join([
        f"{TPUS} queued-resources create rcan --node-id=rcan {PLACE} --accelerator-type={kind}",
        f"--runtime-version={runtime} --labels=launcher=cervix_jax --valid-until-duration=6h",
        *spot, "--quiet",
    ])  # fmt: skip


def test_sync_installs_the_same_on_every_host(capsys, committed):
    archived, *others = dry(capsys, "sync")
    assert archived.startswith("git -C ")
    assert archived.endswith("archive --format=tar.gz -o 0123456789ab.tar.gz 0123456789abcdef")
    home = "cervix_jax/0123456789ab"
    assert others == [
        f"{TPUS} tpu-vm scp 0123456789ab.tar.gz rcan:0123456789ab.tar.gz {PLACE} --worker=all "
        "--strict-host-key-checking=no --quiet",
        f"{SSH} '--command=mkdir -p {home}'",
        f"{SSH} '--command=tar -xzf 0123456789ab.tar.gz -C {home}'",
        f"{SSH} '--command=ln -sfn 0123456789ab cervix_jax/current'",
        f"{SSH} '--command=bash {home}/launch/bootstrap.sh tpu'",
    ]


def test_run_logs_and_down(capsys, committed):
    assert dry(capsys, "run", *TRAIN) == [
        BUCKET, f"{RUN} --workdir=gs://b/rcan --config=configs/rcan.py'",
    ]  # fmt: skip
    assert dry(capsys, "logs", "--follow") == [
        f"{SSH.replace('all', '0')} '--command=tail -n 100 -F cervix_jax/worker.log'"
    ]
    assert dry(capsys, "down") == [DELETE]
    assert any("labels.launcher=cervix_jax" in line for line in dry(capsys, "status"))


def test_babysit_in_a_dry_run(capsys, committed):
    lines = dry(capsys, "babysit", "--spot", *TRAIN)
    said = [
        "buckets", "queued-resources describe", "queued-resources create", "tpu-vm describe",
        "archive", "scp", "mkdir", "tar", "ln", "bootstrap", "--detach", "--status", "delete",
    ]  # fmt: skip
    assert len(lines) == len(said)
    assert all(word in line for word, line in zip(said, lines, strict=True))


def test_words_with_spaces_and_quotes_stay_words(capsys, committed):
    (line,) = dry(
        capsys, "run", "--workdir=/nfs/run", *TRAIN[1:], "--config.x=a 'b'; rm -rf $HOME"
    )[-1:]
    command = subprocess.run(
        ["bash", "-c", f"set -- {line}; printf '%s\n' \"${{@: -1}}\""],
        capture_output=True, text=True, check=True,
    ).stdout.strip().removeprefix("--command=")  # fmt: skip
    words = subprocess.run(
        ["bash", "-c", f"printf '%s\n' {command}"], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert words[-1] == "--config.x=a 'b'; rm -rf $HOME"


def test_types():
    assert parse_type("v5litepod-8").one_host
    assert not parse_type("v5litepod-16").one_host
    for name in ("v5e-8", "v9-8", "v4", "v4-0"):
        with pytest.raises(LaunchError, match=f"--type={name} is unknown"):
            parse_type(name)


@pytest.fixture
def gcloud(executable, tmp_path, monkeypatch, committed):
    """Sets what gcloud answers, runs a command, gives its exit code and what gcloud was told."""
    executable("gcloud", GCLOUD)
    path = tmp_path / "state.json"
    monkeypatch.setenv("FAKE_GCLOUD", str(path))
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh/google_compute_engine").touch()
    executable("git", "")

    def run(*argv, **answers):
        path.write_text(json.dumps({"calls": [], "answers": answers}))
        code = main([argv[0], *SLICE, *argv[1:]])
        calls = [" ".join(call) for call in json.loads(path.read_text())["calls"]]
        return code, calls

    return run


def count(calls, words):
    return sum(words in call for call in calls)


def sit(gcloud, *more, **answers):
    answers = {"bucket": ["US-CENTRAL1"]} | answers
    code, calls = gcloud("babysit", "--spot", "--poll_seconds=0", *more, *TRAIN, **answers)
    names = ("queued-resources create", "queued-resources delete", "--detach")
    return code, *(count(calls, name) for name in names)


EXIT = "cervix-worker: exit {}\n".format
RUNNING, NONE = "cervix-worker: running 7", "cervix-worker: none"


def test_a_run_from_request_to_end(gcloud, capsys):
    queue = ["ERROR NOT_FOUND: rcan", "WAITING_FOR_RESOURCES", "PROVISIONING", "ACTIVE"]
    node = ["CREATING", "READY"]
    workers = [NONE, RUNNING, RUNNING, EXIT(0) + EXIT(0)]
    assert sit(gcloud, queue=queue, node=node, workers=workers) == (0, 1, 1, 1)
    assert "The run is finished" in capsys.readouterr().out


def test_uncommitted_changes_are_refused_before_there_are_machines(monkeypatch, capsys):
    monkeypatch.setattr(Launch, "check_key", lambda self: None)
    monkeypatch.setattr(Launch, "_git", lambda self, *argv: " M x" if "status" in argv else "abc")
    monkeypatch.setattr(Runner, "_start", lambda *argv, **pipes: pytest.fail("a command was run"))
    assert main(["babysit", *SLICE, *TRAIN]) == 2
    assert "uncommitted changes" in capsys.readouterr().err


def test_the_commit_stays_that_of_the_start(monkeypatch):
    heads = iter(["first", "second"])
    monkeypatch.setattr(Launch, "_git", lambda self, *a: next(heads) if a[0] == "rev-parse" else "")
    launch = Launch(parser().parse_args(["sync", *SLICE]))
    assert [launch.commit, launch.commit] == ["first", "first"]


def test_suspended_requests_are_made_anew(gcloud):
    queue = [NOT_FOUND, "SUSPENDED", "FAILED", "ACTIVE"]
    assert sit(gcloud, queue=queue, node=["READY"], workers=[NONE, EXIT(0)]) == (0, 3, 3, 1)


@pytest.mark.parametrize("state", ["PREEMPTED", "TERMINATED", NOT_FOUND])
def test_machines_that_were_taken_away_are_replaced(gcloud, state):
    node = ["READY", "READY", state, "READY"]
    workers = [NONE, RUNNING, NONE, EXIT(0)]
    assert sit(gcloud, queue=["ACTIVE"], node=node, workers=workers) == (0, 1, 2, 2)


@pytest.mark.parametrize("report", [EXIT(75) + EXIT(75), "cervix-worker: lost", EXIT(0) + EXIT(75)])
def test_a_preempted_program_is_started_again(gcloud, report):
    workers = [NONE, report, EXIT(0)]
    assert sit(gcloud, queue=["ACTIVE"], node=["READY"], workers=workers) == (0, 0, 1, 2)


@pytest.mark.parametrize("code", [1, 2, 137])
def test_a_failure_is_not_repeated_and_keeps_the_machines(gcloud, capsys, code):
    workers = [NONE, RUNNING, EXIT(75) + EXIT(code)]
    assert sit(gcloud, queue=["ACTIVE"], node=["READY"], workers=workers) == (1, 0, 0, 1)
    out = capsys.readouterr().out
    assert f"failed with exit code {code}" in out
    assert "python launch/tpu.py down --name=rcan --zone=us-central1-a" in out


def test_limits_give_the_machines_back(gcloud, capsys):
    found = sit(gcloud, "--max_restarts=2", queue=[NOT_FOUND, "SUSPENDED"])
    assert found == (1, 3, 4, 0)  # three deleted to be replaced, and once more at the end
    assert "--max_restarts=2 is reached" in capsys.readouterr().out
    found = sit(gcloud, "--max_restarts=2", queue=["ACTIVE"], node=["READY"], workers=[EXIT(75)])
    assert found == (1, 0, 1, 3)
    assert sit(gcloud, "--max_hours=0", queue=["WAITING_FOR_RESOURCES"]) == (1, 0, 1, 0)


def test_a_name_that_is_taken_meanwhile_is_used(gcloud):
    create, queue = ["ERROR ALREADY_EXISTS: rcan"], [NOT_FOUND, "ACTIVE"]
    answers = {"queue": queue, "node": ["READY"], "workers": [NONE, EXIT(0)]}
    assert sit(gcloud, create=create, **answers) == (0, 1, 1, 1)


def test_moments_without_network_are_waited_out(gcloud, capsys):
    queue = ["ERROR timeout"] * 4 + ["ACTIVE"]
    assert sit(gcloud, queue=queue, node=["READY"], workers=[EXIT(0)]) == (0, 0, 1, 0)
    code, *_ = sit(gcloud, queue=["ERROR timeout"])
    assert code == 2
    assert "failed 6 times in a row" in capsys.readouterr().err


def test_what_hosts_report_together():
    assert judge(["running 1", "exit 75"]) == "running"
    assert judge(["running 1", "exit 1"]) == "failed 1"
    assert judge(["exit 0", "none"]) == "restart"


NO_CONFIG = ([], "--config is missing; give it after --")


@pytest.mark.parametrize("dry_run", [[], ["--dry_run"]])
@pytest.mark.parametrize(
    ("command", "arguments", "message"),
    [("run", *NO_CONFIG), ("babysit", *NO_CONFIG)]
    + [
        (command, *case)
        for command in ("up", "run", "babysit")
        for case in (
            (["--config=configs/rcnn.py"], "--config=configs/rcnn.py: there is no such file in"),
            (["--config=/tmp/rcan.py"], "the machines have only the files of the checkout"),
            (["--config=README.md"], "--config=README.md is not a Python file"),
            (
                ["--config=tests/selection.py:x"],
                "--config=tests/selection.py:x defines no function get_config",
            ),
        )
    ],
)
def test_a_config_that_is_none_costs_nothing(gcloud, capsys, command, dry_run, arguments, message):
    where = ["--workdir=gs://b/rcan", "--allow_cross_region"]
    code, calls = gcloud(command, *dry_run, *where, "--", *arguments)
    assert (code, calls) == (2, [])
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line


def test_a_config_that_is_not_committed(gcloud, monkeypatch, capsys):
    monkeypatch.setattr(Launch, "_git", lambda self, *arguments: "")
    assert gcloud("babysit", *TRAIN, bucket=["US-CENTRAL1"])[0] == 2
    assert "--config=configs/rcan.py is not committed" in capsys.readouterr().err


@pytest.mark.parametrize(
    "given",
    [["--config=configs/rcan.py:herlev"], ["--config", "configs/rcan.py"], ["--config=rcan.py"]],
)
def test_configs_that_are_found(given):
    assert config_file(tpu.ROOT, given) == "configs/rcan.py"


def test_every_config_of_the_package_is_one():
    for path in (tpu.ROOT / "configs").glob("*.py"):
        assert config_file(tpu.ROOT, [f"--config={path.name}"]) == f"configs/{path.name}"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("--config.batch_size=96", ""),
        ("--config.batchsize=96", "has no field 'batchsize'"),
        ("--config.batch_size=-1", "batch_size"),
        ("--confg=1", "Unknown command line flag"),
    ],
)
def test_the_package_reads_the_overrides(override, message):
    arguments = ["--config=configs/rcan.py", override, "--workdir=gs://b/rcan"]
    if not message:
        assert check_overrides(tpu.ROOT, arguments)
        return
    with pytest.raises(LaunchError, match=message):
        check_overrides(tpu.ROOT, arguments)


def test_without_the_package_overrides_are_not_read(monkeypatch):
    monkeypatch.setattr("config_check.importlib.util.find_spec", lambda name: None)
    assert not check_overrides(tpu.ROOT, ["--config.batchsize=96"])


def test_down_twice_is_no_error(gcloud, capsys):
    code, calls = gcloud("down", delete=[NOT_FOUND])
    assert (code, len(calls)) == (0, 1)
    assert "nothing to delete" in capsys.readouterr().out
    assert gcloud("down", delete=["ERROR PERMISSION_DENIED"])[0] == 1


@pytest.mark.parametrize(
    ("argv", "answers", "message"),
    [
        (
            ["up"],
            {"queue": ["SUSPENDED"]},
            "rcan already exists in the state SUSPENDED; delete it with",
        ),
        (["up", "--type=v5e-8"], {}, "the name of v5e is v5litepod"),
        (["run", *TRAIN], {"bucket": ["EUROPE-WEST4"]}, "gs://b/rcan is in europe-west4"),
        (["run", "--workdir=runs/x"], {}, "give gs://BUCKET/FOLDER, or the absolute path"),
        (["run", "--type=v5litepod-16", *TRAIN], {}, "has several machines, which cannot share"),
    ],
)
def test_what_cannot_be_done_is_one_line(gcloud, capsys, argv, answers, message):
    code, calls = gcloud(*argv, **answers)
    assert code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert message in line
    assert not count(calls, "create") + count(calls, "ssh")
