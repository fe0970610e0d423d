import json
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl import flags
from absl.testing import flagsaver

from cervix_jax import load_run
from cervix_jax.distributed import make_mesh
from cervix_jax.errors import InputError
from cervix_jax.evaluate import __main__ as evaluate
from cervix_jax.evaluate.predictions_file import read_table, write_table
from cervix_jax.evaluate.summary_text import summary
from cervix_jax.evaluate.write import stored, write_report
from cervix_jax.runs.inference import make_forward, over_symmetries
from cervix_jax.statistics.table import PredictionTable


@pytest.fixture(scope="module")
def command():
    """Calls the command with flags, in this process (which knows the tiny model)."""
    before = set(flags.FLAGS)
    evaluate.define_flags()

    def call(*arguments, **values):
        with flagsaver.flagsaver(**{name: str(value) for name, value in values.items()}):
            evaluate.main(["evaluate", *arguments])

    yield call
    for name in set(flags.FLAGS) - before:
        delattr(flags.FLAGS, name)


def predictions(seed, n=60, groups=12):
    """Predictions that know something; the images of a group share a label."""
    random = np.random.default_rng(seed)
    group = np.arange(n) % groups
    labels = group % 3
    p = np.exp(random.normal(size=(n, 3)) + 1.5 * np.eye(3)[labels])
    return PredictionTable(
        tuple(f"{i}.png" for i in range(n)),
        np.asarray([f"g{g}" for g in group]),
        labels,
        p / p.sum(1, keepdims=True),
        ("a", "b", "c"),
    )


def test_command_writes_what_training_wrote_and_decides_on_validation(trained, command, capsys):
    folder, report = trained
    path = folder / "evaluate" / "test.json"
    path.unlink()
    command(workdir=folder)
    assert json.loads(path.read_text()) == report
    printed = capsys.readouterr().out
    assert f"accuracy {report['accuracy']:.4f}" in printed
    assert "protocol cluster, fold 0 of 4" in printed
    decisions = json.loads((folder / "evaluate" / "test_decisions.json").read_text())
    validation = json.loads((folder / "evaluate" / "val.json").read_text())
    assert decisions["validation"]["n"] == validation["n"]
    assert decisions["validation"]["groups_shared"] == 0
    assert decisions["operating_points"]["chosen_on"] == "val"
    assert f"fitted on {validation['n']} validation images" in printed
    assert "abnormal against normal: AUROC" in printed
    assert "abnormal at the validation threshold for sensitivity 0.95: sensitivity" in printed
    assert decisions["decision_curve"]["prevalence"] == report["decision_curve"]["prevalence"]
    assert (folder / "evaluate" / "test_decision_curve.png").stat().st_size > 1000


def test_other_splits_and_steps(trained, command):
    folder, _ = trained
    command(workdir=folder, split="val", step="9")
    report = json.loads((folder / "evaluate" / "val.json").read_text())
    assert (report["split"], report["step"]) == ("val", 9)
    lines = (folder / "evaluate" / "val_predictions.csv").read_text().splitlines()
    assert len(lines) == report["n"] + 1
    assert not (folder / "evaluate" / "val_decisions.json").exists()


def test_logits_are_kept_with_the_probabilities(trained):
    folder, report = trained
    table = read_table(folder / "evaluate" / "test_predictions.csv")
    assert table.logits.shape == (report["n"], 5)


def test_validation_of_other_weights_decides_nothing(tmp_path):
    table = predictions(0)
    write_table(tmp_path / "val_predictions.csv", table)
    (tmp_path / "val.json").write_text('{"step": 9}')
    assert stored(tmp_path, "val", 9).filenames == table.filenames
    assert stored(tmp_path, "val", 8) is None
    (tmp_path / "val.json").write_text("{")
    assert stored(tmp_path, "val", 9) is None
    facts = {"dataset": "x", "split": "test"}
    write_report(tmp_path, "test", table, facts, predictions(1))
    assert (tmp_path / "test_decisions.json").exists()
    write_report(tmp_path, "test", table, facts)
    assert not (tmp_path / "test_decisions.json").exists()


def test_a_folder_that_is_no_run(command, tmp_path):
    with pytest.raises(InputError, match="not the folder of a run"):
        command(workdir=tmp_path)


def test_summary_has_a_row_for_every_class(trained):
    _, report = trained
    text = summary(report)
    for name, row in report["per_class"].items():
        line = next(line for line in text.splitlines() if line.startswith(name))
        precision, recall, f1, support = line.split()[1:]
        assert recall == f"{row['sensitivity']['estimate']:.3f}"
        assert f1 == f"{row['f1']['estimate']:.3f}"
        ppv = row["ppv"]["estimate"]
        assert precision == ("-" if ppv is None else f"{ppv:.3f}")
        assert support == str(row["sensitivity"]["n"])


def test_a_file_of_predictions_is_enough(command, tmp_path, capsys):
    write_table(tmp_path / "mine.csv", predictions(0))
    write_table(tmp_path / "val.csv", predictions(1))
    command(predictions=tmp_path / "mine.csv", validation=tmp_path / "val.csv")
    folder = tmp_path / "mine_evaluation"
    report = json.loads((folder / "mine.json").read_text())
    assert report["accuracy"] == pytest.approx(predictions(0).correct.mean())
    assert report["protocol"] is None
    for picture in ("confusion_matrix", "reliability", "roc"):
        assert (folder / f"mine_{picture}.png").read_bytes().startswith(b"\x89PNG")
    printed = capsys.readouterr().out
    assert "protocol and leakage are unknown" in printed
    assert "temperature" in printed
    assert "conformal sets (LAC) for 90%" in printed
    other = predictions(1)
    names = PredictionTable(
        other.filenames, other.groups, other.labels, other.probabilities, ("a", "b", "d")
    )
    write_table(tmp_path / "val.csv", names)
    with pytest.raises(InputError, match="its classes differ"):
        command(predictions=tmp_path / "mine.csv", validation=tmp_path / "val.csv")


@pytest.mark.slow
def test_groups_are_evaluated_as_images_are(command, tmp_path, capsys):
    write_table(tmp_path / "mine.csv", predictions(0))
    command(predictions=tmp_path / "mine.csv", aggregate="vote")
    folder = tmp_path / "mine_evaluation"
    report = json.loads((folder / "mine.json").read_text())
    grouped = json.loads((folder / "mine_by_group.json").read_text())
    assert grouped["n"] == grouped["groups"] == 12
    assert grouped["rule"] == "vote"
    assert grouped["accuracy"] == report["aggregation"]["accuracy"]["vote"]["estimate"]
    assert read_table(folder / "mine_by_group_predictions.csv").filenames[:2] == ("g0", "g1")
    assert "accuracy over 12 groups" in capsys.readouterr().out
    single = predictions(2, n=12)
    write_table(tmp_path / "single.csv", single)
    command(predictions=tmp_path / "single.csv", aggregate="mean")
    assert "nothing to aggregate" in capsys.readouterr().out


def test_outliers_are_told_apart(command, tmp_path, capsys):
    table = predictions(0)
    write_table(tmp_path / "mine.csv", table)
    flat = table.with_probabilities(0.1 * table.probabilities + 0.3)
    write_table(tmp_path / "strange.csv", flat)
    command(predictions=tmp_path / "mine.csv", outliers=tmp_path / "strange.csv")
    found = json.loads((tmp_path / "mine_evaluation" / "mine_outliers.json").read_text())
    assert found["max_softmax"]["estimate"] > 0.9
    assert found["energy"]["why"] == "the logits were not stored"
    strange = tmp_path / "strange.csv"
    assert f"AUROC of max_softmax for detecting {strange}: 0.9" in capsys.readouterr().out


def test_compared_runs(trained, command, tmp_path, capsys):
    folder, report = trained
    command(str(folder), compare=folder)
    right = round(report["accuracy"] * report["n"])
    assert (
        f"A is right on {right} and B on {right}: a difference of 0 of {report['n']} images; p = 1"
        in capsys.readouterr().out
    )
    write_table(tmp_path / "other.csv", predictions(0))
    with pytest.raises(InputError, match="give predictions of the same classes"):
        command(compare=f"{folder},{tmp_path / 'other.csv'}")


@pytest.mark.slow
def test_adapted_statistics_have_files_of_their_own(trained, command, capsys):
    folder, report = trained
    evaluated = folder / "evaluate"
    plain = read_table(evaluated / "test_predictions.csv")
    for way, stem in (("all", "test_adapted"), ("group", "test_group_adapted")):
        command(workdir=folder, adapt=way)
        assert f"batch statistics of the images of this {'split' if way == 'all' else 'group'}" in (
            capsys.readouterr().out
        )
        found = json.loads((evaluated / f"{stem}.json").read_text())
        assert (found["adapt"], found["tta"], found["step"]) == (way, False, report["step"])
        assert (evaluated / f"{stem.replace('test', 'val')}.json").is_file()
        adapted = read_table(evaluated / f"{stem}_predictions.csv")
        assert adapted.filenames == plain.filenames
        np.testing.assert_array_equal(adapted.labels, plain.labels)
        assert np.abs(adapted.probabilities - plain.probabilities).max() > 0
    again = read_table(evaluated / "test_predictions.csv")
    np.testing.assert_array_equal(again.probabilities, plain.probabilities)
    command(compare=f"{folder},{folder}", adapt="group")
    with pytest.raises(InputError, match="--adapt needs --workdir without --on"):
        command(workdir=folder, on="elsewhere", adapt="all")


@pytest.mark.slow
def test_mean_over_symmetries(trained, command, capsys):
    folder, report = trained
    command(workdir=folder, tta=True)
    evaluated = folder / "evaluate"
    found = json.loads((evaluated / "test_tta.json").read_text())
    assert found["tta"]
    assert not report["tta"]
    assert "mean over 8 symmetries" in capsys.readouterr().out
    run = load_run(folder)
    images = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), np.uint8)
    views = [np.rot90(side, k, (1, 2)) for side in (images, images[:, :, ::-1]) for k in range(4)]
    forward = make_forward(run.graphdef, run.config.model.normalization, make_mesh())
    averaged = over_symmetries(forward)(run.variables, jnp.asarray(images))
    expected = np.mean([run.predict(view) for view in views], axis=0)
    np.testing.assert_allclose(jax.nn.softmax(averaged, -1), expected, atol=1e-6)
    decisions = json.loads((evaluated / "test_tta_decisions.json").read_text())
    assert (
        decisions["temperature"]["n"] == json.loads((evaluated / "val_tta.json").read_text())["n"]
    )
    plain = read_table(evaluated / "test_predictions.csv").probabilities
    assert (
        np.abs(plain - read_table(evaluated / "test_tta_predictions.csv").probabilities).max() > 0
    )


@pytest.mark.slow
def test_seeds_are_averaged_and_folds_put_together(command, tmp_path, capsys):
    whole = [predictions(seed) for seed in range(2)]
    for seed, table in enumerate(whole):
        for fold in range(3):
            rows = np.random.default_rng(seed).permutation(
                np.flatnonzero(np.arange(60) % 3 == fold)
            )
            facts = {"dataset": "d", "split": "test", "protocol": "block", "fold": fold, "folds": 3}
            facts |= {"leakage": fold / 10, "leakage_train": 0.0, "step": 1}
            path = tmp_path / "cv" / f"seed{seed}" / f"fold{fold}" / "evaluate"
            write_report(path, "test", table.take(rows), facts)
    command(ensemble=tmp_path / "cv", out=tmp_path / "out")
    assert "protocol block, 3 folds of 3; mean of 2 models; 10.0%" in capsys.readouterr().out
    found = read_table(tmp_path / "out" / "test_predictions.csv")
    place = [whole[0].filenames.index(name) for name in found.filenames]
    expected = (whole[0].probabilities + whole[1].probabilities)[place] / 2
    np.testing.assert_allclose(found.probabilities, expected, atol=1e-5)
    assert json.loads((tmp_path / "out" / "test.json").read_text())["n"] == 60
    (tmp_path / "cv" / "seed1" / "fold2" / "evaluate" / "test_predictions.csv").unlink()
    with pytest.raises(InputError, match="have 2, 2, 1 models"):
        command(ensemble=tmp_path / "cv", out=tmp_path / "out")


@pytest.mark.parametrize(
    ("arguments", "values", "message"),
    [
        ((), {"ensemble": "a"}, "needs --out"),
        ((), {"ensemble": "none", "out": "o"}, "none: there is no such file"),
        ((), {}, "give one of --workdir"),
        ((), {"workdir": "a", "predictions": "b"}, "give one of --workdir"),
        (("b",), {"workdir": "a"}, "unexpected argument 'b'"),
        ((), {"compare": "a"}, "not 1"),
        (("b", "c"), {"compare": "a"}, "a: there is no such file or folder"),
        ((), {"workdir": "a", "name": "b"}, "--name needs --on"),
        ((), {"workdir": "a", "labels": "b"}, "--labels needs --on or --predictions"),
        ((), {"predictions": "a", "on": "b"}, "--on needs --workdir"),
        ((), {"workdir": "a", "on": "b", "split": "val"}, "--on always evaluates all images"),
        (("none.csv",), {"compare": "none.csv"}, "none.csv: there is no such file"),
        ((), {"predictions": "none.csv"}, "none.csv: there is no such file"),
    ],
)
def test_what_cannot_be_asked(command, arguments, values, message):
    with pytest.raises(InputError) as error:
        command(*arguments, **values)
    assert message in str(error.value)


@pytest.mark.slow
def test_from_a_shell(tmp_path):
    """Options may follow the two files, and bad input is one line and exit code 2."""
    write_table(tmp_path / "a.csv", predictions(0))
    write_table(tmp_path / "b.csv", predictions(1))

    def run(*arguments):
        return subprocess.run(
            [sys.executable, "-m", "cervix_jax.evaluate", *arguments],
            cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=120,
        )  # fmt: skip

    done = run("--compare", str(tmp_path / "a.csv"), str(tmp_path / "b.csv"), "--split=val")
    assert done.returncode == 0, done.stderr
    assert "a difference of " in done.stdout
    assert " of 60 images; p " in done.stdout
    failed = run("--compare", str(tmp_path / "a.csv"), str(tmp_path / "c.csv"))
    assert failed.returncode == 2
    assert failed.stderr.strip().splitlines()[-1].startswith(f"error: {tmp_path / 'c.csv'}: there")
    assert "Traceback" not in failed.stderr
