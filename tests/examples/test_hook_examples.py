"""The hooks for Weights & Biases and MLflow, offline; a stand-in where the package is absent."""

import importlib.util
import sqlite3
import sys
import types
from pathlib import Path

import pytest

from cervix_jax.training.hooks import check_hook, find_hook

HOOKS = Path(__file__).parents[2] / "examples" / "hooks"
ROWS = [(3 * epoch, epoch, fold) for fold in (0, 1) for epoch in (1, 2)]


def send(name: str, monkeypatch) -> types.ModuleType:
    """Report two epochs of each of two folds, by the hook as `--hook` finds it."""
    monkeypatch.syspath_prepend(str(HOOKS))
    monkeypatch.delitem(sys.modules, name, raising=False)
    hook = find_hook(f"{name}:log")
    check_hook(hook)
    for step, epoch, fold in ROWS:
        hook(step, epoch, {"train/loss": 1 / epoch, "epoch": epoch, "seed": 0, "fold": fold})
    text = (HOOKS / f"{name}.py").read_text(encoding="utf-8")
    assert f"--hook={name}:log" in text
    return sys.modules[name]


class Tracker(types.ModuleType):
    """What the hooks call of either package, written down."""

    def __init__(self, name: str):
        super().__init__(name)
        self.run, self.began, self.ended, self.logged = None, [], 0, []

    def init(self, *, name):
        self.began.append(name)
        self.run = types.SimpleNamespace(name=name)

    def start_run(self, *, run_name, tags):
        self.began.append(run_name)
        self.run = types.SimpleNamespace(data=types.SimpleNamespace(tags=tags))

    def active_run(self):
        return self.run

    def finish(self):
        self.run, self.ended = None, self.ended + 1

    end_run = finish

    def log(self, values, *, step):
        self.logged.append((self.began[-1], step, values["train/loss"]))

    log_metrics = log


EXPECTED = [
    ("seed0-fold0", 3, 1.0), ("seed0-fold0", 6, 0.5),
    ("seed0-fold1", 3, 1.0), ("seed0-fold1", 6, 0.5),
]  # fmt: skip


@pytest.mark.parametrize("package", ["wandb", "mlflow"])
def test_each_fold_is_a_run_of_its_own(package, monkeypatch):
    tracker = Tracker(package)
    monkeypatch.setitem(sys.modules, package, tracker)
    send(f"{package}_hook", monkeypatch)
    assert tracker.began == ["seed0-fold0", "seed0-fold1"]
    assert tracker.logged == EXPECTED


@pytest.mark.filterwarnings("ignore")
@pytest.mark.skipif(importlib.util.find_spec("wandb") is None, reason="wandb is not installed")
def test_wandb_itself_takes_them_offline(tmp_path, monkeypatch):
    for name, value in {"MODE": "offline", "SILENT": "true", "DIR": str(tmp_path)}.items():
        monkeypatch.setenv(f"WANDB_{name}", value)
    send("wandb_hook", monkeypatch).wandb.finish()
    assert len(list(tmp_path.glob("wandb/offline-run-*/*.wandb"))) == 2


@pytest.mark.filterwarnings("ignore")
@pytest.mark.skipif(
    not all(map(importlib.util.find_spec, ("mlflow", "sqlalchemy", "alembic"))),
    reason="mlflow is not installed",
)
def test_mlflow_itself_takes_them_into_a_file(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    send("mlflow_hook", monkeypatch).mlflow.end_run()
    query = "select name, step, value from metrics join runs using (run_uuid) where key = ?"
    with sqlite3.connect(tmp_path / "mlflow.db") as store:
        assert sorted(store.execute(query, ["train/loss"])) == EXPECTED
    store.close()
