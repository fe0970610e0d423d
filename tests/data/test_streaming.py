"""Worker processes give the batches that threads give, and end with whom they work for."""

import contextlib
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import psutil
import pytest
from test_pipeline import COUNT, SIZE, dataset, held, pipeline  # noqa: F401

from cervix_jax.data import streaming
from cervix_jax.data.pipeline import Pipeline
from cervix_jax.errors import InputError
from cervix_jax.files.images import UnreadableImage

ROOT = Path(__file__).parents[2]
TIMEOUT = 240
# A script as users write them: without `if __name__ == "__main__"`. Every line that it prints would
# come twice if a worker ran it again.
SCRIPT = """
import io, sys, time
from itertools import islice
from types import SimpleNamespace
import numpy as np
from PIL import Image
from cervix_jax.data.pipeline import Pipeline

print("begun", flush=True)

def encode(image):
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "PNG")
    return stream.getvalue()

noise = np.random.default_rng(0)
files = [encode(noise.integers(0, 256, (20, 27, 3), np.uint8)) for _ in range(23)]

def made(placement, workers, files=files):
    dataset = SimpleNamespace(
        labels=np.arange(23) % 5,
        pixel_labels="",
        filenames=[f"{index}.png" for index in range(23)],
        source=[{"image": file} for file in files],
    )
    return Pipeline(
        dataset, image_size=16, resize="crop", margin=2, fill="reflect", placement=placement,
        workers=workers, progress=False,
    )
"""
SAME = (
    SCRIPT
    + """
def stream(placement, workers, start):
    batches = made(placement, workers).train_batches(np.arange(2, 23), 4, seed=7, start=start)
    return [(np.asarray(b["image"]), np.asarray(b["label"])) for b in islice(batches, 9)]

def evaluated(placement, workers):
    batches = made(placement, workers).eval_batches(np.arange(3, 18), 4)
    return [tuple(np.asarray(b[k]) for k in ("image", "label", "mask")) for b in batches]

for expected, found in (
    (stream("device", None, 0), stream("host", 1, 0)),
    (stream("device", None, 7), stream("host", 2, 7)),
    (evaluated("device", None), evaluated("host", 3)),
):
    assert len(expected) == len(found)
    for first, second in zip(expected, found):
        for one, other in zip(first, second, strict=True):
            assert one.dtype == other.dtype
            np.testing.assert_array_equal(one, other)
print("same", flush=True)
broken = made("host", 1, [files[0][:60]] * 23)
try:
    next(broken.train_batches(np.arange(23), 4, seed=7))
except ValueError as error:
    print(type(error).__name__, error, flush=True)
"""
)
ENDLESS = (
    SCRIPT
    + """
batches = made("host", 2).train_batches(np.arange(23), 4, seed=7)
next(batches)
import psutil
print(*[p.pid for p in psutil.Process().children()], flush=True)
while True:
    next(batches)
    print("batch", flush=True)
    time.sleep(0.05)
"""
)


@contextlib.contextmanager
def running(script: str, folder: Path, **options):
    """A process that runs the script; whoever reads from it waits no longer than the time limit."""
    (folder / "script.py").write_text(script)
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        [sys.executable, "script.py"], cwd=folder, env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **options,
    ) as process:  # fmt: skip
        limit = threading.Timer(TIMEOUT, process.kill)
        limit.start()
        try:
            yield process
        finally:
            limit.cancel()
            process.kill()


def ended(pids, seconds: float = 60) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        alive = [p for p in pids if psutil.pid_exists(p)]
        if all(psutil.Process(p).status() == psutil.STATUS_ZOMBIE for p in alive):
            return True
        time.sleep(0.1)
    return False


@pytest.mark.slow
def test_processes_give_the_same_batches_to_a_bare_script(tmp_path):
    with running(SAME, tmp_path) as process:
        output, _ = process.communicate()
    assert process.returncode == 0, output
    # Python's tracker says so where it frees what lay ready for a stream that was given up.
    said = [line for line in output.splitlines() if "resource_tracker" not in line]
    said = [line for line in said if not line.startswith("  warnings.warn")]
    assert said[:2] == ["begun", "same"], output
    assert said[2].startswith("UnreadableImage "), output
    assert ".png: is not a readable" in said[2]
    assert len(said) == 3, output


@pytest.mark.slow
@pytest.mark.parametrize("how", ["killed", "interrupted"])
def test_workers_end_with_their_parent(tmp_path, how):
    with running(ENDLESS, tmp_path, start_new_session=True) as process:
        assert process.stdout is not None
        lines = iter(process.stdout.readline, "")
        assert next(lines) == "begun\n"
        workers = [int(pid) for pid in next(lines).split()]
        assert len(workers) >= 2
        for _ in range(4):  # by then both of them have begun
            assert next(lines) == "batch\n"
        if how == "killed":
            process.kill()
        else:
            # To the whole group, as Ctrl-C: workers leave it to their parent.
            os.killpg(process.pid, signal.SIGINT)
        assert ended(workers)
        output = process.communicate(timeout=60)[0]
        if how == "interrupted":
            assert "now decoded in threads" not in output
            assert output.count("KeyboardInterrupt") == 1, output


def test_a_stream_goes_on_in_threads_where_workers_fail(dataset, monkeypatch, caplog):  # noqa: F811
    expected = [held(b) for b in pipeline(dataset, "host").eval_batches(np.arange(COUNT), 4)]

    def dying(batches, workers):
        assert workers == 2
        yield batches[0]
        yield batches[1]
        raise RuntimeError("Worker process was terminated unexpectedly with exit code -9.")

    monkeypatch.setattr(streaming, "_from_processes", dying)
    made = Pipeline(dataset, image_size=SIZE, placement="host", workers=2, progress=False)
    assert [held(b) for b in made.eval_batches(np.arange(COUNT), 4)] == expected
    assert "now decoded in threads" in caplog.text
    assert "exit code -9" in caplog.text


def test_a_damaged_image_is_no_reason_for_threads(dataset, monkeypatch):  # noqa: F811
    def damaged(batches, workers):
        raise UnreadableImage("a.png", "is cut", "copy it again")
        yield

    monkeypatch.setattr(streaming, "_from_processes", damaged)
    made = Pipeline(dataset, image_size=SIZE, placement="host", workers=1, progress=False)
    with pytest.raises(InputError, match=r"a\.png: is cut; copy it again"):
        next(made.eval_batches(np.arange(4), 4))


def test_errors_of_workers_arrive_as_they_were():
    error = pickle.loads(pickle.dumps(UnreadableImage("a.png", "is\ncut", "copy it again")))
    assert type(error) is UnreadableImage
    assert str(error) == "a.png: is cut; copy it again."
    assert error.reason == "is cut"


@pytest.mark.parametrize(
    ("platform", "devices", "cores", "expected"),
    [("cpu", 1, 64, 0), ("tpu", 8, 224, 32), ("gpu", 1, 16, 8), ("gpu", 1, 4, 3), ("gpu", 1, 2, 0)],
)
def test_how_many_processes_pay(monkeypatch, platform, devices, cores, expected):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: range(cores), raising=False)
    mesh = SimpleNamespace(local_devices=[SimpleNamespace(platform=platform)] * devices)
    assert streaming.worker_count(mesh) == expected


def test_workers_are_a_number_of_processes(dataset):  # noqa: F811
    with pytest.raises(InputError, match="workers=-1"):
        Pipeline(dataset, image_size=SIZE, workers=-1)
