"""`up` warns where a config does not fit into memory, and stops for nothing."""

import importlib.util
import json
import subprocess

import fit_check
import pytest
from tpu import ROOT, main

SLICE = ["--name=rcan", "--zone=us-central1-a"]
TRAIN = ["--config=configs/rcan.py", "--config.batch_size=4096", "--workdir=x"]
FITS = {"memory": {"total": 2**30, "available": 2**34, "fits": True}, "images": 64}
TOO_LARGE = {
    "memory": {"total": 2**35, "available": 2**34, "fits": False},
    "images": 4096,
    "largest_batch": {"images": 1024},
}


@pytest.fixture
def compiler(monkeypatch):
    """Stands in for the compile command; gives what it was told."""
    monkeypatch.setattr(fit_check, "NEEDED", ())
    told = []

    def stand_in(found=None, code=0, error=""):
        def run(argv, **options):
            told.append(argv)
            if found == "slow":
                raise subprocess.TimeoutExpired(argv, options["timeout"])
            if found:
                path = next(each for each in argv if each.startswith("--out=")).partition("=")[2]
                with open(path, "w") as file:
                    json.dump({"programs": {"train": found}}, file)
            return subprocess.CompletedProcess(argv, code, "", error)

        monkeypatch.setattr(fit_check.subprocess, "run", run)
        return told

    return stand_in


def check(tmp_path):
    lines = []
    return fit_check.check_fit(tmp_path, "v5litepod-8", TRAIN, 1, lines.append), lines


def test_the_command_has_the_config_alone(compiler, tmp_path):
    told = compiler(FITS)
    assert check(tmp_path)[0] is True
    (argv,) = told
    assert "--topology=v5litepod-8" in argv
    assert argv[-2:] == TRAIN[:2]
    assert "--workdir=x" not in argv


def test_values_may_be_words_of_their_own():
    given = ["--config", "configs/rcan.py:herlev", "--workdir", "x", "--config.model.remat"]
    given += ["-config.batch_size", "64", "--noconfig.data.check_counts", "--configuration=1"]
    assert fit_check.command("v6e-8", given, "o")[5:] == [
        "--config=configs/rcan.py:herlev", "--config.model.remat", "--config.batch_size=64",
        "--noconfig.data.check_counts",
    ]  # fmt: skip


def test_what_does_not_fit_is_said_with_the_way_out(compiler, tmp_path):
    compiler(TOO_LARGE)
    fits, lines = check(tmp_path)
    assert fits is False
    assert "WARNING: batch_size=4096 does not fit on v5litepod-8: it needs 32.0 GiB" in lines[-1]
    assert "the estimated largest batch size is 1024" in lines[-1]


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ({"found": "slow"}, "took more than 1 minutes"),
        ({"code": 2, "error": "noise\nerror: no such field\n"}, "not checked: no such field"),
        ({"code": 1}, "not checked: the compiler failed"),
    ],
)
def test_what_cannot_be_checked_is_one_line(compiler, tmp_path, answer, reason):
    compiler(**answer)
    fits, lines = check(tmp_path)
    assert fits is None
    assert reason in lines[-1]


def test_without_the_compiler_one_line_says_so(monkeypatch, tmp_path):
    monkeypatch.setattr(fit_check, "NEEDED", ("no_such_package",))
    assert check(tmp_path) == (
        None, ["memory: not checked, because no_such_package is not installed here."],
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("libtpu") is None, reason="no libtpu")
def test_the_compiler_itself_says_what_fits():
    """No stand-in: a small network, as a launch would compile it."""
    given = ["--config=tests/small.py:/tmp/none", "--config.image_size=512", "--workdir=x"]
    for images, fits in ((64, True), (2**17, False)):
        lines = []
        batch = f"--config.batch_size={images}"
        found = fit_check.check_fit(ROOT, "v5litepod-8", [*given, batch], 10, lines.append)
        assert found is fits, lines
        assert f"batch_size={images} {'fits' if fits else 'does not fit'}" in lines[-1]


def test_up_shows_the_command_after_the_request(capsys):
    assert main(["up", *SLICE, "--dry_run", "--", *TRAIN]) == 0
    *_, created, compiled = capsys.readouterr().out.splitlines()
    assert "queued-resources create" in created
    assert compiled == (
        "python -m cervix_jax.compile --topology=v5litepod-8 --programs=train --out=fit.json "
        "--config=configs/rcan.py --config.batch_size=4096"
    )
    assert main(["up", *SLICE, "--dry_run", "--check_minutes=0", "--", *TRAIN]) == 0
    assert "cervix_jax.compile" not in capsys.readouterr().out
