import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cervix_jax.checkpoint import Checkpoints, find_best_step, list_steps, read_arrays, read_json
from cervix_jax.errors import InputError

ITEMS = {"config": {"seed": 1}, "dataset": {"class_names": ["a"]}, "history": [{"epoch": 1}]}
TARGET = {"step": jax.ShapeDtypeStruct((), jnp.int32), "w": jax.ShapeDtypeStruct((3,), jnp.float32)}


def state(step: int):
    return {"step": jnp.int32(step), "w": jnp.full(3, float(step))}


def save_all(folder, accuracies: dict[int, float | None]):
    checkpoints = Checkpoints(folder)
    for step, accuracy in accuracies.items():
        metrics = None if accuracy is None else {"accuracy": accuracy}
        checkpoints.save(step, state(step), ITEMS, metrics)
    checkpoints.wait()
    return checkpoints


def damage(folder, step):
    for path in (folder / str(step) / "state" / "d").iterdir():
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def test_best_and_latest_are_kept(tmp_path):
    checkpoints = save_all(tmp_path, {1: 0.1, 2: 0.9, 3: 0.8, 4: None, 5: 0.3})
    assert checkpoints.steps() == [2, 5]
    assert checkpoints.best_step() == 2
    checkpoints.close()


def test_best_survives_a_restart(tmp_path):
    save_all(tmp_path, {1: 0.1, 2: 0.9, 3: 0.8}).close()
    checkpoints = save_all(tmp_path, {4: 0.2, 5: 0.1})
    assert checkpoints.steps() == [2, 5]
    checkpoints.close()


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


def test_all_damaged_is_an_error_that_deletes_nothing(tmp_path):
    save_all(tmp_path, {1: 0.9, 2: 0.1}).close()
    for step in (1, 2):
        damage(tmp_path, step)
    checkpoints = Checkpoints(tmp_path)
    with pytest.raises(InputError, match=r"none of the checkpoints \[1, 2\] can be read"):
        checkpoints.restore_latest(TARGET)
    checkpoints.close()
    assert list_steps(tmp_path) == [1, 2]
