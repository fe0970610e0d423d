import jax.numpy as jnp
import numpy as np
import pytest
from explained_functions import linear, make_network, network_weights, normal
from jax.tree_util import Partial

from cervix_jax import explain
from cervix_jax.errors import InputError

IMAGES = normal(5, 6, 5, 3)
NETWORK = Partial(make_network(), network_weights())
GATES = np.asarray(NETWORK(IMAGES)[1]["attention/stage1"])


def test_gates_are_those_of_the_network_in_any_batches():
    assert explain.gate_names(NETWORK, (6, 5, 3)) == ("attention/stage1",)
    for batch_size in (2, 32):
        found = explain.channel_gates(NETWORK, IMAGES, batch_size=batch_size)
        assert list(found) == ["attention/stage1"]
        np.testing.assert_allclose(found["attention/stage1"], GATES, rtol=1e-5)


def test_a_mask_gives_its_mean_over_the_places():
    def fn(images):
        out = {"stage2": images, "attention/mask2": jnp.square(images)}
        return images.mean((1, 2)), out

    found = explain.channel_gates(fn, IMAGES)["attention/mask2"]
    np.testing.assert_allclose(found, (IMAGES**2).mean((1, 2)), rtol=1e-5)


def test_statistics_by_class():
    labels = np.array([0, 0, 2, 0, 3])
    found = explain.gate_statistics(GATES, labels, 4)
    np.testing.assert_array_equal(found.count, [3, 0, 1, 1])
    np.testing.assert_allclose(found.mean[0], GATES[labels == 0].mean(0), rtol=1e-6)
    np.testing.assert_allclose(found.deviation[0], GATES[labels == 0].std(0, ddof=1), rtol=1e-5)
    assert np.isnan(found.mean[1]).all()
    np.testing.assert_allclose(found.mean[2], GATES[2], rtol=1e-6)
    assert np.isnan(found.deviation[2]).all()


def test_extreme_channels():
    gates = np.array([[0.1, 0.9, 0.5, 0.9], [0.1, 0.9, 0.7, 0.9]])
    most_open, most_closed = explain.extreme_channels(gates, 3)
    np.testing.assert_array_equal(most_open, [1, 3, 2])
    np.testing.assert_array_equal(most_closed, [0, 2, 1])


def test_maps_of_channels_are_those_after_the_gate():
    found = explain.channel_maps(NETWORK, IMAGES, "attention/stage1", [6, 0], batch_size=2)
    expected = np.asarray(NETWORK(IMAGES)[1]["stage1"])[..., [6, 0]]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: explain.channel_gates(linear(normal(2, 6, 5, 3)), IMAGES), "has no channel att"),
        (lambda: explain.channel_maps(NETWORK, IMAGES, "attention/x1", [0]), "'attention/x1'; its"),
        (lambda: explain.channel_maps(NETWORK, IMAGES, "attention/stage1", [8]), "channels 0 to 7"),
        (lambda: explain.gate_statistics(GATES, np.zeros(4, int), 4), "do not match"),
        (lambda: explain.gate_statistics(GATES, np.full(5, 4), 4), "labels range from 4 to 4"),
        (lambda: explain.extreme_channels(GATES, 9), "at least 9 channels"),
        (lambda: explain.extreme_channels(GATES[:0], 1), "an image and at least 1 channels"),
    ],
)
def test_bad_requests_are_refused(call, message):
    with pytest.raises(InputError, match=message):
        call()
