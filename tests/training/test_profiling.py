import jax
import jax.numpy as jnp
import pytest

from cervix_jax.errors import InputError
from cervix_jax.training.profiling import ProfileWindow


def steps(window, first, last):
    step = jax.jit(lambda x: x @ x)
    state = jnp.ones((8, 8))
    for number in range(first, last + 1):
        window.before(number)
        state = step(state)
        window.after(number, state)
    return state


def test_the_window_is_recorded(tmp_path):
    steps(ProfileWindow("2:3", tmp_path), 1, 4)
    (trace,) = tmp_path.rglob("*.xplane.pb")
    names = {
        event.name
        for plane in jax.profiler.ProfileData.from_file(str(trace)).planes
        for line in plane.lines
        for event in line.events
        if "hlo_op" in dict(event.stats)
    }
    assert names, "no operation was recorded"


@pytest.mark.parametrize(("window", "first", "last"), [("", 1, 4), ("2:3", 4, 6), ("8:9", 1, 4)])
def test_outside_the_window_nothing_is(tmp_path, window, first, last):
    steps(ProfileWindow(window, tmp_path), first, last)
    assert not list(tmp_path.iterdir())


def test_a_run_that_ends_or_resumes_inside_the_window(tmp_path):
    window = ProfileWindow("2:9", tmp_path)
    state = steps(window, 4, 5)
    window.close(state)
    window.close(state)
    assert len(list(tmp_path.rglob("*.xplane.pb"))) == 1


@pytest.mark.parametrize("window", ["5", "5:3", "0:2", "a:b", "1:2:3"])
def test_a_window_that_is_not_understood(tmp_path, window):
    with pytest.raises(InputError, match=f"--profile={window}: give the first and the last step"):
        ProfileWindow(window, tmp_path)
