"""Four processes, as an array of Slurm starts them, make the table of one, though one is killed."""

import os
import resource
import signal
import subprocess
import sys

import pytest
from commands import ENVIRONMENT, TESTS, finish
from predicted_rows import read_rows
from test_predict_resume import CODE

from cervix_jax.errors import InputError
from cervix_jax.predict.shard import Shard
from cervix_jax.predict.workflow import predict_images


def start(images, workdir, out, *given, killed_in=-1, **environment):
    """The command in a process that kills itself while it writes the line of that batch."""
    return subprocess.Popen(
        [sys.executable, "-c", CODE, *images, f"--workdir={workdir}", f"--out={out}",
         "--batch_size=4", "--group=parent", *given, str(int(signal.SIGKILL)), str(killed_in)],
        cwd=TESTS.parent, env=os.environ | ENVIRONMENT | environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


def task(number):
    names = {"ID": number, "MIN": 1, "MAX": 4, "STEP": 1, "COUNT": 4}
    return {f"SLURM_ARRAY_TASK_{name}": str(value) for name, value in names.items()}


@pytest.mark.slow
def test_four_processes_one_killed(workdir, cells, tmp_path):
    images = [str(path) for path in sorted(cells.rglob("*.png"))]
    for number in (3, 7, 20):
        images.insert(number, str(tmp_path / f"bad{number}.png"))
        (tmp_path / f"bad{number}.png").write_text("no image")
    whole, out = tmp_path / "whole.csv", tmp_path / "out.csv"
    processes = [
        start(images, workdir, out, killed_in=2 if number == 3 else -1, **task(number))
        for number in range(1, 5)
    ]
    said = [
        finish(process, -signal.SIGKILL if number == 3 else 0)
        for number, process in enumerate(processes, 1)
    ]
    for number in (1, 2, 4):
        assert f"shard {number}/4, as set by SLURM_ARRAY_TASK_ID={number} of" in said[number - 1]
        assert "no table yet: shard" in said[number - 1]
    assert not out.exists()
    part = Shard(3, 4).part_of(out).read_bytes()
    assert part.count(b"\n") == 2  # what it began with, a batch, and half of a second
    assert not part.endswith(b"\n")
    resumed = start(images, workdir, out, "--resume", **task(3))
    predict_images(workdir, images, out=whole, batch_size=4, group="parent", progress=False)
    assert "40 of 43 images predicted" in finish(resumed)
    for ending in (".csv", "_skipped.csv", "_groups.csv"):
        paths = [path.with_name(f"{path.stem}{ending}") for path in (out, whole)]
        assert paths[0].read_bytes() == paths[1].read_bytes()
    assert len(read_rows(out)) == 40
    assert not list(tmp_path.glob("*.part"))


def test_a_disk_that_fills_up_loses_nothing(workdir, cells, tmp_path):
    out, whole = tmp_path / "p.csv", tmp_path / "whole.csv"
    given = {"batch_size": 4, "progress": False}
    predict_images(workdir, cells, out=whole, **given)
    predict_images(workdir, cells, out=out, shard="2/2", **given)
    part, before = Shard(1, 2).part_of(out), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (3000, before[1]))
    try:
        with pytest.raises(InputError) as full:
            predict_images(workdir, cells, out=out, shard="1/2", **given)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert str(full.value) == (
        f"{part}: cannot be written (File too large); finished results are kept. Make space "
        "and continue with --resume."
    )
    kept = part.read_bytes()
    assert len(kept) == 3000
    assert kept.count(b"\n") > 1
    # The disk is full when the table is made: all parts are whole, and are kept.
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(whole.read_bytes()) - 1, before[1]))
    try:
        with pytest.raises(InputError, match="cannot be written"):
            predict_images(workdir, cells, out=out, shard="1/2", resume=True, **given)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not out.exists()
    predict_images(workdir, cells, out=out, shard="1/2", resume=True, **given)
    assert out.read_bytes() == whole.read_bytes()
    assert sorted(os.listdir(tmp_path)) == ["p.csv", "whole.csv"]


def test_what_the_command_says(predict, workdir, cells, tmp_path, capfd, monkeypatch):
    out = tmp_path / "p.csv"
    for name, value in task(2).items():
        monkeypatch.setenv(name, value)
    assert not predict(cells, workdir=workdir, out=out)
    told = capfd.readouterr()
    assert told.err.startswith(
        "shard 2/4, as set by SLURM_ARRAY_TASK_ID=2 of SLURM_ARRAY_TASK_COUNT=4; "
    )
    assert "--shard=1/1 predicts all images" in told.err
    assert "8/8" in told.err  # the bar counts its share, a batch of 8
    part = tmp_path / "p.csv.shard-2-of-4.part"
    assert told.out == (
        f"8 of the 8 images of shard 2/4 predicted: {part}; no table yet: shards 1, 3 and 4 of 4 "
        "are missing\n"
    )
    assert not predict(cells, workdir=workdir, out=out, resume=True)
    assert f"{part}: is already complete." in capfd.readouterr().err
    with pytest.raises(InputError, match="shards 1, 3 and 4 of 4 are missing; start each of these"):
        predict(merge=True, out=out)
    with pytest.raises(InputError, match="leave out x"):
        predict("x", merge=True, out=out)
    for number in (1, 3, 4):
        predict_images(workdir, cells, out=out, shard=f"{number}/4", progress=number == 1)
    assert "shard 1/4" not in capfd.readouterr().err  # nobody asked the environment
    assert len(read_rows(out)) == 40
    # A command that takes all is one of no shard, whatever the environment says.
    assert not predict(cells, workdir=workdir, out=tmp_path / "all.csv", shard="1/1")
    assert (tmp_path / "all.csv").read_bytes() == out.read_bytes()
    assert capfd.readouterr().out.startswith("40 of 40 images predicted")
