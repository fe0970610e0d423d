"""The hook that gets the metrics of every epoch: what it gets, once each, and how it fails."""

import json
import sys

import pytest
from commands import error_line, finish, start
from installed import install

from cervix_jax.command.preemption import Preempted
from cervix_jax.errors import InputError
from cervix_jax.training import hooks, writers
from cervix_jax.training.cross_validation import cross_validate
from cervix_jax.training.hooks import HookError, Reporter, find_hook
from cervix_jax.training.run import train_and_evaluate

HOOK = """
def log(step, epoch, values):
    print(f"got {epoch} at {step}: {len(values)}", flush=True)

def two(step, epoch):
    pass
"""


class Recorder:
    """Keeps its calls; fails or stops at the epochs it is given."""

    def __init__(self, fails_at: int = 0, error: BaseException | None = None):
        self.calls, self._fails_at, self._error = [], fails_at, error or ValueError("no network")

    def __call__(self, step, epoch, values):
        if epoch == self._fails_at:
            raise self._error
        self.calls.append((step, epoch, values))

    @property
    def epochs(self) -> list[int]:
        return [epoch for _, epoch, _ in self.calls]


def test_it_gets_the_rows_of_the_metrics_file_with_seed_and_fold(tiny_config, tmp_path):
    recorder, config = Recorder(), tiny_config()
    config.seed, config.split.fold = 3, 1
    train_and_evaluate(config, tmp_path, on_epoch=recorder)
    rows = writers.read_json_lines(tmp_path / "metrics.jsonl")
    assert [{"step": step, **values} for step, _, values in recorder.calls] == [
        row | {"seed": 3, "fold": 1} for row in rows
    ]
    assert recorder.epochs == [1, 2, 3]
    assert {"train/loss", "val/accuracy", "learning_rate"} <= set(recorder.calls[0][2])
    assert all(isinstance(each, int | float) for each in recorder.calls[0][2].values())
    # A finished run has nothing more to report.
    train_and_evaluate(config, tmp_path, on_epoch=recorder)
    assert recorder.epochs == [1, 2, 3]
    # A copy of it whose hook got nothing yet reports all, from the file.
    (tmp_path / hooks.FILE).unlink()
    late = Recorder()
    train_and_evaluate(config, tmp_path, on_epoch=late)
    assert late.calls == recorder.calls


def test_an_exception_ends_the_run_after_it_is_saved_and_the_same_call_goes_on(
    tiny_config, tmp_path
):
    failing = Recorder(fails_at=2)
    with pytest.raises(HookError) as error:
        train_and_evaluate(tiny_config(), tmp_path, on_epoch=failing)
    text = str(error.value)
    assert text.startswith("the hook Recorder failed after epoch 2 (ValueError: no network; ")
    assert "test_hooks.py:" in text
    assert (failing.epochs, (tmp_path / "checkpoints" / "6").is_dir()) == ([1], True)
    assert json.loads((tmp_path / hooks.FILE).read_text()) == {"epoch": 1}
    good = Recorder()
    train_and_evaluate(tiny_config(), tmp_path, on_epoch=good)
    assert [call[:2] for call in good.calls] == [(6, 2), (9, 3)]


def test_an_epoch_that_was_reported_is_not_reported_again(tiny_config, tmp_path):
    stopped = Recorder(fails_at=3, error=Preempted("stopped"))
    with pytest.raises(Preempted):
        train_and_evaluate(tiny_config(), tmp_path, on_epoch=stopped)
    # As if the state of the second epoch had not been written in time: it is trained again.
    for step in ("6", "9"):
        folder = tmp_path / "checkpoints" / step
        if folder.is_dir():
            folder.rename(tmp_path / f"lost-{step}")
    resumed = Recorder()
    train_and_evaluate(tiny_config(), tmp_path, on_epoch=resumed)
    assert (stopped.epochs, resumed.epochs) == ([1, 2], [3])


@pytest.mark.slow
def test_folds_and_seeds_are_told_apart(tiny_config, tmp_path):
    recorder, config = Recorder(), tiny_config()
    config.num_epochs, config.split.folds, config.cross_validation.seeds = 1, 3, 1
    cross_validate(config, tmp_path, on_epoch=recorder)
    assert [(v["seed"], v["fold"]) for _, _, v in recorder.calls] == [(0, 0), (0, 1), (0, 2)]


def test_only_the_first_process_calls_it(tiny_config, tmp_path, monkeypatch):
    monkeypatch.setattr(hooks.distributed, "is_main_process", lambda: False)
    recorder = Recorder()
    Reporter(recorder, tmp_path, tiny_config()).report([{"step": 3, "epoch": 1}])
    assert (recorder.calls, list(tmp_path.iterdir())) == ([], [])


# --- by name ------------------------------------------------------------------------------------


def test_hooks_are_found_as_module_and_function_or_by_entry_point(tmp_path, monkeypatch):
    assert find_hook("") is None
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path])
    (tmp_path / "hook_of_mine.py").write_text(HOOK)
    assert find_hook("hook_of_mine:log").__name__ == "log"
    assert "" not in sys.path
    install(monkeypatch, tmp_path / "site", "tracker", HOOK, hooks={"track": "log", "bad": "two"})
    assert find_hook("track").__module__ == "tracker"
    with pytest.raises(InputError, match=r"hook 'bad' of the installed package tracker 1\.0: "):
        find_hook("bad")
    with pytest.raises(InputError, match=r"--hook=trak: .*did you mean 'track'"):
        find_hook("trak")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("no_such_module:log", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("json:nothing", "AttributeError: module 'json' has no attribute 'nothing'"),
        ("json:loads", "cannot be called as hook(step, epoch, values)"),
        ("json:__all__", "cannot be called as hook(step, epoch, values)"),
        ("json", "there is no such hook; give module:function"),
        (":", "--hook=::"),
    ],
)
def test_what_is_no_hook_gives_one_line(text, message):
    with pytest.raises(InputError) as error:
        find_hook(text)
    assert message in str(error.value)


@pytest.mark.slow
def test_the_command_calls_it_and_ends_with_one_line_when_it_fails(tmp_path):
    (tmp_path / "watched.py").write_text(
        HOOK + "\ndef fail(step, epoch, values):\n    raise OSError('server is gone')\n"
    )
    data, where = tmp_path / "data", {"PYTHONPATH": f"{tmp_path}:."}
    run = tmp_path / "run"
    line = error_line(finish(start(run, data, "--hook=watched:fail", **where), 1))
    assert "the hook fail failed after epoch 1 (OSError: server is gone; " in line
    output = finish(start(run, data, "--hook=watched:log", **where))
    assert [f"got {epoch} at {3 * epoch}:" in output for epoch in (1, 2, 3, 4)] == [True] * 4
    message = error_line(finish(start(tmp_path / "other", data, "--hook=watched:none", **where), 2))
    assert "--hook=watched:none: cannot be imported (AttributeError" in message
    assert not (tmp_path / "other").exists()
