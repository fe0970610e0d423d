import json

import pytest
from absl import flags
from absl.testing import flagsaver

from cervix_jax import evaluate
from cervix_jax.errors import InputError


@pytest.fixture(scope="module")
def command():
    """Calls the command with flags, in this process (which knows the tiny model)."""
    evaluate.define_flags()

    def call(**values):
        with flagsaver.flagsaver(**{name: str(value) for name, value in values.items()}):
            evaluate.main([])

    yield call
    for name in ("workdir", "split", "step", "manual_dir", "data_dir"):
        delattr(flags.FLAGS, name)


def test_command_writes_what_training_wrote(trained, command, capsys):
    folder, report = trained
    path = folder / "evaluate" / "test.json"
    path.unlink()
    command(workdir=folder)
    assert json.loads(path.read_text()) == report
    printed = capsys.readouterr().out
    assert f"accuracy {report['accuracy']:.4f}" in printed
    assert "protocol cluster, fold 0 of 4" in printed


def test_other_splits_and_steps(trained, command):
    folder, _ = trained
    command(workdir=folder, split="val", step="9")
    report = json.loads((folder / "evaluate" / "val.json").read_text())
    assert (report["split"], report["step"]) == ("val", 9)
    lines = (folder / "evaluate" / "val_predictions.csv").read_text().splitlines()
    assert len(lines) == report["n"] + 1


def test_a_folder_that_is_no_run(command, tmp_path):
    with pytest.raises(InputError, match="not the folder of a run"):
        command(workdir=tmp_path)


def test_summary_has_a_row_for_every_class(trained):
    _, report = trained
    text = evaluate.summary(report)
    for name, row in report["per_class"].items():
        line = next(line for line in text.splitlines() if line.startswith(name))
        assert line.split()[-1] == str(row["support"])
