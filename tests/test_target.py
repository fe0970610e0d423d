"""The platform that a program is traced for."""

import jax.numpy as jnp
import pytest

from cervix_jax import target
from cervix_jax.models.build import compute_dtype


def test_the_platform_of_a_trace_can_be_chosen():
    def nested():
        with target.tracing_for("cpu"):
            assert target.platform() == "cpu"
            raise RuntimeError("inside")

    assert target.platform() == "cpu", "the tests run on the CPU"
    with target.tracing_for("tpu"):
        assert target.platform() == "tpu"
        with pytest.raises(RuntimeError, match="inside"):
            nested()
        assert target.platform() == "tpu"
    assert target.platform() == "cpu"


def test_arithmetic_is_that_of_the_target():
    assert compute_dtype("auto") == jnp.float32
    with target.tracing_for("tpu"):
        assert compute_dtype("auto") == jnp.bfloat16
