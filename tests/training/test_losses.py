import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import log_softmax

from cervix_jax.errors import InputError
from cervix_jax.training import losses


def test_cross_entropy_by_hand():
    logits = np.array([[2.0, 0.0, -1.0], [0.5, 0.5, 3.0]], np.float32)
    targets = np.eye(3, dtype=np.float32)[[0, 2]]
    found = losses.cross_entropy(jnp.asarray(logits), targets, jnp.ones(3))
    np.testing.assert_allclose(found, -log_softmax(logits, -1)[[0, 1], [0, 2]], rtol=1e-6)


def test_smoothing_spreads_the_target():
    logits = np.array([[2.0, 0.0, -1.0]], np.float32)
    found = losses.cross_entropy(logits, np.eye(3)[[0]], jnp.ones(3), label_smoothing=0.3)
    expected = -(log_softmax(logits, -1) * [[0.8, 0.1, 0.1]]).sum(-1)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_mixed_targets_weigh_by_their_shares():
    logits = jnp.zeros((1, 3))
    targets = jnp.array([[0.25, 0.75, 0.0]])
    found = losses.cross_entropy(logits, targets, jnp.array([4.0, 2.0, 9.0]))
    np.testing.assert_allclose(found, [(0.25 * 4 + 0.75 * 2) * np.log(3)], rtol=1e-6)


def test_balanced_weights_make_every_class_count_the_same():
    labels = np.array([0, 0, 0, 1, 2, 2])
    weights = losses.class_weights("balanced", labels, 4)
    sums = [weights[labels[labels == c]].sum() for c in range(3)]
    np.testing.assert_allclose(sums, 2.0)
    np.testing.assert_allclose(weights, [6 / (3 * 3), 6 / (3 * 1), 6 / (3 * 2), 0])
    assert weights[labels].mean() == pytest.approx(1), "whatever the balance, steps are as large"
    assert weights[3] == 0, "a class without examples has no weight"


def test_unknown_kind_is_bad_input():
    with pytest.raises(InputError, match=r"loss\.class_weights='some'"):
        losses.class_weights("some", np.array([0]), 1)
