import json
import os
import signal
import threading

import jax
import numpy as np
import pytest
from selection import few

from cervix_jax import load_run
from cervix_jax.command.preemption import Preempted
from cervix_jax.errors import InputError
from cervix_jax.runs.checkpoint import list_steps, read_arrays
from cervix_jax.training import run as train
from cervix_jax.training.loop import Loop, NonFiniteLossError
from cervix_jax.training.writers import read_json_lines

STEPS_PER_EPOCH, EPOCHS = 3, 3


def state_of(folder):
    kept = folder / "checkpoints"
    return read_arrays(kept, max(list_steps(kept)), "step", "params", "stats", "opt", "ema")


def rows_of(folder):
    rows = read_json_lines(folder / "metrics.jsonl")
    return [{k: v for k, v in row.items() if k != "images_per_second"} for row in rows]


def assert_same_run(folder, other):
    jax.tree.map(np.testing.assert_array_equal, state_of(folder), state_of(other))
    assert rows_of(folder) == rows_of(other)
    for name in ("test.json", "test_predictions.csv"):
        assert (folder / "evaluate" / name).read_text() == (other / "evaluate" / name).read_text()


def test_workdir_holds_what_the_readme_promises(trained, tiny_config):
    folder, report = trained
    assert json.loads((folder / "config.json").read_text()) == tiny_config().to_dict()
    environment = json.loads((folder / "env.json").read_text())
    assert environment["versions"]["jax"] == jax.__version__
    assert environment["dataset"]["leakage"] == 0.0
    assert json.loads((folder / "evaluate" / "test.json").read_text()) == report
    for picture in ("learning_curves.png", "evaluate/test_confusion_matrix.png"):
        assert (folder / picture).read_bytes().startswith(b"\x89PNG")
    rows = rows_of(folder)
    assert [row["step"] for row in rows] == [STEPS_PER_EPOCH * e for e in range(1, EPOCHS + 1)]
    assert all(np.isfinite(list(row.values())).all() for row in rows)


def test_report_states_protocol_and_leakage(trained):
    _, report = trained
    assert report["protocol"] == "cluster"
    assert report["leakage"] == 0
    assert report["n"] == sum(map(sum, report["confusion_matrix"])) == 10
    low, high = report["accuracy_interval"]
    assert low <= report["accuracy"] <= high


def test_predictions_csv_agrees_with_the_loaded_run(trained, tiny_config):
    folder, report = trained
    run = load_run(folder)
    assert run.class_names == tuple(report["class_names"])
    header, *lines = (folder / "evaluate" / "test_predictions.csv").read_text().splitlines()
    assert header.split(",")[:5] == ["filename", "group", "label", "predicted", "p_Dyskeratotic"]
    from cervix_jax.data import load

    data = load(
        "cervix_phantom/single_cell",
        data_dir=tiny_config().data.data_dir,
        settings={"clusters_per_class": 4, "cells_per_cluster": 2},
    )
    by_name = {name: index for index, name in enumerate(data.filenames)}
    cells = [line.split(",") for line in lines]
    images = [data.decoded_source[by_name[row[0]]]["image"] for row in cells]
    written = np.array([[float(p) for p in row[4:]] for row in cells])
    np.testing.assert_allclose(run.predict(images, batch_size=4), written, atol=1e-5)


@pytest.mark.slow
def test_same_seed_gives_the_same_run(trained, tiny_config, tmp_path):
    train.train_and_evaluate(tiny_config(), tmp_path)
    assert_same_run(trained[0], tmp_path)


@pytest.mark.slow
def test_host_placement_gives_the_same_run(trained, tiny_config, tmp_path):
    config = tiny_config()
    config.data.placement = "host"
    train.train_and_evaluate(config, tmp_path)
    assert_same_run(trained[0], tmp_path)


@pytest.mark.slow
def test_another_seed_gives_another_run(trained, tiny_config, tmp_path):
    config = tiny_config()
    config.seed = 1
    train.train_and_evaluate(config, tmp_path)
    assert rows_of(trained[0]) != rows_of(tmp_path)


@pytest.mark.parametrize("stop_at", few([4, 1, 6], 0))
def test_resumed_run_equals_the_uninterrupted_one(
    trained, tiny_config, tmp_path, monkeypatch, stop_at
):
    """SIGTERM after some steps (mid-epoch and at an epoch's end), then the same command."""
    original, calls = train.make_train_step, []

    def counting(*args):
        step = original(*args)

        def stepped(state, batch, inputs):
            calls.append(1)
            if len(calls) == stop_at:
                os.kill(os.getpid(), signal.SIGTERM)
            return step(state, batch, inputs)

        return stepped

    assert threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGTERM)
    with monkeypatch.context() as patch:
        patch.setattr(train, "make_train_step", counting)
        with pytest.raises(Preempted, match=f"step {stop_at} of 9"):
            train.train_and_evaluate(tiny_config(), tmp_path)
    assert signal.getsignal(signal.SIGTERM) is before
    assert list_steps(tmp_path / "checkpoints")[-1] == stop_at
    train.train_and_evaluate(tiny_config(), tmp_path)
    assert_same_run(trained[0], tmp_path)


@pytest.mark.slow
def test_a_finished_run_is_only_evaluated_again(trained, tiny_config, monkeypatch):
    folder, report = trained

    def refuse(*args):
        raise AssertionError("a finished run must not train")

    monkeypatch.setattr(Loop, "_end_epoch", refuse)
    assert train.train_and_evaluate(tiny_config(), folder) == report


def test_another_config_in_the_same_folder_is_refused(trained, tiny_config):
    config = tiny_config()
    config.learning_rate = 0.5
    before = sorted((trained[0]).rglob("*"))
    with pytest.raises(InputError, match=r"learning_rate is 0\.001 there and 0\.5 here"):
        train.train_and_evaluate(config, trained[0])
    assert sorted((trained[0]).rglob("*")) == before


@pytest.mark.slow
def test_early_stopping_ends_when_validation_no_longer_improves(tiny_config, tmp_path, monkeypatch):
    config = tiny_config()
    config.early_stopping_epochs = 1
    config.num_epochs = 50
    config.learning_rate = 0.0
    config.ema_decay = 0.0
    train.train_and_evaluate(config, tmp_path)
    assert 2 <= len(rows_of(tmp_path)) < 50


def test_loss_that_is_not_a_number_stops_and_keeps_the_checkpoints(
    tiny_config, tmp_path, monkeypatch
):
    original = train.losses.class_weights
    monkeypatch.setattr(
        train.losses, "class_weights", lambda *args: original(*args) * np.float32(np.nan)
    )
    with pytest.raises(NonFiniteLossError, match="between steps 0 and 3"):
        train.train_and_evaluate(tiny_config(), tmp_path)
    assert list_steps(tmp_path / "checkpoints") == []


def test_weights_that_a_finite_gradient_made_infinite_are_not_saved(
    tiny_config, tmp_path, monkeypatch
):
    monkeypatch.setattr(
        train.optim, "learning_rates", lambda schedule, steps: np.full(steps, 3e38, np.float32)
    )
    config = tiny_config()
    config.checkpoint.every_steps = 1
    with pytest.raises(NonFiniteLossError, match="a weight was not finite between steps 0 and 1"):
        train.train_and_evaluate(config, tmp_path)
    assert list_steps(tmp_path / "checkpoints") == []


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("batch_size", 0, "batch_size=0"),
        ("batch_size", 1000, "larger than the training split"),
        ("num_epochs", 0, "num_epochs=0"),
        ("image_size", 8, "image_size=8"),
        ("learning_rate", float("nan"), "learning_rate=nan"),
        ("model.name", "vgg", "vgg"),
        ("model.dtype", "float8", r"model\.dtype='float8'"),
        ("model.normalization", "zscore", "zscore"),
        ("optimizer.name", "lion2", r"optimizer\.name='lion2'"),
        ("split.protocol", "patient", r"split\.protocol='patient'"),
        ("split.fold", 7, r"split\.fold=7"),
        ("data.dataset", "sipakmed/singel_cell", "did you mean 'single_cell'"),
        ("data.placement", "disk", r"data\.placement='disk'"),
        ("data.manual_dir", "/nowhere/at/all", "/nowhere/at/all"),
        ("data.resize", "zoom", r"data\.resize='zoom'"),
        ("data.settings.confounding", 7.0, "confounding"),
        ("augment.fill", "purple", "purple"),
        ("loss.class_weights", "some", r"loss\.class_weights='some'"),
        ("checkpoint.best_metric", "f1", r"checkpoint\.best_metric='f1'"),
    ],
)
def test_bad_fields_are_named_before_anything_is_written(
    tiny_config, tmp_path, field, value, message
):
    config = tiny_config()
    with config.ignore_type():
        config.update_from_flattened_dict({field: value})
    with pytest.raises(InputError, match=message):
        train.train_and_evaluate(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_early_stopping_needs_validation_images(tiny_config, tmp_path):
    config = tiny_config()
    config.early_stopping_epochs, config.split.refit = 3, True
    with pytest.raises(InputError, match=r"early_stopping_epochs=3 .* split\.refit=True"):
        train.train_and_evaluate(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_without_validation_images_the_last_checkpoint_is_taken(tiny_config, tmp_path, monkeypatch):
    from tfds_builders.cervix_phantom.cervix_phantom_dataset_builder import Builder

    monkeypatch.setattr(Builder, "PAPER_RATIOS", (0.5, 0.0), raising=False)
    config = tiny_config()
    config.split.protocol = "paper"
    config.early_stopping_epochs = 1
    report = train.train_and_evaluate(config, tmp_path)
    assert report["n"] == 20
    assert report["step"] == load_run(tmp_path).step == 6
    assert not any(name.startswith("val/") for row in rows_of(tmp_path) for name in row)


@pytest.mark.slow
def test_refit_trains_on_validation_images_too_and_takes_the_last_checkpoint(
    trained, tiny_config, tmp_path
):
    config = tiny_config()
    config.split.refit = True
    report = train.train_and_evaluate(config, tmp_path)
    first, before = trained
    assert (report["n"], report["leakage"]) == (before["n"], 0)
    assert report["refit"]
    assert not before["refit"]
    counts = [json.loads((run / "env.json").read_text())["dataset"]["examples"]
              for run in (first, tmp_path)]  # fmt: skip
    assert counts[1] == {
        "train": counts[0]["train"] + counts[0]["val"], "val": 0, "test": counts[0]["test"]
    }  # fmt: skip
    assert load_run(tmp_path).step == max(row["step"] for row in rows_of(tmp_path))


@pytest.mark.slow
def test_a_window_of_steps_is_recorded(tiny_config, tmp_path):
    config = tiny_config()
    config.num_epochs = 1
    train.train_and_evaluate(config, tmp_path, profile="2:3")
    assert len(list((tmp_path / "profile").rglob("*.xplane.pb"))) == 1
    with pytest.raises(InputError, match=r"--profile=3:2"):
        train.train_and_evaluate(config, tmp_path, profile="3:2")
