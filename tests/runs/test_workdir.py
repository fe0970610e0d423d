import json

import ml_collections
import pytest

from cervix_jax.errors import InputError
from cervix_jax.runs import workdir


def config(**changes):
    made = ml_collections.ConfigDict(
        {
            "seed": 0,
            "data": {"manual_dir": "", "placement": "device", "microns_per_pixel": 0.0},
            "sizes": (1, 2),
        }
    )
    made.update_from_flattened_dict(changes)
    return made


def test_flatten():
    assert workdir.flatten({"a": 1, "b": {"c": {"d": (2, 3)}}}) == {"a": 1, "b.c.d": [2, 3]}


def test_the_same_config_may_come_again_and_is_read_back(tmp_path):
    workdir.claim(tmp_path / "run", config())
    workdir.claim(tmp_path / "run", config())
    assert workdir.read_config(tmp_path / "run").data.placement == "device"


def test_fields_that_change_no_result_may_change(tmp_path):
    workdir.claim(tmp_path, config())
    workdir.claim(tmp_path, config(**{"data.manual_dir": "/moved", "data.placement": "host"}))
    assert json.loads((tmp_path / "config.json").read_text())["data"]["manual_dir"] == "/moved"


def test_another_config_is_refused_and_the_old_one_kept(tmp_path):
    workdir.claim(tmp_path, config())
    with pytest.raises(InputError, match="seed is 0 there and 5 here"):
        workdir.claim(tmp_path, config(seed=5))
    assert workdir.read_config(tmp_path).seed == 0


def test_a_field_that_came_later_may_have_its_default_and_nothing_else(tmp_path):
    """A run of an earlier version goes on; a recipe that does more now is refused by name."""
    workdir.claim(tmp_path, config())
    now = config()
    now.augment = ml_collections.ConfigDict({"rotate_before_crop": True})
    with pytest.raises(InputError, match="rotate_before_crop is 'absent' there and True here"):
        workdir.claim(tmp_path, now)
    now.augment.rotate_before_crop = False
    workdir.claim(tmp_path, now)
    assert workdir.read_config(tmp_path).augment.rotate_before_crop is False


def test_checkpoints_without_a_config_are_refused(tmp_path):
    (tmp_path / "checkpoints" / "10").mkdir(parents=True)
    with pytest.raises(InputError, match=r"checkpoints but no config\.json"):
        workdir.claim(tmp_path, config())


def test_environment_says_versions_devices_and_data(tmp_path):
    workdir.write_environment(tmp_path, {"name": "some/set"}, {"kind": "host"})
    written = json.loads((tmp_path / "env.json").read_text())
    assert written["backend"] == "cpu"
    assert written["dataset"] == {"name": "some/set"}
    assert written["placement"] == {"kind": "host"}
    assert {"jax", "flax", "optax", "cervix_jax"} <= set(written["versions"])
