"""Guided backpropagation: the rule itself, where it is applied, and that nothing stays behind."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from explained_functions import make_network, network_weights, normal
from flax import nnx
from jax.tree_util import Partial

from cervix_jax import explain, models
from cervix_jax.errors import InputError
from cervix_jax.explain.rectifiers import with_guided_rectifiers

X = jnp.array([-1.0, 2.0, 3.0, 7.0])


def gradient(fn, sign=1.0):
    return jax.grad(lambda x: sign * with_guided_rectifiers(fn)(x).sum())(X)


@pytest.mark.parametrize(
    ("fn", "expected"),
    [
        (jax.nn.relu, [0, 1, 1, 1]),
        (jax.jit(jax.nn.relu), [0, 1, 1, 1]),
        (jax.checkpoint(lambda x: 2 * jax.nn.relu(x)), [0, 2, 2, 2]),
        (lambda x: jnp.maximum(x, 0), [0, 1, 1, 1]),
        (lambda x: jnp.maximum(0.0, x), [0, 1, 1, 1]),
        (jax.nn.relu6, [0, 1, 1, 0]),
    ],
    ids=["relu", "jit", "checkpoint", "maximum", "swapped", "relu6"],
)
def test_only_positive_gradients_pass(fn, expected):
    np.testing.assert_allclose(gradient(fn), expected)
    np.testing.assert_array_equal(gradient(fn, sign=-1.0), 0)
    np.testing.assert_array_equal(with_guided_rectifiers(fn)(X), fn(X))


def test_other_activations_keep_their_gradients():
    def fn(x):
        return jax.nn.softplus(x) * jax.nn.silu(x) * jax.nn.sigmoid(x) - jax.nn.relu(x)

    smooth = jax.grad(lambda x: (fn(x) + jax.nn.relu(x)).sum())(X)
    np.testing.assert_allclose(gradient(fn), smooth, rtol=1e-6)
    np.testing.assert_allclose(gradient(fn, sign=-1.0), -smooth + np.array([0, 1, 1, 1]), rtol=1e-6)


def test_maxima_of_other_things_are_no_rectifiers():
    def fn(x):
        return jnp.maximum(x, 2.5) + jnp.maximum(x, -x) + 0 * jax.nn.relu(x)

    np.testing.assert_allclose(gradient(fn, sign=-1.0), [1, -1, -2, -2])


@pytest.mark.parametrize(
    ("fn", "message"),
    [
        (jax.nn.silu, "the model has no ReLU; choose another"),
        (lambda x: jax.lax.map(jax.nn.relu, x), "cannot replace the ReLU inside 'scan'; choose"),
        (lambda x: jax.lax.cond(x[0] > 0, jax.nn.relu, jnp.sin, x), "the ReLU inside 'cond'"),
    ],
    ids=["none", "loop", "condition"],
)
def test_what_cannot_be_guided_is_refused(fn, message):
    with pytest.raises(InputError, match=message):
        with_guided_rectifiers(fn)(X)


def test_two_layers_by_hand():
    """Guided: gradients that are negative at a rectifier stop there, whatever comes before it."""
    weights = np.float32([1, -2, 3])
    images = np.abs(normal(2, 4, 4, 3)) + 0.1

    def fn(images):
        hidden = jax.nn.relu(images * jnp.float32([1, -1, 1]))
        return (jax.nn.relu(hidden) * weights).sum((1, 2))

    found = explain.guided_backprop(fn, images, np.array([0, 1]))
    np.testing.assert_array_equal(found[0], np.broadcast_to([1, 0, 0], (4, 4, 3)))
    np.testing.assert_array_equal(found[1], 0)
    plain = explain.saliency(fn, images, np.array([2, 2]))
    np.testing.assert_array_equal(plain, np.broadcast_to([0, 0, 3], plain.shape))


def test_nothing_stays_behind():
    images, fn = normal(2, 6, 5, 3), Partial(make_network(), network_weights())
    before = explain.saliency(fn, images, 1)
    guided = explain.guided_backprop(fn, images, 1)
    assert not np.allclose(guided, before)
    np.testing.assert_array_equal(explain.saliency(fn, images, 1), before)
    np.testing.assert_array_equal(explain.guided_backprop(fn, images, 1), guided)


def test_guided_grad_cam_is_the_product():
    images, fn = normal(2, 6, 5, 3), Partial(make_network(), network_weights())
    guided = explain.guided_backprop(fn, images, 1)
    cam = explain.grad_cam(fn, images, 1, relu=True)
    np.testing.assert_allclose(
        explain.guided_grad_cam(fn, images, 1), guided * cam[..., None], rtol=1e-6
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", models.NAMES)
def test_every_network_can_be_guided(name):
    """Shapes only; a ReLU that cannot be given the rule would be refused."""
    model = nnx.eval_shape(
        lambda: models.create(name, num_classes=5, rngs=nnx.Rngs(0), dropout_rate=0.0)
    )
    graphdef, state = nnx.split(model)

    def guided(state, images):
        def logits(images):
            model = nnx.merge(graphdef, state)
            model.eval()
            return model(images)[0]

        return jax.grad(lambda x: with_guided_rectifiers(logits)(x).sum())(images)

    images = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)
    assert jax.eval_shape(guided, state, images).shape == (1, 64, 64, 3)
