"""JAX's settings in the environment: the numbers stay, or the command names the setting."""

import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cervix_jax import jax_settings
from cervix_jax.command.startup import require_devices
from cervix_jax.errors import InputError
from cervix_jax.runs.run import load_run

ROOT = Path(__file__).parents[1]
OTHER = {
    "jax_enable_x64": True,
    "jax_numpy_dtype_promotion": "strict",
    "jax_numpy_rank_promotion": "raise",
    "jax_default_matmul_precision": "bfloat16",
    "jax_default_prng_impl": "rbg",
    "jax_threefry_partitionable": False,
    "jax_disable_jit": True,
    "jax_debug_nans": True,
    "jax_transfer_guard": "disallow",
}


@pytest.fixture
def others():
    """JAX as a caller may have it."""
    before = {name: getattr(jax.config, name) for name in jax_settings.SETTINGS}
    for name, value in OTHER.items():
        jax.config.update(name, value)
    yield
    for name, value in before.items():
        jax.config.update(name, value)


def test_jax_begins_with_the_values_of_the_table():
    code = "from cervix_jax import jax_settings; assert not jax_settings.differing()"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=60)


def test_every_setting_is_noticed_and_comes_back(others):
    assert OTHER.keys() <= jax_settings.differing().keys()
    with jax_settings.as_in_every_run():
        assert not jax_settings.differing()
        assert (jnp.arange(2) + 0.5).dtype == jnp.float32
    assert OTHER.keys() <= jax_settings.differing().keys()
    told = jax_settings.reset()
    assert "JAX_ENABLE_X64=True" in told
    assert "JAX_NUMPY_DTYPE_PROMOTION=strict" in told
    assert not jax_settings.differing()


def test_a_command_resets_them_and_says_which():
    code = (
        "import sys, jax, jax.numpy as jnp\n"
        "from cervix_jax.command.run import run_command\n"
        "sys.argv = ['x']\n"
        "run_command(lambda argv: print((jnp.arange(2) + 0.5).dtype))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60,
        env=os.environ | {"JAX_ENABLE_X64": "1", "JAX_NUMPY_DTYPE_PROMOTION": "strict"},
    )  # fmt: skip
    assert done.stdout == "float32\n"
    assert "JAX_ENABLE_X64=True, JAX_NUMPY_DTYPE_PROMOTION=strict" in done.stderr


def test_devices_that_are_not_there_are_refused_by_name(monkeypatch):
    monkeypatch.setenv("JAX_PLATFORMS", "cuda")

    def fail(*args):
        raise AssertionError

    monkeypatch.setattr(jax, "devices", fail)
    with pytest.raises(InputError, match="JAX_PLATFORMS=cuda: JAX finds no such device; unset"):
        require_devices()


def test_a_run_gives_the_same_numbers(trained, request):
    run = load_run(trained[0])
    images = np.random.default_rng(0).integers(0, 256, (3, 40, 40, 3), np.uint8)
    wanted, features = run.predict(images), run.features(images, names=["pre_logits"])
    request.getfixturevalue("others")
    again = load_run(trained[0])
    np.testing.assert_array_equal(again.predict(images), wanted)
    got = again.features(images, names=["pre_logits"])["pre_logits"]
    np.testing.assert_array_equal(got, features["pre_logits"])
    assert got.dtype == np.float32


def test_tests_elsewhere_leave_the_compiler_as_users_have_it():
    """Else a process that a test starts, and this one, give numbers that differ in rounding."""
    assert not jax.config.read("jax_disable_most_optimizations")
