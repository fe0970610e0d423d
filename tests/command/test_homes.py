"""`~` in the folders that a command writes is the home folder, as it is where it reads them."""

from pathlib import Path

import pytest
from absl import flags

from cervix_jax.command import run
from cervix_jax.config.base import base_config
from cervix_jax.errors import InputError
from cervix_jax.training import run as training


def _flags(monkeypatch: pytest.MonkeyPatch, **values: str) -> flags.FlagValues:
    found = flags.FlagValues()
    for name, value in values.items():
        flags.DEFINE_string(name, value, "", flag_values=found)
    found.mark_as_parsed()
    monkeypatch.setattr(run.flags, "FLAGS", found)
    return found


def test_a_command_writes_below_the_home_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    found = _flags(monkeypatch, workdir="~/runs/a", out="")
    run._expand_homes()
    assert found["workdir"].value == str(tmp_path / "runs" / "a")
    assert not found["out"].value


def test_a_name_too_long_is_refused(monkeypatch):
    _flags(monkeypatch, out="x" * 300)
    with pytest.raises(InputError, match=r"--out=.*shorter path"):
        run._expand_homes()


def test_training_from_python_does_the_same(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    seen: list[Path] = []
    monkeypatch.setattr(
        training, "_train_and_evaluate", lambda config, folder, *rest: seen.append(folder)
    )
    training.train_and_evaluate(base_config(), "~/runs/a")
    assert seen == [tmp_path / "runs" / "a"]
