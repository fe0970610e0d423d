"""Killed, preempted, damaged, out of space: the same command ends with the same run."""

import contextlib
import os
import random
import shutil
import signal
import subprocess
import time

import pytest
from commands import assert_same_run, error_line, finish, rows_of, start
from small import get_config

from cervix_jax.command.preemption import Preempted
from cervix_jax.errors import InputError
from cervix_jax.runs.checkpoint import list_steps
from cervix_jax.training import run as train

pytestmark = pytest.mark.slow
LONG = {"num_epochs": 30, "early_stopping_epochs": 8, "checkpoint.every_steps": 1}
ARGUMENTS = [f"--config.{name}={value}" for name, value in LONG.items()]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Where the small data set is prepared and compiled programs are kept."""
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="module")
def reference(tmp_path_factory, data):
    """A run of the small config that nothing interrupts, in a process of its own.

    A process of pytest that has run other test files was seen to differ in the last bit; why is
    not known.
    """
    folder = tmp_path_factory.mktemp("reference")
    finish(start(folder, data))
    return folder


@pytest.fixture(scope="module")
def reference_here(tmp_path_factory, data):
    """The same in this process, for the tests that interrupt it here."""
    folder = tmp_path_factory.mktemp("reference_here")
    train.train_and_evaluate(get_config(str(data)), folder)
    return folder


@pytest.fixture(scope="module")
def reference_in_small_batches(tmp_path_factory, data):
    """The same with the batches of validation that a test interrupts; rounding depends on them."""
    folder = tmp_path_factory.mktemp("reference_in_small_batches")
    config = get_config(str(data))
    config.eval_batch_size = 4
    train.train_and_evaluate(config, folder)
    return folder


def long_config(data):
    config = get_config(str(data))
    config.update_from_flattened_dict(LONG)
    return config


@pytest.fixture(scope="module")
def long_reference(tmp_path_factory, data):
    """A run with saves after every step, which ends early because it no longer improves."""
    folder = tmp_path_factory.mktemp("long_reference")
    finish(start(folder, data, *ARGUMENTS))
    assert 8 < len(rows_of(folder)) < 30
    return folder


def unfinished(folder):
    return list(folder.glob("checkpoints/*.orbax-checkpoint-tmp"))


def wait_for(condition, process):
    deadline = time.monotonic() + 120
    while not condition():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_killed_at_any_moment_it_ends_as_if_never_killed(long_reference, data, tmp_path):
    moment, mid_save, done = random.Random(4), 0, 0
    for kill in range(3):
        process = start(tmp_path, data, *ARGUMENTS)
        goal = done + moment.randint(1, 8)
        steps = tmp_path / "checkpoints"
        wait_for(lambda: (list_steps(steps) or [0])[-1] >= goal, process)  # noqa: B023
        if kill != 1:
            wait_for(lambda: unfinished(tmp_path), process)
        else:
            time.sleep(moment.random() * 0.3)
        process.kill()
        process.communicate()
        mid_save += bool(unfinished(tmp_path))
        done = list_steps(steps)[-1]
    assert mid_save
    finish(start(tmp_path, data, *ARGUMENTS))
    assert_same_run(tmp_path, long_reference)


def test_a_real_process_saves_on_sigterm_and_says_so_by_its_exit_code(
    long_reference, data, tmp_path
):
    process = start(tmp_path, data, *ARGUMENTS)
    wait_for(lambda: list_steps(tmp_path / "checkpoints"), process)
    process.terminate()
    output = finish(process, 75)
    assert "saved. Repeat the command to resume from there." in output
    stopped = list_steps(tmp_path / "checkpoints")[-1]
    assert f"stopped at step {stopped} of 90" in output
    finish(start(tmp_path, data, *ARGUMENTS))
    assert_same_run(tmp_path, long_reference)


def terminate_at(patch, module, name, call):
    """Make the `call`-th call of a function that `module` uses send SIGTERM to this process."""
    original, calls = getattr(module, name), []

    def counted(*args, **kwargs):
        calls.append(1)
        if len(calls) == call:
            os.kill(os.getpid(), signal.SIGTERM)
        return original(*args, **kwargs)

    patch.setattr(module, name, counted)


def make_forward_terminating_at(patch, call):
    """Send SIGTERM in the `call`-th batch that is validated or tested."""
    original, calls = train.make_forward, []

    def make(*args):
        forward = original(*args)

        def counted(variables, images):
            calls.append(1)
            if len(calls) == call:
                os.kill(os.getpid(), signal.SIGTERM)
            return forward(variables, images)

        return counted

    patch.setattr(train, "make_forward", make)


@pytest.mark.parametrize(
    ("moment", "message", "steps"),
    [
        ("data", "the preparation of the data", []),
        ("decoding", "the preparation of the data", []),
        ("validation", "step 6 of 12", [3, 6]),
        ("last validation", "step 12 of 12", [9, 12]),
        ("evaluation", "the final evaluation", [9, 12]),
    ],
)
def test_sigterm_outside_of_steps(
    reference_in_small_batches, data, tmp_path, monkeypatch, moment, message, steps
):
    """Where there is nothing to save it stops at once; a validation is repeated."""
    config = get_config(str(data))
    config.eval_batch_size = 4  # three batches of validation and of test
    with monkeypatch.context() as patch:
        if moment == "data":
            terminate_at(patch, train, "open_data", 1)
        elif moment == "decoding":
            from cervix_jax.data import streaming

            terminate_at(patch, streaming, "decode_square", 20)
        else:
            batches = {"validation": 3, "last validation": 7, "evaluation": 10}
            make_forward_terminating_at(patch, batches[moment])
        with pytest.raises(Preempted, match=message):
            train.train_and_evaluate(config, tmp_path)
    assert set(steps) <= set(list_steps(tmp_path / "checkpoints"))
    assert bool(steps) == bool(list_steps(tmp_path / "checkpoints"))
    assert not (tmp_path / "evaluate" / "test.json").exists()
    train.train_and_evaluate(config, tmp_path)
    assert rows_of(tmp_path) == rows_of(reference_in_small_batches)
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(tmp_path / "evaluate")
    shutil.copytree(reference_in_small_batches / "evaluate", tmp_path / "evaluate")
    assert_same_run(tmp_path, reference_in_small_batches)


def damage(path, how):
    content = path.read_bytes()
    if how == "delete":
        path.unlink()
    elif how == "truncate":
        path.write_bytes(content[: len(content) // 2])
    else:
        middle = len(content) // 2
        path.write_bytes(content[:middle] + bytes([content[middle] ^ 4]) + content[middle + 1 :])


def test_damaged_newest_checkpoint_is_named_and_the_run_ends_the_same(reference, data, tmp_path):
    shutil.copytree(reference, tmp_path / "run")
    newest = tmp_path / "run" / "checkpoints" / "12"
    largest = max(newest.rglob("d/*"), key=lambda path: path.stat().st_size)
    damage(largest, "flip")
    output = finish(start(tmp_path / "run", data))
    assert f"{newest} cannot be read" in output
    assert "resuming from step 9" in output
    assert_same_run(tmp_path / "run", reference)


def test_all_checkpoints_damaged_is_one_line_and_nothing_moves(reference, data, tmp_path):
    shutil.copytree(reference, tmp_path / "run")
    for path in (tmp_path / "run" / "checkpoints").glob("*/state/d/*"):
        damage(path, "truncate")
    before = sorted((tmp_path / "run").rglob("*"))
    assert "none of the checkpoints" in error_line(finish(start(tmp_path / "run", data), 2))
    assert sorted((tmp_path / "run").rglob("*")) == before


def test_unreadable_best_checkpoint_is_an_error_that_says_how_to_go_on(
    long_reference, data, tmp_path
):
    shutil.copytree(long_reference, tmp_path / "run")
    kept = list_steps(tmp_path / "run" / "checkpoints")
    best = train.Checkpoints(tmp_path / "run" / "checkpoints").best_step()
    assert kept == [best, kept[-1] - 1, kept[-1]]
    for path in (tmp_path / "run" / "checkpoints" / str(best) / "state" / "d").iterdir():
        damage(path, "truncate")
    with pytest.raises(InputError, match=f"{best}: the best checkpoint cannot be read"):
        train.train_and_evaluate(long_config(data), tmp_path / "run")
    assert list_steps(tmp_path / "run" / "checkpoints") == kept


def test_full_disk_is_one_line_and_the_checkpoints_before_it_go_on(reference, data, tmp_path):
    """A limit on file sizes that a checkpoint passes stands in for a disk that fills."""
    folder = tmp_path / "run"
    shutil.copytree(reference, folder)
    shutil.rmtree(folder / "checkpoints" / "12")
    kept = list_steps(folder / "checkpoints")
    full = ["sh", "-c", 'ulimit -f 16; exec "$@"', "sh"]  # files of 8 or 16 KiB, by the shell
    uncached = {"JAX_ENABLE_COMPILATION_CACHE": "0"}
    line = error_line(finish(start(folder, data, prefix=full, **uncached), 2))
    assert "File too large" in line
    assert f"{folder} cannot be written" in line
    assert list_steps(folder / "checkpoints") == kept
    assert unfinished(folder)
    finish(start(folder, data))
    assert_same_run(folder, reference)
    assert not unfinished(folder)


def test_read_only_workdir_is_one_line(reference, data, tmp_path):
    shutil.copytree(reference, tmp_path / "run")
    folder, prefix = tmp_path / "run", ()
    if os.geteuid() == 0:  # permissions do not bind root; a read-only mount of its own does
        mount = 'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && exec "$@"'
        prefix = ("unshare", "-m", "sh", "-c", mount, str(folder))
        if not shutil.which("unshare") or subprocess.run([*prefix, "true"]).returncode:
            pytest.skip("root, but not allowed to mount")
    folder.chmod(0o555)
    line = error_line(finish(start(folder, data, prefix=prefix), 2))
    folder.chmod(0o755)
    assert str(folder) in line
    finish(start(folder, data))
    assert_same_run(folder, reference)


def test_loss_that_is_not_a_number_is_one_line_and_exit_code_1(data, tmp_path):
    process = start(tmp_path, data, "--config.learning_rate=100", "--config.optimizer.name=sgd",
                    "--config.optimizer.clip_norm=0.0", "--config.num_epochs=50")  # fmt: skip
    line = error_line(finish(process, 1))
    assert "not finite between steps" in line
