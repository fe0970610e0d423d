"""The nucleus detector as a network: shapes, size, and that it is no classifier."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from cervix_jax import models
from cervix_jax.errors import InputError
from cervix_jax.models.nucleus_detector import STRIDE


def detector(**options) -> nnx.Module:
    model = models.create("nucleus_detector", num_classes=2, rngs=nnx.Rngs(0), **options)
    model.eval()
    return model


def test_it_says_two_logits_of_every_second_pixel_and_is_small():
    model = detector()
    logits, out = model(jnp.zeros((2, 64, 96, 3)))
    assert logits.shape == (2, 64 // STRIDE, 96 // STRIDE, 2)
    assert logits.dtype == jnp.float32
    assert out == {}
    size = sum(leaf.size for leaf in jax.tree.leaves(nnx.state(model)))
    assert size * 2 < 1e6  # bytes as float16: it ships with the package


def test_it_is_convolutional():
    """A shift of the image by what it is halved to shifts the logits, away from the border."""
    pixels = np.random.default_rng(0).normal(size=(1, 320, 320, 3)).astype(np.float32)
    model = detector()
    here = np.asarray(model(jnp.asarray(pixels[:, :-16, :-16]))[0])
    there = np.asarray(model(jnp.asarray(pixels[:, 16:, 16:]))[0])
    step = 16 // STRIDE
    np.testing.assert_allclose(
        here[:, 56:-48, 56:-48], there[:, 56 - step : -48 - step, 56 - step : -48 - step], atol=1e-4
    )


@pytest.mark.parametrize("shape", [(1, 60, 64, 3), (1, 64, 0, 3), (64, 64, 3)])
def test_other_sides_are_refused(shape):
    with pytest.raises(InputError, match="multiples of 16"):
        detector()(jnp.zeros(shape))


def test_it_has_no_dropout_and_is_not_among_the_classifiers():
    with pytest.raises(InputError, match=r"dropout=0\.5"):
        detector(dropout_rate=0.5)
    assert "nucleus_detector" not in models.NAMES
    assert "nucleus_detector" in models.known_names()
    with pytest.raises(InputError, match="taken"):
        models.register("nucleus_detector", lambda *, dropout_rate=0.0, **fixed: detector())
