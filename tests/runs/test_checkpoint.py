import gc
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest
from selection import few

from cervix_jax.errors import InputError
from cervix_jax.runs.checkpoint import (
    Checkpoints,
    find_best_step,
    list_steps,
    read_arrays,
    read_json,
)
from cervix_jax.runs.damage import DamagedCheckpointError

ITEMS = {"config": {"seed": 1}, "dataset": {"class_names": ["a"]}, "history": [{"epoch": 1}]}
TARGET = {"step": jax.ShapeDtypeStruct((), jnp.int32), "w": jax.ShapeDtypeStruct((3,), jnp.float32)}


def state(step: int):
    return {"step": jnp.int32(step), "w": jnp.full(3, float(step))}


def save_all(folder, accuracies: dict[int, float | None], make=state):
    checkpoints = Checkpoints(folder)
    for step, accuracy in accuracies.items():
        metrics = None if accuracy is None else {"accuracy": accuracy}
        checkpoints.save(step, make(step), ITEMS, metrics)
    checkpoints.wait()
    return checkpoints


def damage(folder, step):
    for path in (folder / str(step) / "state" / "d").iterdir():
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def test_best_and_latest_two_are_kept(tmp_path):
    checkpoints = save_all(tmp_path, {1: 0.1, 2: 0.9, 3: 0.8, 4: None, 5: 0.3})
    assert checkpoints.steps() == [2, 4, 5]
    assert checkpoints.best_step() == 2
    checkpoints.close()


def test_best_survives_a_restart(tmp_path):
    save_all(tmp_path, {1: 0.1, 2: 0.9, 3: 0.8}).close()
    checkpoints = save_all(tmp_path, {4: 0.2, 5: 0.1})
    assert checkpoints.steps() == [2, 4, 5]
    checkpoints.close()


@pytest.mark.parametrize("metric", ["accuracy", "loss"])
def test_the_later_of_equals_is_best_and_kept(tmp_path, metric):
    checkpoints = Checkpoints(tmp_path, metric)
    for step, value in enumerate([0.5, 0.5, 0.7, 0.6, 0.6], start=1):
        value = value if metric == "loss" else -value
        checkpoints.save(step, state(step), ITEMS, {metric: value})
    checkpoints.wait()
    assert checkpoints.steps() == [2, 4, 5]
    assert checkpoints.best_step() == 2
    checkpoints.close()


def test_metrics_may_come_later(tmp_path):
    """A checkpoint from before a validation gives way to the one from after it."""
    checkpoints = save_all(tmp_path, {1: 0.5, 2: None})
    checkpoints.save(2, state(2), ITEMS | {"history": []}, {"accuracy": 0.7})
    checkpoints.wait()
    assert checkpoints.best_step() == 2
    assert read_json(tmp_path, 2, "history") == []
    checkpoints.close()


def test_a_save_that_fails_in_the_background_is_raised(tmp_path, monkeypatch):
    checkpoints = save_all(tmp_path, {1: 0.5})

    async def fail(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(ocp.handlers.JsonCheckpointHandler, "_save_fn", fail)
    checkpoints.save(2, state(2), ITEMS, {"accuracy": 0.9})
    with pytest.raises(OSError, match="No space left"):
        checkpoints.wait()
    assert checkpoints.steps() == [1]


def test_lowest_loss_is_best(tmp_path):
    checkpoints = Checkpoints(tmp_path, "loss")
    for step, loss in {1: 0.5, 2: 0.1, 3: 0.3}.items():
        checkpoints.save(step, state(step), ITEMS, {"loss": loss})
    checkpoints.wait()
    assert checkpoints.best_step() == find_best_step(tmp_path, "loss") == 2
    checkpoints.close()


def test_round_trip_and_reading_without_a_manager(tmp_path):
    checkpoints = save_all(tmp_path, {7: 0.5})
    step, restored, items = checkpoints.restore_latest(TARGET)
    assert step == 7
    assert items == ITEMS
    jax.tree.map(np.testing.assert_array_equal, restored, state(7))
    checkpoints.close()
    assert list_steps(tmp_path) == [7]
    assert read_json(tmp_path, 7, "dataset") == ITEMS["dataset"]
    np.testing.assert_array_equal(read_arrays(tmp_path, 7, "w")["w"], [7, 7, 7])


def test_saving_a_step_again_is_harmless(tmp_path):
    checkpoints = save_all(tmp_path, {1: 0.5})
    checkpoints.save(1, state(9), ITEMS, {"accuracy": 0.7})
    np.testing.assert_array_equal(checkpoints.restore_latest(TARGET)[1]["w"], [1, 1, 1])
    checkpoints.close()


def test_empty_folder_has_nothing_to_restore(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    assert checkpoints.restore_latest(TARGET) is None
    assert checkpoints.best_step() is None
    assert find_best_step(tmp_path, "accuracy") is None
    checkpoints.close()


def test_damaged_newest_falls_back_and_its_step_can_be_saved_again(tmp_path, caplog):
    save_all(tmp_path, {1: 0.9, 2: 0.1}).close()
    damage(tmp_path, 2)
    checkpoints = Checkpoints(tmp_path)
    step, restored, _ = checkpoints.restore_latest(TARGET)
    assert step == 1
    np.testing.assert_array_equal(restored["w"], [1, 1, 1])
    assert "2 cannot be read" in caplog.text
    assert (tmp_path / "2.damaged" / "state").is_dir()
    checkpoints.save(2, state(2), ITEMS, {"accuracy": 0.95})
    checkpoints.wait()
    assert checkpoints.best_step() == 2
    checkpoints.close()
    reopened = Checkpoints(tmp_path)
    assert reopened.restore_latest(TARGET)[0] == 2
    reopened.close()


def flip(path, place):
    content = bytearray(path.read_bytes())
    content[place * (len(content) - 1) // 4] ^= 8
    path.write_bytes(content)


DAMAGE = {
    "deleted": lambda path: path.unlink(),
    "empty": lambda path: path.write_bytes(b""),
    "cut": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "start": lambda path: flip(path, 0),
    "middle": lambda path: flip(path, 2),
    "end": lambda path: flip(path, 4),
}
MATTERS = (
    "history/metadata",
    "config/metadata",
    "dataset/metadata",
    "metrics/metrics",
    "state/manifest.ocdbt",
    "state/_METADATA",
    "state/d/",
    "_CHECKPOINT_METADATA",
)


@pytest.fixture(scope="module")
def pristine(tmp_path_factory):
    """Two checkpoints with arrays large enough to have files of their own."""
    folder = tmp_path_factory.mktemp("pristine")
    save_all(folder, {1: 0.5, 2: 0.9}, make=large_state).close()
    return folder


def large_state(step):
    w = np.random.default_rng(step).normal(size=(300, 7)).astype(np.float32)
    return {"step": jnp.int32(step), "params": {"w": jnp.asarray(w)}}


# Of a restore that fails Orbax gives up coroutines, which Python reports when they are collected.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("how", few(DAMAGE, 1))
def test_damage_to_any_one_file_is_noticed_or_harmless(pristine, tmp_path, how):
    """Never other values than those saved; the one before takes over, and training can go on."""
    target = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), large_state(0))
    names = [p.relative_to(pristine / "2") for p in (pristine / "2").rglob("*") if p.is_file()]
    noticed = []
    for number, name in enumerate(sorted(names)):
        folder = shutil.copytree(pristine, tmp_path / str(number))
        if not (folder / "2" / name).stat().st_size:
            continue
        DAMAGE[how](folder / "2" / name)
        checkpoints = Checkpoints(folder)
        step, restored, items = checkpoints.restore_latest(target)
        jax.tree.map(np.testing.assert_array_equal, restored, large_state(step))
        assert items == ITEMS
        if step == 1:
            noticed.append(str(name))
        checkpoints.save(3, large_state(3), ITEMS, {"accuracy": 0.1})
        checkpoints.close()
        assert checkpoints.best_step() == step
        assert list_steps(folder) == [step, 3] if step == 2 else [1, 3]
    if how in ("empty", "cut"):
        assert all(any(name.startswith(m) for name in noticed) for m in MATTERS)
    gc.collect()
    largest = max(names, key=lambda name: (pristine / "2" / name).stat().st_size)
    assert how in ("start", "end") or str(largest) in noticed


def test_flipped_values_are_not_read_for_analysis_either(pristine, tmp_path):
    folder = shutil.copytree(pristine, tmp_path / "run")
    read_arrays(folder, 2, "params")
    flip(max((folder / "2").rglob("d/*"), key=lambda path: path.stat().st_size), 2)
    with pytest.raises(InputError, match="the values of params differ from the saved ones"):
        read_arrays(folder, 2, "params")


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (PermissionError(13, "Permission denied", "/x/state"), "/x/state: cannot be read (Perm"),
        (MemoryError("Unable to allocate 3 GiB"), "not enough memory to read it"),
        (ValueError("Requested shape: (3,) is not compatible"), "does not match the model"),
    ],
)
def test_what_is_no_damage_has_its_own_line_and_moves_nothing(
    pristine, tmp_path, monkeypatch, error, says
):
    folder = shutil.copytree(pristine, tmp_path / "run")

    def fail(*args, **kwargs):
        raise error

    monkeypatch.setattr(ocp.Checkpointer, "restore", fail)
    with pytest.raises(InputError) as raised:
        Checkpoints(folder).restore_latest(TARGET)
    assert says in str(raised.value)
    assert "damaged" not in str(raised.value)
    assert list_steps(folder) == [1, 2]


def test_a_failure_that_is_neither_damage_nor_storage_stays_itself(pristine, monkeypatch):
    def fail(*args, **kwargs):
        raise FloatingPointError("invalid value (nan) encountered in jit(add)")

    monkeypatch.setattr(ocp.Checkpointer, "restore", fail)
    with pytest.raises(FloatingPointError):
        Checkpoints(pristine).restore_latest(TARGET)
    assert list_steps(pristine) == [1, 2]


@pytest.mark.parametrize("name", ["config/metadata", "state/_METADATA", "state/manifest.ocdbt"])
def test_the_damaged_file_is_named(pristine, tmp_path, name):
    folder = shutil.copytree(pristine, tmp_path / "run")
    DAMAGE["cut"](folder / "2" / name)
    with pytest.raises(DamagedCheckpointError) as raised:
        Checkpoints(folder).restore(2, TARGET)
    assert str(raised.value).startswith(f"{folder / '2' / name}: ")


SIGNS = [
    "[v1]", "lab [A]", "back\\slash", "gs:", "50%", "a#b", "a?b", "a*b", "{x}", "~", "tab\tsign",
    "two\nlines", "\udcff", "日本", "$HOME", "a'b\"c",
]  # fmt: skip


@pytest.mark.parametrize("sign", SIGNS, ids=ascii)
def test_any_path_that_a_file_system_allows(tmp_path, sign):
    folder = tmp_path / sign / "checkpoints"
    save_all(folder, {1: 0.9, 2: 0.5, 3: 0.1, 4: 0.2}).close()
    assert list_steps(folder) == [1, 3, 4]
    step, restored, _ = Checkpoints(folder).restore_latest(TARGET)
    assert step == 4
    jax.tree.map(np.testing.assert_array_equal, restored, state(4))
    np.testing.assert_array_equal(read_arrays(folder, 1, "w")["w"], [1, 1, 1])


def test_the_first_checkpoint_is_read_back(tmp_path, monkeypatch):
    """A storage that does not give back what it was given ends a run at its first checkpoint."""
    wait = ocp.CheckpointManager.wait_until_finished

    def wait_and_lose(self):
        wait(self)
        if (tmp_path / "1").exists():
            damage(tmp_path, 1)

    with monkeypatch.context() as patch:
        patch.setattr(ocp.CheckpointManager, "wait_until_finished", wait_and_lose)
        with pytest.raises(InputError, match="first checkpoint was written and cannot be read"):
            Checkpoints(tmp_path).save(1, large_state(1), ITEMS, None)


def test_metrics_of_an_older_checkpoint_that_cannot_be_read(tmp_path, caplog):
    save_all(tmp_path, {1: 0.9, 2: 0.1, 3: 0.2}).close()
    (tmp_path / "1" / "metrics" / "metrics").write_text('{"accu')
    checkpoints = Checkpoints(tmp_path)
    assert checkpoints.restore_latest(TARGET)[0] == 3
    assert "1 cannot be read" in caplog.text
    checkpoints.save(4, state(4), ITEMS, {"accuracy": 0.1})
    assert checkpoints.best_step() == 3
    checkpoints.close()


def test_a_second_damaged_checkpoint_of_a_step_is_set_aside_too(tmp_path):
    for _ in range(2):
        save_all(tmp_path, {1: 0.9, 2: 0.1}).close()
        damage(tmp_path, 2)
        assert Checkpoints(tmp_path).restore_latest(TARGET)[0] == 1
    assert {path.name for path in tmp_path.glob("2*")} == {"2.damaged", "2.damaged-1"}


def test_all_damaged_is_an_error_that_deletes_nothing(tmp_path):
    save_all(tmp_path, {1: 0.9, 2: 0.1}).close()
    for step in (1, 2):
        damage(tmp_path, step)
    checkpoints = Checkpoints(tmp_path)
    with pytest.raises(InputError, match=r"none of the checkpoints \[1, 2\] can be read"):
        checkpoints.restore_latest(TARGET)
    checkpoints.close()
    assert list_steps(tmp_path) == [1, 2]
