"""Perturbations of feature maps, through which their gradients are read."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from selection import few

from cervix_jax import models
from cervix_jax.errors import InputError
from cervix_jax.models.classifier import FEATURE_MAPS
from cervix_jax.models.densenet import DenseNet
from cervix_jax.models.layers import initialise
from cervix_jax.models.resnet import ResNet


def build(name):
    make = {
        "densenet": lambda: DenseNet(num_classes=3, blocks=(1, 1, 1, 1), attention="last_layer"),
        "resnet": lambda: ResNet(num_classes=3, blocks=(1, 1, 1, 1)),
    }[name]
    model = make()
    initialise(model, jax.random.key(0))
    model.eval()
    return model


@pytest.mark.parametrize("name", few(["densenet", "resnet"], 1))
def test_another_image_s_features_in_the_place_of_its_own_give_its_logits(name):
    model = build(name)
    run = jax.jit(lambda model, images, added: model(images, perturbations=added))
    one, two = np.random.default_rng(0).normal(size=(2, 1, 32, 32, 3)).astype(np.float32)
    shapes = jax.eval_shape(lambda model, images: model(images)[1], model, one)
    nothing = {key: jnp.zeros(shapes[key].shape) for key in FEATURE_MAPS}
    logits, out = run(model, one, nothing)
    other_logits, other_out = run(model, two, nothing)
    assert not np.allclose(logits, other_logits, rtol=1e-2)
    for key in FEATURE_MAPS:
        found, _ = run(model, one, nothing | {key: other_out[key] - out[key]})
        np.testing.assert_allclose(found, other_logits, rtol=1e-3, atol=1e-4, err_msg=key)


@pytest.mark.parametrize("name", few(models.NAMES, 2))
def test_every_network_takes_them_and_without_them_its_program_is_as_before(name):
    model = nnx.eval_shape(
        lambda: models.create(name, num_classes=5, rngs=nnx.Rngs(0), dropout_rate=0.0)
    )
    graphdef, state = nnx.split(model)
    image = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)

    def run(state, image, added):
        model = nnx.merge(graphdef, state)
        model.eval()
        return model(image, perturbations=added)

    out = jax.eval_shape(lambda *args: run(*args, None), state, image)[1]
    added = {key: out[key] for key in FEATURE_MAPS}
    plain = jax.make_jaxpr(lambda *args: run(*args, None))(state, image)
    perturbed = jax.make_jaxpr(run)(state, image, added)
    assert len(perturbed.eqns) == len(plain.eqns) + len(FEATURE_MAPS)


def test_unknown_feature_maps_are_refused():
    model = build("resnet")
    with pytest.raises(InputError, match="no feature map is called 'stage5'; choose one of stem"):
        model(jnp.zeros((1, 32, 32, 3)), perturbations={"stage5": jnp.zeros(())})
