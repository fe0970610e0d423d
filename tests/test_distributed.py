"""One device, eight devices: the same run."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from cervix_jax import distributed
from cervix_jax.errors import InputError

TESTS = Path(__file__).parent
TRAIN = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import jax, pytest
from conftest import make_tiny_config, register_tiny_model
from cervix_jax.train import train_and_evaluate
with pytest.MonkeyPatch.context() as patch:
    config = make_tiny_config(register_tiny_model(patch), sys.argv[2])
    assert jax.device_count() == 8
    train_and_evaluate(config, Path(sys.argv[3]))
"""


def test_every_batch_size_must_divide():
    mesh = distributed.make_mesh()
    distributed.check_divides("batch_size", 4, mesh)
    with pytest.raises(InputError, match="batch_size=0"):
        distributed.check_divides("batch_size", 0, mesh)


def test_eight_devices_give_the_same_losses(trained, prepared, tmp_path):
    folder, _ = trained
    subprocess.run(
        [sys.executable, "-c", TRAIN, str(TESTS), str(prepared), str(tmp_path)],
        env=os.environ | {"XLA_FLAGS": "--xla_force_host_platform_device_count=8"},
        cwd=TESTS.parent, check=True, timeout=300, capture_output=True,
    )  # fmt: skip

    def losses(path):
        rows = map(json.loads, (path / "metrics.jsonl").read_text().splitlines())
        return [[row["train/loss"], row["val/loss"]] for row in rows]

    np.testing.assert_allclose(losses(tmp_path), losses(folder), rtol=2e-4)
