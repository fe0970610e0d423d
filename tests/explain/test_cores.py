import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cervix_jax.explain import cores


@given(rows=st.integers(1, 99), batch_size=st.integers(1, 40), count=st.integers(1, 70))
def test_all_cores_together_hold_a_batch(rows, batch_size, count):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cores, "_cores", lambda: count)
        size, at_once = cores.divide(rows, batch_size)
    assert size >= 1
    assert 1 <= at_once <= count
    assert size * at_once <= batch_size
    if rows <= batch_size:  # shared by all cores, none of which has much less to do
        assert size * at_once < rows + at_once


@pytest.mark.parametrize("at_once", [1, 2, 3])
def test_batches_come_in_order_from_one_program(at_once):
    traced = []

    @jax.jit
    def square(x):
        traced.append(threading.get_ident())
        return {"square": x * x}

    found = list(cores.run_batches(lambda n: square(jnp.float32(n)), range(20), at_once))
    assert found == [(n, {"square": np.float32(n * n)}) for n in range(20)]
    assert all(isinstance(values["square"], np.ndarray | np.generic) for _, values in found)
    assert len(traced) == 1
    assert (traced[0] == threading.get_ident()) == (at_once == 1)


@pytest.mark.parametrize("at_once", [1, 3])
def test_few_batches_are_under_way_and_none_is_begun_after_the_last_wanted(at_once):
    begun, threads = [], threading.active_count()

    def start(n):
        begun.append(n)
        return jnp.float32(n)

    found = cores.run_batches(start, iter(range(1000)), at_once)
    for number in range(5):
        assert next(found)[0] == number
        assert len(begun) <= number + at_once + 2
    found.close()
    assert threading.active_count() == threads
    assert len(begun) <= 6 + at_once


def test_an_error_is_that_of_its_batch():
    def start(n):
        if n == 3:
            raise ValueError("third")
        return jnp.float32(n)

    found = cores.run_batches(start, range(9), 2)
    assert [next(found)[0] for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="third"):
        next(found)


def test_settings_of_the_caller_hold_in_the_threads():
    def seen(_):
        return jax.config.jax_default_matmul_precision, str(jnp.zeros(1, float).dtype)

    with jax.default_matmul_precision("highest"), jax.enable_x64(True):
        found = [values for _, values in cores.run_batches(seen, range(3), 2)]
    assert found == 3 * [("highest", "float64")]
    assert [values for _, values in cores.run_batches(seen, range(2), 2)] == 2 * [(None, "float32")]
